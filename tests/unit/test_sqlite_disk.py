"""Disks that are full or cannot be written: it is said, nothing is lost, and it goes on when it can."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.contract.files import make_ledger
from tests.contract.processes import ROOT, finish, start


def run_with_mounts(code: str, folder: Path, *mounts: str) -> None:
    """Run code after mounts that only it can see, and that are gone when it ends.

    The code gets the folder as `sys.argv[1]`.
    """
    unshare = shutil.which("unshare")
    script = " && ".join(mounts)
    if (
        unshare is None
        or subprocess.run([unshare, "-rm", "sh", "-c", script], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    python = [sys.executable, "-X", "dev", "-c", dedent(code), str(folder)]
    command = [unshare, "-rm", "sh", "-c", f'{script} && exec "$0" "$@"', *python]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_full_disk(tmp_path: Path) -> None:
    run_with_mounts(
        """
        import os, sys
        from apeiros_callbacks.ledger import open_ledger
        from tests.contract.entries import entry, until

        folder = sys.argv[1]
        ledger = open_ledger(f"sqlite:///{folder}/ledger.db")
        ledger.append(entry("r0"), ("s",))
        ledger.flush()
        with open(f"{folder}/ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError as full:
                assert full.errno == 28, full
        for number in range(1, 1000):
            ledger.append(entry(f"r{number}"), ("s",))
        until(lambda: ledger.failure)
        assert "the disk is full. Free some space" in str(ledger.failure), ledger.failure
        os.unlink(f"{folder}/ballast")
        ledger.flush(20)
        assert ledger.failure is None
        assert [one.id for one in ledger.entries()] == [f"r{number}" for number in range(1000)]
        ledger.close()
        """,
        tmp_path,
        f"mount -t tmpfs -o size=2m tmpfs {tmp_path}",
    )


def test_a_file_that_not_even_root_may_write(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    make_ledger(path)
    run_with_mounts(
        """
        import sys
        from apeiros_callbacks.errors import LedgerUnavailable
        from apeiros_callbacks.ledger import open_ledger

        try:
            open_ledger(f"sqlite:///{sys.argv[1]}/ledger.db")
        except LedgerUnavailable as error:
            assert "Give this user the right to write the file and its folder." in str(error), error
        else:
            raise AssertionError("it was opened")
        """,
        tmp_path,
        f"mount --bind {path} {path}",
        f"mount -o remount,bind,ro {path}",
    )


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As with a quota: writing fails with an error of its own, then works again."""
    process = start(
        """
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        ledger = open_ledger(url)
        ledger.append(entry("r0"), SCOPE)
        ledger.flush()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        for number in range(1, 2_000):
            ledger.append(entry(f"r{number}"), SCOPE)
        until(lambda: ledger.failure)
        assert ledger.pending
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        ledger.flush(20)
        assert ledger.failure is None
        assert [one.id for one in ledger.entries()] == [f"r{number}" for number in range(2_000)]
        """,
        f"sqlite:///{tmp_path}/ledger.db",
    )
    finish(process)

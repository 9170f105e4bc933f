"""Other Python processes: to kill, to race and to fork."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from apeiros_callbacks.ledger import Ledger, open_ledger
from tests.contract.entries import entry

ROOT = Path(__file__).parents[2]

_HEAD = """\
import os, signal, sys, threading, time
if hasattr(signal, "alarm"):
    signal.alarm(120)  # a test that fails leaves no process behind for ever
from apeiros_callbacks.ledger import open_ledger
from tests.contract.entries import entry, until
url = sys.argv[1]
SCOPE = ("session:3f2a",)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run code in a process of its own, after `_HEAD`."""
    command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", _HEAD + dedent(code)]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 60) -> tuple[str, str]:
    """What a process printed, and what it complained about, after it ended well."""
    out, complaints = process.communicate(timeout=seconds)
    assert process.returncode == 0, complaints
    return out, complaints


def run(code: str, *arguments: object) -> tuple[str, str]:
    """`start` and `finish`."""
    return finish(start(code, *arguments))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the file for itself."""
    code = """
        import sqlite3
        connection = sqlite3.connect(url, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        print("locked", flush=True)
        sys.stdin.readline()
        connection.close()
    """
    process = start(code, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        finish(process)


def append_many(url: str, name: str, ledger: Ledger | None) -> None:
    """What a process of `multiprocessing` does: append and end, without a flush."""
    ledger = ledger or open_ledger(url)
    for number in range(300):
        ledger.append(entry(f"{name}-{number}"), ("session:3f2a",))

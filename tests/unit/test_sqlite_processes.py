"""Processes that are killed, race each other, and end without a word."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from apeiros_callbacks.ledger import open_ledger
from tests.contract.entries import until
from tests.contract.files import check, found
from tests.contract.processes import finish, locked, run, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


# --- killed


@pytest.mark.parametrize("options", ["", "?synchronous=FULL"])
@pytest.mark.parametrize("flushes", [1, 7, 40])
def test_a_killed_process_keeps_what_it_flushed(path: Path, flushes: int, options: str) -> None:
    process = start(
        """
        ledger = open_ledger(url)
        number = 0
        while True:
            for _ in range(20):
                ledger.append(entry(f"r{number}"), ("session:3f2a", f"odd:{number % 2}"))
                number += 1
            ledger.flush()
            print(number, flush=True)
        """,
        f"sqlite:///{path}{options}",
    )
    assert process.stdout is not None
    printed = [process.stdout.readline() for _ in range(flushes)]
    process.kill()
    printed += process.communicate()[0].splitlines()
    acknowledged = int(printed[-1])

    check(path)
    ids = found(path)
    assert ids == [f"r{number}" for number in range(len(ids))]
    assert len(ids) >= acknowledged >= flushes * 20
    with closing(open_ledger(f"sqlite:///{path}")) as ledger:
        charged = [one.id for one in ledger.entries("odd:0")]
        assert charged == ids[::2], "an entry is there with its charges or not at all"


def test_a_process_that_is_killed_soon_after_an_append_keeps_it(path: Path) -> None:
    process = start(
        """
        ledger = open_ledger(url)
        ledger.append(entry("r1"), SCOPE)
        print("appended", flush=True)
        signal.pause()
        """,
        f"sqlite:///{path}",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "appended\n"
    until(lambda: found(path) == ["r1"], seconds=5)
    process.kill()
    process.communicate()


# --- ending


def test_a_process_that_just_ends_keeps_everything(path: Path) -> None:
    _, complaints = run(
        """
        ledger = open_ledger(url)
        for number in range(3_000):
            ledger.append(entry(f"r{number}"), SCOPE)
        """,
        f"sqlite:///{path}",
    )
    assert complaints == ""
    assert found(path) == [f"r{number}" for number in range(3_000)]
    assert [left.name for left in path.parent.iterdir()] == ["ledger.db"]


def test_a_process_that_ends_with_an_error_keeps_everything(path: Path) -> None:
    process = start(
        """
        ledger = open_ledger(url)
        for number in range(500):
            ledger.append(entry(f"r{number}"), SCOPE)
        raise SystemExit(3)
        """,
        f"sqlite:///{path}",
    )
    assert process.communicate()[1] == ""
    assert process.returncode == 3
    assert len(found(path)) == 500


def test_a_dropped_ledger_keeps_everything(path: Path) -> None:
    out, complaints = run(
        """
        for number in range(5):
            open_ledger(url).append(entry(f"r{number}"), SCOPE)
        until(lambda: threading.active_count() == 1)
        print("no thread is left")
        """,
        f"sqlite:///{path}",
    )
    assert (out, complaints) == ("no thread is left\n", "")
    assert found(path) == [f"r{number}" for number in range(5)]


def test_what_cannot_be_written_at_the_end_is_counted(path: Path) -> None:
    found(path)  # makes the file
    began = time.monotonic()
    process = start(
        """
        ledger = open_ledger(url)
        print("open", flush=True)
        sys.stdin.readline()
        for number in range(30):
            ledger.append(entry(f"r{number}"), SCOPE)
        ledger.append(entry("r30", amount=None), SCOPE)
        """,
        f"sqlite:///{path}?timeout=0.1",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    with locked(path):
        _, complaints = finish(process)
    assert time.monotonic() - began < 30
    assert (
        "lost with the end of this process: 31 entries, $0.2040 in all, 1 of unknown amount. " in complaints
    )
    assert "another program has locked it for more than 0.1 s." in complaints
    assert "Traceback" not in complaints


def test_a_file_that_will_never_do_does_not_hold_up_the_end(path: Path) -> None:
    path.write_text("not a database, but long enough to look at")
    _, complaints = run(
        """
        import asyncio

        async def main():
            ledger = open_ledger(url)
            ledger.append(entry("r1"), SCOPE)
            until(lambda: ledger.failure)
            return ledger

        ledger = asyncio.run(main())
        from apeiros_callbacks.ledger import lifecycle
        started, start = [], threading.Thread.start
        threading.Thread.start = lambda thread: (started.append(thread), start(thread))
        began = time.monotonic()
        lifecycle._at_exit()
        assert time.monotonic() - began < lifecycle._AT_EXIT - 1
        until(lambda: threading.active_count() == 1)
        assert not started, "it is not tried again and again"
        """,
        f"sqlite:///{path}",
    )
    assert "lost with the end of this process: 1 entry, $0.0068 in all, 0 of unknown amount. " in complaints
    assert "file is not a database" in complaints


# --- racing


def test_four_processes_append_to_one_file(path: Path) -> None:
    code = """
        ledger = open_ledger(url)
        name = sys.argv[2]
        print("open", flush=True)
        sys.stdin.readline()
        for number in range(1_000):
            ledger.append(entry(f"{name}-{number}"), ("everything", f"session:{name}"))
            ledger.append(entry(f"shared-{number}"), ("everything",))
        ledger.close()
    """
    processes = [start(code, f"sqlite:///{path}?timeout=30", name) for name in "abcd"]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert finish(process) == ("", "")

    check(path)
    ids = found(path)
    assert Counter(ids) == {f"{name}-{number}": 1 for name in ["shared", *"abcd"] for number in range(1_000)}
    with closing(open_ledger(f"sqlite:///{path}")) as ledger:
        assert [one.id for one in ledger.entries("session:b")] == [f"b-{number}" for number in range(1_000)]
        assert len(ledger.entries("everything")) == 5_000


def test_eight_processes_open_a_new_file_at_once(path: Path) -> None:
    code = """
        start = float(sys.argv[2])
        while time.time() < start:
            pass
        for number in range(10):
            ledger = open_ledger(url.replace("NUMBER", str(number)))
            ledger.append(entry(f"r{os.getpid()}"), SCOPE)
            ledger.close()
    """
    at = time.time() + 3
    processes = [start(code, f"sqlite:///{path}NUMBER", at) for _ in range(8)]
    for process in processes:
        assert finish(process) == ("", "")
    for number in range(10):
        one = Path(f"{path}{number}")
        assert len(found(one)) == 8
        check(one)

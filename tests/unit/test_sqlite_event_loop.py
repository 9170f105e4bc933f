"""On an event loop nothing of ours waits for a disk or a lock."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from blockbuster import BlockingError, blockbuster_ctx

from apeiros_callbacks.errors import LedgerCorrupt, LedgerUnavailable
from apeiros_callbacks.ledger import Ledger, open_ledger
from tests.contract.entries import entry
from tests.contract.processes import locked

SCOPE = ("session:3f2a",)

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run it on an event loop that does not let anything block."""

    async def watched() -> T:
        with blockbuster_ctx():
            return await main()

    return asyncio.run(watched())


async def come(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what it waits for happens on a thread
            await asyncio.sleep(0.002)


def test_the_watch_is_awake(tmp_path: Path) -> None:
    async def main() -> None:
        sqlite3.connect(tmp_path / "ledger.db").execute("SELECT 1")

    with pytest.raises(BlockingError):
        run(main)


@pytest.mark.parametrize("place", ["absolute", "relative", "new folder's"])
def test_open_append_and_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///ledger.db" if place == "relative" else f"sqlite:///{tmp_path}/ledger.db"

    async def main() -> tuple[Ledger, list[str]]:
        ledger = open_ledger(url)
        for number in range(500):
            ledger.append(entry(f"r{number}"), SCOPE)
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert ledger.failure is None
        await come(lambda: ledger.pending == 0)
        return ledger, [one.id for one in await asyncio.to_thread(ledger.entries, SCOPE[0])]

    ledger, ids = run(main)
    ledger.close()
    assert ids == [f"r{number}" for number in range(500)]
    assert (tmp_path / "ledger.db").exists()


def test_a_ledger_that_is_open_already(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"

    async def main() -> None:
        open_ledger(url).append(entry("r2"), SCOPE)

    with closing(open_ledger(url)) as ledger:
        ledger.append(entry("r1"), SCOPE)
        run(main)
        ledger.flush()
        assert [one.id for one in ledger.entries()] == ["r1", "r2"]


def test_a_file_that_cannot_be_opened_is_told_later(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("not a database, but long enough to look at")

    async def main() -> Ledger:
        ledger = open_ledger(f"sqlite:///{path}")
        ledger.append(entry(), SCOPE)
        await come(lambda: ledger.failure)
        return ledger

    ledger = run(main)
    assert isinstance(ledger.failure, LedgerCorrupt)
    assert ledger.pending == 1
    for use in (ledger.flush, ledger.entries, ledger.close):
        with pytest.raises(LedgerCorrupt, match=r"file is not a database.* Not written: 1 entry\."):
            use()

    # What was taken is kept, also by a closed ledger, and written once the file is put right.
    path.unlink()
    with closing(open_ledger(f"sqlite:///{path}")) as again:
        assert again.entries() == [entry()]


def test_a_folder_that_is_missing_is_told_later(tmp_path: Path) -> None:
    async def main() -> Ledger:
        return open_ledger(f"sqlite:///{tmp_path}/missing/ledger.db")

    ledger = run(main)
    with pytest.raises(LedgerUnavailable, match=r"missing does not exist. Create it, or use another path\.$"):
        ledger.entries()
    (tmp_path / "missing").mkdir()
    ledger.append(entry(), SCOPE)
    assert ledger.entries() == [entry()]
    ledger.close()


def test_appending_to_a_locked_file_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(open_ledger(f"sqlite:///{path}?timeout=0.05")) as ledger:

        async def main() -> None:
            for number in range(100):
                ledger.append(entry(f"r{number}"), SCOPE)
            await come(lambda: ledger.failure)
            assert ledger.pending == 100

        with locked(path):
            run(main)
        ledger.flush(20)
        assert [one.id for one in ledger.entries()] == [f"r{number}" for number in range(100)]

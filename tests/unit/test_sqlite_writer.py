"""When the disk fails: nothing is lost, the order is kept, and it is said once."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger import Ledger, lifecycle, open_ledger, sqlite_store, writer
from apeiros_callbacks.ledger.audit import check
from apeiros_callbacks.money import from_nano
from tests.contract.entries import entry, until
from tests.contract.processes import locked
from tests.contract.spending import session_on, spend, spend_until_refused

SCOPE = ("session:3f2a",)
COST = 1_234_567
LOGGER = "apeiros_callbacks.ledger"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(f"sqlite:///{path}?timeout=0.05")) as opened:
        yield opened


_others: list[threading.Thread] = []
"""Writers that tests of other files have left to the garbage collector."""


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    _others[:] = [thread for thread in threading.enumerate() if thread.name == "apeiros-ledger"]
    yield
    gc.collect()
    until(lambda: not writer_threads())


def ids(ledger: Ledger) -> list[str]:
    return [one.id for one in ledger.entries()]


def writer_threads() -> list[threading.Thread]:
    known = {id(thread) for thread in _others}
    return [
        thread
        for thread in threading.enumerate()
        if thread.name == "apeiros-ledger" and id(thread) not in known
    ]


# --- failing and recovering


def test_a_locked_file(ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger.append(entry("r0"), SCOPE)
    ledger.flush()
    with locked(path):
        for number in range(1, 50):
            ledger.append(entry(f"r{number}"), SCOPE)
        until(lambda: ledger.failure)
        assert isinstance(ledger.failure, LedgerUnavailable)
        assert "another program has locked it for more than 0.05 s. Close that program" in str(ledger.failure)
        assert ledger.pending == 49
        with pytest.raises(LedgerUnavailable, match=r"has locked it.* Not written: 49 entries\.") as caught:
            ledger.flush(0.2)
        assert caught.value is not ledger.failure
        for number in range(50, 100):
            ledger.append(entry(f"r{number}"), SCOPE)
        with pytest.raises(LedgerUnavailable, match=r"Not written: 99 entries\."):
            ledger.flush(0.2)

    ledger.flush(20)
    assert ledger.failure is None
    assert ledger.pending == 0
    assert ids(ledger) == [f"r{number}" for number in range(100)]
    said = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert len(said) == 2, said
    assert said[0].startswith(f"the ledger {path} cannot be used: another program has locked it")
    assert "Kept in memory and tried again: " in said[0]
    assert said[1] == f"the ledger {path} can be written again."


def test_capped_calls_while_the_file_is_locked(ledger: Ledger, path: Path) -> None:
    """What is at hand is spent and kept; who needs more is refused, and told why."""
    ledger.set_cap(Cap("customer:acme", usd=1))
    session = session_on(ledger, [COST], ledger_timeout=0.3)
    session.open_tool("before", f"tool-{COST}", customer="acme")
    ledger.flush()
    count = 0
    with locked(path):
        with pytest.raises(LedgerUnavailable, match=r"the cap of customer acme .* cannot be checked"):
            while spend(session, COST):
                count += 1
        session.close_tool("before")
        assert ledger.pending == count + 1
    ledger.flush(20)
    assert count > 0
    assert [one.amount for one in ledger.totals("customer:acme/")] == [from_nano(COST * (count + 1))]
    assert check(ledger).problems == ()


def test_a_growing_backlog_is_told_again(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_LONGEST_RETRY", 0.05)
    with locked(path):
        ledger.append(entry("r0"), SCOPE)
        until(lambda: len(caplog.records) == 1)
        for number in range(1, 1_000):
            ledger.append(entry(f"r{number}"), SCOPE)
        until(lambda: len(caplog.records) == 2)
    assert "Kept in memory and tried again: 1,000 entries." in caplog.messages[1]
    ledger.flush(20)
    assert len(ids(ledger)) == 1_000


def test_a_file_that_was_deleted(ledger: Ledger, path: Path) -> None:
    ledger.append(entry("r1"), SCOPE)
    ledger.flush()
    for left in path.parent.iterdir():
        left.unlink()
    ledger.append(entry("r2"), SCOPE)
    ledger.flush(20)
    assert ids(ledger) == ["r2"]
    assert path.exists()


def test_a_file_that_was_deleted_while_a_capped_call_is_open(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was lent is lent by nobody, and the caps are those of the new file: none, until they are set."""
    ledger.set_cap(Cap("customer:acme", usd=from_nano(3 * COST)))
    session = session_on(ledger, [COST])
    session.open_tool("t1", f"tool-{COST}", customer="acme")
    ledger.flush()
    for left in path.parent.iterdir():
        left.unlink()
    session.close_tool("t1")
    ledger.flush(20)
    assert "is another than before, or an older one: its caps are of version 0 after 1." in caplog.text
    assert ledger.caps() == ledger.allowances.caps == {}
    assert [one.amount for one in ledger.totals("customer:acme/")] == [from_nano(COST)]
    leases = ledger._writer.leases  # type: ignore[attr-defined]
    until(lambda: leases.due_in(leaving=False) > 0)  # it does not ask again and again
    ledger.set_cap(Cap("customer:acme", usd=from_nano(3 * COST)))
    assert spend_until_refused(session, COST) == 2
    assert check(ledger).problems == ()


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with closing(open_ledger(f"sqlite:///{folder}/ledger.db")) as ledger:
        ledger.append(entry("r1"), SCOPE)
        ledger.flush()
        shutil.rmtree(folder)
        ledger.append(entry("r2"), SCOPE)
        until(lambda: ledger.failure)
        ledger.append(entry("r3"), SCOPE)
        assert ledger.pending == 2
        folder.mkdir()
        ledger.flush(20)
        assert ids(ledger) == ["r2", "r3"]


def test_another_file_in_its_place(ledger: Ledger, path: Path) -> None:
    for left in path.parent.iterdir():
        left.unlink()
    path.write_text("not a database, but long enough to look at")
    ledger.append(entry("r1"), SCOPE)
    until(lambda: ledger.failure)
    assert path.read_text().startswith("not a database")
    path.unlink()
    ledger.append(entry("r2"), SCOPE)
    ledger.flush(20)
    assert ids(ledger) == ["r1", "r2"]


def test_a_bug_of_ours_loses_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of this")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store, "insert", broken)
        ledger.append(entry("r1"), SCOPE)
        until(lambda: ledger.failure)
        assert "nobody thought of this (RuntimeError)" in str(ledger.failure)
    ledger.flush(20)
    assert ids(ledger) == ["r1"]


# --- entries that cannot be


def test_a_text_that_sqlite_cannot_hold_is_mended(ledger: Ledger) -> None:
    ledger.append(entry("r1"), SCOPE)
    ledger.append(entry("r2", error="bad \ud800 text"), ("customer:\udfff",))
    ledger.append(entry("r3"), SCOPE)
    assert ids(ledger) == ["r1", "r2", "r3"]
    assert ledger.entries("customer:\udfff") == [entry("r2", error="bad ? text")]
    assert ledger.failure is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": "seven"},
        {"step": 2**63},
        {"provider": None},
        {"amount": Decimal("NaN")},
        {"amount": Decimal("1E+30")},
        {"unit_prices": None},
        {"started_at": datetime(2026, 11, 23)},  # noqa: DTZ001 - without a zone it is no point in time
        {"usage": None},
        {"agent": object()},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}-{type(next(iter(wrong.values()))).__name__}",
)
def test_an_entry_that_no_file_takes_does_not_hold_up_the_others(
    path: Path, wrong: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.append(entry("r1"), SCOPE)
    ledger.append(entry("r2", **wrong), SCOPE)
    ledger.append(entry("r3"), SCOPE)
    until(lambda: ledger.pending == 1)
    assert "cannot hold an entry" in str(ledger.failure)
    with pytest.raises(LedgerUnavailable, match=r"cannot hold an entry.* Not written: 1 entry\."):
        ledger.close()
    amount = wrong.get("amount", "0.0068")
    said = f"an entry of {amount} USD for {SCOPE} cannot be stored, and is kept in memory only"
    assert caplog.messages == [said]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM entry").fetchall() == [("r1",), ("r3",)]


def test_an_entry_is_written_with_its_scopes_or_not_at_all(path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.append(entry("r1"), ("session:3f2a", object()))  # type: ignore[arg-type]
    ledger.append(entry("r2"), SCOPE)
    until(lambda: ledger.pending == 1)
    with pytest.raises(LedgerUnavailable):
        ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM entry").fetchall() == [("r2",)]
        assert connection.execute("SELECT scope FROM charge").fetchall() == [SCOPE]


# --- threads


def test_one_writer_for_all_who_open_a_file(path: Path) -> None:
    url = f"sqlite:///{path}"
    ledgers = [open_ledger(url) for _ in range(5)]
    assert len(writer_threads()) == 1
    for one in ledgers[:-1]:
        one.close()
    assert len(writer_threads()) == 1
    ledgers[-1].append(entry(), SCOPE)
    ledgers[-1].close()
    assert len(writer_threads()) == 0


def test_a_ledger_that_nobody_holds_lets_its_thread_go(path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.append(entry(), SCOPE)
    assert len(writer_threads()) == 1
    del ledger
    gc.collect()
    until(lambda: len(writer_threads()) == 0)
    with closing(open_ledger(f"sqlite:///{path}")) as again:
        assert again.entries() == [entry()]


def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        open_ledger(f"sqlite:///{tmp_path}/missing/ledger.db")
    until(lambda: not writer_threads())
    assert caught.value, "not because the error, and the ledger in its traceback, are gone"


def test_a_thread_that_cannot_be_started_is_told_and_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(LedgerUnavailable, match=r"can't start new thread"):
            open_ledger(f"sqlite:///{path}")
    with closing(open_ledger(f"sqlite:///{path}")) as ledger:
        ledger.append(entry(), SCOPE)
        assert ledger.entries() == [entry()]


def test_who_comes_during_an_attempt_that_fails_gets_the_next_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wrong may have been put right before they came."""
    began, go = threading.Event(), threading.Event()

    def fail_once(*_: object) -> None:
        patch.undo()
        began.set()
        assert go.wait(20)
        raise LedgerUnavailable("it was not ready.")

    with monkeypatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(sqlite_store, "open_for_writing", fail_once)
        before = list(lifecycle._writers.values())
        early = pool.submit(open_ledger, f"sqlite:///{path}")
        assert began.wait(20)
        late = pool.submit(open_ledger, f"sqlite:///{path}")
        (shared,) = [one for one in lifecycle._writers.values() if one not in before]
        until(lambda: len(shared.inbox.flushes()) == 2)
        go.set()
        with pytest.raises(LedgerUnavailable, match=r"it was not ready\."):
            early.result()
        late.result().close()


def test_opening_and_closing_from_many_threads(path: Path) -> None:
    def work(name: int) -> None:
        for number in range(25):
            with closing(open_ledger(f"sqlite:///{path}")) as ledger:
                ledger.append(entry(f"{name}-{number}"), SCOPE)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(open_ledger(f"sqlite:///{path}")) as ledger:
        assert len(ids(ledger)) == 200

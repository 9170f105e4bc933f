"""A file that is opened: how it is created, marked and brought to the newest schema."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import platformdirs
import pytest

from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger import default_ledger_url, migrate, open_ledger
from apeiros_callbacks.ledger.sqlite_file import APPLICATION_ID
from tests.contract.entries import entry
from tests.contract.files import make_ledger, statement, url_of

SCOPE = ("session:3f2a",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_ledger(url_of(path))) as ledger:
            ledger.append(entry(), SCOPE)
            ledger.flush()
            modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


def test_a_closed_file_is_whole_by_itself(path: Path) -> None:
    make_ledger(path)
    assert [found.name for found in path.parent.iterdir()] == ["ledger.db"]


def test_a_file_is_marked_as_ours(path: Path) -> None:
    make_ledger(path)
    assert statement(path, "PRAGMA application_id", "PRAGMA user_version", "PRAGMA journal_mode") == [
        (APPLICATION_ID,),
        (migrate.newest_version(),),
        ("wal",),
    ]
    assert statement(path, "PRAGMA integrity_check", "PRAGMA foreign_key_check") == [("ok",)]


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    path.touch()
    make_ledger(path)
    with closing(open_ledger(url_of(path))) as ledger:
        assert len(ledger.entries()) == 3


def test_a_name_with_everything_in_it(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ü #1 100% a&b.db")  # `url_of` writes no escapes, and "% " is none
    assert [found.name for found in tmp_path.iterdir()] == ["ü #1 100% a&b.db"]


def test_a_relative_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with closing(open_ledger("sqlite:///ledger.db")) as ledger:
        monkeypatch.chdir("/")
        ledger.append(entry(), SCOPE)
        assert ledger.entries() == [entry()]
    assert path.exists()


def test_only_the_data_folder_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "home" / "apeiros"
    monkeypatch.delenv("APEIROS_HOME")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: folder)
    with closing(open_ledger(default_ledger_url())) as ledger:
        ledger.append(entry(), SCOPE)
    assert (folder / "ledger.db").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    with pytest.raises(LedgerUnavailable, match=r"folder .*elsewhere does not exist. Create it"):
        open_ledger(url_of(tmp_path / "elsewhere" / "ledger.db"))
    assert not (tmp_path / "elsewhere").exists()


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [number for number, _ in migrate.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_new_migration_runs_once_and_keeps_the_entries(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ledger(path)
    scripts = (
        *migrate.migrations(),
        (99, "ALTER TABLE entry ADD COLUMN note TEXT;\n-- a; b\nCREATE INDEX n ON entry (note);\n"),
    )
    monkeypatch.setattr(migrate, "migrations", lambda: scripts)
    for _ in range(2):
        with closing(open_ledger(url_of(path))) as ledger:
            assert len(ledger.entries()) == 3
    assert statement(path, "PRAGMA user_version") == [(99,)]


def test_a_migration_that_fails_leaves_the_file_at_its_version(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ledger(path)
    known = migrate.migrations()
    monkeypatch.setattr(
        migrate, "migrations", lambda: (*known, (99, "CREATE TABLE a (b);\nCREATE TABLE entry (c);\n"))
    )
    with pytest.raises(LedgerUnavailable, match=r"table entry already exists"):
        open_ledger(url_of(path))
    monkeypatch.undo()
    assert statement(path, "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema WHERE name = 'a'") == [
        (known[-1][0],),
        (0,),
    ]
    make_ledger(path)


def test_a_ledger_of_the_first_version_is_upgraded_with_all_it_has(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = migrate.migrations()[:1]
    monkeypatch.setattr(migrate, "migrations", lambda: first)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        migrate.migrate(old)
        names = [row[1] for row in old.execute("PRAGMA table_info(entry)") if row[3]]
        told = {"id": "r1", "kind": "llm", "usage_certainty": "reported", "price_certainty": "free"}
        line = {name: told.get(name, "{}" if name == "unit_prices" else 0) for name in names}
        line |= {"seq": 1, "attempt": 1, "amount": "0.25", "amount_nano": 250_000_000}
        places = ", ".join("?" * len(line))
        columns = ", ".join(line)
        old.execute(f"INSERT INTO entry ({columns}) VALUES ({places})", [*line.values()])  # noqa: S608
    monkeypatch.undo()
    ledger = open_ledger(url_of(path))
    [entry] = ledger.entries()
    ledger.close()
    assert (entry.id, entry.amount, entry.routed_why) == ("r1", Decimal("0.25"), None)
    assert statement(path, "PRAGMA user_version") == [(migrate.newest_version(),)]

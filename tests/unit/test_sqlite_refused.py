"""A file that is refused stays as it was, and the error says what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerTooNew, LedgerUnavailable
from apeiros_callbacks.ledger import open_ledger, sqlite_file
from apeiros_callbacks.ledger.migrate import newest_version
from tests.contract.files import contents, make_ledger, statement, url_of

NEWEST = newest_version()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)  # opening it would wait for ever


def text(path: Path) -> None:
    path.write_text("id,amount\nr1,0.35\n")


def one_byte(path: Path) -> None:
    path.write_bytes(b"S")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(8192))


def another_programs(path: Path) -> None:
    statement(path, "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')")


def another_programs_with_a_log(path: Path) -> None:
    statement(path, "PRAGMA journal_mode = WAL", "CREATE TABLE notes (text)")


def another_programs_with_our_tables(path: Path) -> None:
    make_ledger(path)
    statement(path, "PRAGMA application_id = 252006675")


def another_programs_empty(path: Path) -> None:
    statement(path, "PRAGMA journal_mode = WAL")


def truncated(path: Path) -> None:
    make_ledger(path, 200)
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    make_ledger(path)
    damaged = bytearray(path.read_bytes())
    damaged[100:3000] = os.urandom(2900)
    path.write_bytes(damaged)


def without_a_table(path: Path) -> None:
    make_ledger(path)
    statement(path, "DROP TABLE charge")


def newer(path: Path) -> None:
    make_ledger(path)
    statement(path, "PRAGMA user_version = 41")


def newer_in_its_log(path: Path) -> None:
    """A newer version of the package died here before the log reached the file."""
    make_ledger(path)
    newer_one = path.with_name("newer.db")
    shutil.copy(path, newer_one)
    with closing(sqlite3.connect(newer_one, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 41")
        shutil.copy(f"{newer_one}-wal", f"{path}-wal")
    newer_one.unlink()


REFUSED: list[tuple[Callable[[Path], None], type[LedgerError], str]] = [
    (a_folder, LedgerUnavailable, "it is a folder. Use another path."),
    (a_pipe, LedgerUnavailable, "it is not a regular file. Use another path."),
    (
        text,
        LedgerCorrupt,
        "file is not a database. Put back a copy of it, or move it away to begin a new one.",
    ),
    (one_byte, LedgerCorrupt, "it is a database of another program"),  # SQLite takes it for an empty one
    (zeros, LedgerCorrupt, "file is not a database"),
    (another_programs, LedgerCorrupt, "it is a database of another program. Use another file."),
    (another_programs_with_a_log, LedgerCorrupt, "it is a database of another program"),
    (another_programs_with_our_tables, LedgerCorrupt, "it is a database of another program"),
    (another_programs_empty, LedgerCorrupt, "it is a database of another program"),
    (truncated, LedgerCorrupt, "database disk image is malformed. Put back a copy of it"),
    (overwritten, LedgerCorrupt, "database disk image is malformed"),
    (without_a_table, LedgerCorrupt, "its table 'charge' is missing. Put back a copy of it."),
    (
        newer,
        LedgerTooNew,
        f"it has version 41 of the schema, and this version of apeiros-callbacks knows up to {NEWEST}.",
    ),
    (newer_in_its_log, LedgerTooNew, "Upgrade apeiros-callbacks, or use another file."),
]


@pytest.mark.parametrize(("make", "error", "says"), REFUSED, ids=[make.__name__ for make, _, _ in REFUSED])
def test_a_file_that_is_refused_stays_as_it_was(
    path: Path, make: Callable[[Path], None], error: type[LedgerError], says: str
) -> None:
    make(path)
    before = contents(path.parent)

    with pytest.raises(error) as caught:
        open_ledger(url_of(path))

    assert type(caught.value) is error
    assert str(caught.value).startswith(f"the ledger {path} cannot be used: ")
    assert says in str(caught.value)
    after = contents(path.parent)
    assert {name: after[name] for name in before} == before
    if "another program" in says or "not a database" in says or error is LedgerUnavailable:
        assert after == before, "nothing of ours is left beside what is not ours"


def test_a_file_that_another_program_fills_in_the_moment_we_open_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_programs(path)
    before = contents(path.parent)
    monkeypatch.setattr(sqlite_file, "_check_ours", lambda *_: None)
    with pytest.raises(LedgerCorrupt, match=r"it is a database of another program"):
        open_ledger(url_of(path))
    assert contents(path.parent) == before


def test_a_folder_that_is_missing(path: Path) -> None:
    with pytest.raises(
        LedgerUnavailable, match=r"the folder .*/missing does not exist. Create it, or use another path."
    ):
        open_ledger(url_of(path.parent / "missing" / "ledger.db"))


def test_a_file_in_place_of_a_folder(path: Path) -> None:
    path.touch()
    with pytest.raises(LedgerUnavailable, match=r"ledger.db does not exist. Create it"):
        open_ledger(url_of(path / "ledger.db"))


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc, where not even root can create a file"
)
def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(LedgerUnavailable, match=r"the ledger /proc/ledger.db cannot be used: ") as caught:
        open_ledger("sqlite:////proc/ledger.db")
    assert str(caught.value).endswith(". Use another path, or let this user create files in /proc.")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write any file")
@pytest.mark.parametrize("mode", [0o400, 0o000])
def test_a_file_that_cannot_be_written(path: Path, mode: int) -> None:
    make_ledger(path)
    path.chmod(mode)
    with pytest.raises(
        LedgerUnavailable, match=r"Give this user the right to write the file and its folder."
    ):
        open_ledger(url_of(path))


def test_a_refused_file_can_be_put_right_and_opened(path: Path) -> None:
    another_programs(path)
    with pytest.raises(LedgerCorrupt):
        open_ledger(url_of(path))
    path.unlink()
    make_ledger(path)


def test_damage_that_is_found_while_reading(path: Path) -> None:
    make_ledger(path)
    statement(path, "UPDATE entry SET output_tokens = -1")
    with (
        closing(open_ledger(url_of(path))) as ledger,
        pytest.raises(LedgerCorrupt, match=r"an entry that cannot be"),
    ):
        ledger.entries()


def test_a_file_that_another_program_locks(path: Path) -> None:
    make_ledger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            LedgerUnavailable, match=r"has locked it for more than 0.05 s. Close that program, or wait longer"
        ):
            open_ledger(f"{url_of(path)}?timeout=0.05")


def test_a_new_file_that_another_process_still_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite switches a file to its write-ahead log only when nobody else writes, and does not wait."""
    make_ledger(path)
    statement(path, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(time, "sleep", lambda _: other.execute("ROLLBACK"))
        make_ledger(path)
    assert statement(path, "PRAGMA journal_mode") == [("wal",)]


def test_an_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(LedgerUnavailable, match=r"it needs SQLite 3.37"):
        open_ledger(url_of(path))
    assert not path.exists()

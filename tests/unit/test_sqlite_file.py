"""Opening a file: what is created, what is refused, and that what is refused stays as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import platformdirs
import pytest

from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerTooNew, LedgerUnavailable
from apeiros_callbacks.ledger import default_ledger_url, migrate, open_ledger, sqlite_file
from apeiros_callbacks.ledger.sqlite_file import APPLICATION_ID
from tests.contract.entries import entry

SCOPE = ("session:3f2a",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def make_ledger(path: Path, count: int = 3) -> None:
    with closing(open_ledger(url_of(path))) as ledger:
        for number in range(count):
            ledger.append(entry(f"r{number}"), SCOPE)


def statement(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for one in statements for row in connection.execute(one).fetchall()]


def contents(folder: Path) -> dict[str, str]:
    return {
        found.name: hashlib.sha256(found.read_bytes()).hexdigest()
        for found in folder.iterdir()
        if found.is_file()
    }


# --- created


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
        (1,),
        (0,),
    ]
    make_ledger(path)


# --- refused


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
        "it has version 41 of the schema, and this version of apeiros-callbacks knows up to 1.",
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
    with pytest.raises(LedgerUnavailable, match=r"the ledger /proc/ledger.db cannot be used: "):
        open_ledger("sqlite:////proc/ledger.db")


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
            LedgerUnavailable, match=r"has locked it for more than 0.05 s. Close that program, or set"
        ):
            open_ledger(f"{url_of(path)}?timeout=0.05")


def test_an_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(LedgerUnavailable, match=r"it needs SQLite 3.37"):
        open_ledger(url_of(path))
    assert not path.exists()

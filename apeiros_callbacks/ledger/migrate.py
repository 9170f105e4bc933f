"""The numbered scripts of ``migrations/``, each run once per file and in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from apeiros_callbacks.errors import LedgerCorrupt, LedgerTooNew

__all__ = ["migrate", "migrations", "newest_version", "postgres_migrations", "version_of"]


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Number and text of each script for SQLite, in order: ``0001_entries.sql`` is number 1."""
    return _scripts("migrations")


@cache
def postgres_migrations() -> tuple[tuple[int, str], ...]:
    """The same for PostgreSQL. A number stands for the same version in both; not each has one of its own."""
    return _scripts("migrations/postgres")


def _scripts(where: str) -> tuple[tuple[int, str], ...]:
    folder = files("apeiros_callbacks.ledger").joinpath(*where.split("/"))
    scripts = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return tuple((int(file.name[:4]), file.read_text("utf-8")) for file in scripts)


def newest_version() -> int:
    """The version of the schema that this package writes."""
    return migrations()[-1][0]


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the schema of a file; 0 when it is empty.

    Raises:
        LedgerTooNew: this package does not know it.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > newest_version():
        raise LedgerTooNew(
            f"it has version {found} of the schema, and this version of apeiros-callbacks knows up to "
            f"{newest_version()}. Upgrade apeiros-callbacks, or use another file."
        )
    return found


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest version. Safe when several processes do so at once.

    Args:
        connection: one in autocommit mode, without an open transaction.

    Raises:
        LedgerTooNew: this package does not know its version.
        LedgerCorrupt: it has tables and no version, so it is not ours.
        sqlite3.Error: it cannot be written.
    """
    for number, script in migrations():
        if version_of(connection) >= number:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been first, while this one waited for the lock.
            if version_of(connection) < number:
                if number == 1:
                    _check_empty(connection)
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _check_empty(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise LedgerCorrupt("it is a database of another program. Use another file.")


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the open transaction first.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

"""The schema of ours in a PostgreSQL database: made, and brought to the newest version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apeiros_callbacks.errors import LedgerCorrupt, LedgerTooNew
from apeiros_callbacks.ledger.migrate import postgres_migrations
from apeiros_callbacks.ledger.postgres_connection import unhurried

if TYPE_CHECKING:
    import psycopg

__all__ = ["SCHEMA", "migrate"]

SCHEMA = "apeiros"

_LOCK = 0x41706569  # "Apei"
_FOUND = f"SELECT to_regnamespace('{SCHEMA}') IS NOT NULL, to_regclass('{SCHEMA}.schema_version') IS NOT NULL"


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Bring a database to the newest version. Safe when several processes do so at once.

    Args:
        connection: one in autocommit mode, without an open transaction.

    Raises:
        LedgerTooNew: this package does not know its version.
        LedgerCorrupt: there is a schema of that name that is not ours.
        psycopg.Error: it cannot be changed.
    """
    newest = postgres_migrations()[-1][0]
    if _version_of(connection) == newest:
        return
    # Others may be at it, and old tables be long.
    with unhurried(connection), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        # Another process may have been first, while this one waited for the lock.
        found = _version_of(connection)
        if not found:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.execute(f"CREATE TABLE {SCHEMA}.schema_version (version integer NOT NULL)")
            connection.execute(f"INSERT INTO {SCHEMA}.schema_version VALUES (0)")  # noqa: S608 - a constant
        connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
        for number, script in postgres_migrations():
            if number > found:
                connection.execute(script.encode())
        connection.execute("UPDATE schema_version SET version = %s", (newest,))


def _version_of(connection: psycopg.Connection[Any]) -> int:
    """The version of the schema; 0 when there is none."""
    has_schema, has_version = connection.execute(_FOUND).fetchone() or (False, False)
    if not has_version:
        if has_schema and _tables(connection):
            raise LedgerCorrupt(f"its schema {SCHEMA} is another program's. Use another database.")
        return 0
    (found,) = connection.execute(f"SELECT version FROM {SCHEMA}.schema_version").fetchone() or (0,)  # noqa: S608
    newest = postgres_migrations()[-1][0]
    if found > newest:
        raise LedgerTooNew(
            f"it has version {found} of the schema, and this version of apeiros-callbacks knows up to "
            f"{newest}. Upgrade apeiros-callbacks, or use another database."
        )
    return int(found)


def _tables(connection: psycopg.Connection[Any]) -> int:
    query = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
    (count,) = connection.execute(query, (SCHEMA,)).fetchone() or (0,)
    return int(count)

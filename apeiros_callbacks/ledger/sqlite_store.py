"""A file as a writer's store: one connection that writes, and one for each question."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger.cap_rows import CAP_COLUMNS, cap_of_row
from apeiros_callbacks.ledger.fork_gate import inside_sqlite
from apeiros_callbacks.ledger.noted import NOTE_FINDING
from apeiros_callbacks.ledger.rows import Item, entry_of, insert, legible, select
from apeiros_callbacks.ledger.sqlite_file import (
    explain,
    identity,
    open_for_changing,
    open_for_reading,
    open_for_writing,
)
from apeiros_callbacks.ledger.store import RECALLED, Answer, Ask, Batch, Written, granted
from apeiros_callbacks.ledger.turns import Turns
from apeiros_callbacks.ledger.url import SqliteUrl, Synchronous

__all__ = ["SqliteStore"]

# SQLite forbids a forked child to use, or even to close, what its parent had open.
_parents_connections: list[sqlite3.Connection] = []


class SqliteStore:
    """See `Store`."""

    unstorable: tuple[type[Exception], ...] = (
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        sqlite3.DataError,
        sqlite3.IntegrityError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
    )
    alone: Sequence[tuple[str, Sequence[Any]]] = ()
    gate: AbstractContextManager[None] = inside_sqlite

    def __init__(self, path: Path, options: SqliteUrl) -> None:
        self.path = path
        """Absolute once the file was opened."""
        self.timeout = options.timeout
        self.lease = options.lease
        self.has_opened = False
        self._synchronous: Synchronous = options.synchronous
        self._connection: sqlite3.Connection | None = None
        self._opened_as: tuple[int, int] | None = None
        self._turns: Turns | None = None

    @property
    def place(self) -> str:
        """See `Store.place`."""
        return str(self.path)

    def open(self) -> None:
        """See `Store.open`."""
        if self._connection is None:
            self.path = self.path.absolute()
            self._connection = open_for_writing(self.path, self._synchronous, self.timeout)
            self._opened_as = identity(self.path)
            self._turns = Turns(self.path.parent)
            self.has_opened = True

    def close(self) -> None:
        """See `Store.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with inside_sqlite, suppress(sqlite3.Error):
                connection.close()
        self._leave_queue()

    def _leave_queue(self) -> None:
        if self._turns is not None:
            self._turns.close()
        self._turns = None

    def forget(self) -> None:
        """See `Store.forget`."""
        self._leave_queue()
        if self._connection is not None:
            _parents_connections.append(self._connection)
        self._connection = None

    def recalled(self, owner: str) -> list[str]:
        """See `Store.recalled`."""
        if self._connection is None:
            raise AssertionError("it is opened first")
        return [scope for (scope,) in self._connection.execute(RECALLED, (owner,))]

    def explain(self, error: Exception) -> LedgerError:
        """See `Store.explain`."""
        return explain(error, self.path, self.timeout)

    def legible(self, text: str) -> str:
        """See `Store.legible`."""
        return legible(text)

    def write(self, batch: Batch, owner: str) -> Written:
        """See `Store.write`."""
        connection, turns = self._connection, self._turns
        if connection is None or turns is None:
            raise AssertionError("it is opened first")
        if not (batch.items or batch.asks or batch.notes or batch.sweep):
            return Written(**_caps(connection, batch.caps_version))
        with turns.turn():
            written = self._transact(connection, batch, owner)
        # SQLite goes on writing to a file that was deleted, and says nothing.
        if identity(self.path) != self._opened_as:
            raise LedgerUnavailable("another file is in its place now.")
        return written

    def _transact(self, connection: sqlite3.Connection, batch: Batch, owner: str) -> Written:
        connection.execute("BEGIN IMMEDIATE")
        try:
            lent = _lent(connection, batch.items, owner)
            insert(connection, batch.items, clean=batch.clean)
            _take_out(connection, lent, owner)
            connection.executemany(NOTE_FINDING, batch.notes)
            now = time.time_ns() // 1_000
            expired = _sweep(connection, now) if batch.sweep else 0
            until = now + round(self.lease * 1e6)
            answers = [_answer(connection, ask, owner, now=now, until=until) for ask in batch.asks]
            recalled = [scope for (scope,) in connection.execute(RECALLED, (owner,))]
            spent = [(scope, _spent(connection, legible(scope))) for scope in batch.watched]
            caps = _caps(connection, batch.caps_version)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite rolls back by itself after some errors
                connection.execute("ROLLBACK")
            raise
        return Written(answers, recalled, spent, expired=expired, **caps)

    def entries(self, scope: str | None) -> list[Entry]:
        """See `Store.entries`."""
        rows = self.read(*select(scope))
        try:
            return [entry_of(row) for row in rows]
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            raise LedgerCorrupt(f"the ledger {self.path} holds an entry that cannot be: {error}") from error

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Store.read`."""
        try:
            with inside_sqlite, open_for_reading(self.path, self.timeout) as connection:
                return connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self.explain(error) from error

    def damage(self) -> list[str]:
        """See `Store.damage`."""
        found = [row[0] for row in self.read("PRAGMA integrity_check")]
        return [] if found == ["ok"] else [f"the file is damaged: {line}" for line in found]

    def change(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[int]:
        """See `Store.change`."""
        turns = Turns(self.path.parent)
        try:
            with turns.turn(), inside_sqlite, open_for_changing(self.path, self.timeout) as connection:
                connection.execute("BEGIN IMMEDIATE")
                counts = [connection.execute(statement, values).rowcount for statement, values in statements]
                connection.execute("COMMIT")
                return counts
        except (sqlite3.Error, OSError) as error:
            raise self.explain(error) from error
        finally:
            turns.close()


def _caps(connection: sqlite3.Connection, known: int) -> dict[str, Any]:
    version = connection.execute("SELECT coalesce(max(version), 0) FROM cap").fetchone()[0]
    if version == known:
        return {"caps_version": version}
    rows = connection.execute(f"SELECT {CAP_COLUMNS} FROM cap ORDER BY scope")  # noqa: S608 - our own names
    return {"caps_version": version, "caps": [cap_of_row(row) for row in rows]}


def _spent(connection: sqlite3.Connection, scope: str) -> int:
    row = connection.execute("SELECT spent FROM scope_total WHERE scope = ?", (scope,)).fetchone()
    return 0 if row is None else row[0]


def _lent(connection: sqlite3.Connection, items: Sequence[Item], owner: str) -> list[tuple[str, int, int]]:
    """What is set aside for a process in the scopes that entries are charged to, and what they have spent."""
    scopes = {legible(scope) for _, scopes in items for scope in scopes if "/" in scope}  # those of a period
    return [row for scope in scopes for row in connection.execute(_LENT, (scope, owner))]


_LENT = """
SELECT scope, granted, spent FROM lease JOIN scope_total USING (scope) WHERE scope = ? AND owner = ?
"""


def _take_out(connection: sqlite3.Connection, lent: Sequence[tuple[str, int, int]], owner: str) -> None:
    """What was spent is no longer set aside."""
    now = [(max(0, has - (_spent(connection, scope) - before)), scope, has) for scope, has, before in lent]
    connection.executemany(
        "UPDATE scope_total SET reserved = reserved - ? WHERE scope = ?",
        [(has - left, scope) for left, scope, has in now],
    )
    connection.executemany(
        "UPDATE lease SET granted = ? WHERE scope = ? AND owner = ?",
        [(left, scope, owner) for left, scope, _ in now],
    )


_SUMS = """
SELECT coalesce(sum(granted), 0), coalesce(sum(min(idle, granted)), 0), count(*)
FROM lease WHERE scope = ? AND owner <> ?
"""


def _answer(connection: sqlite3.Connection, ask: Ask, owner: str, *, now: int, until: int) -> Answer:
    scope = legible(ask.scope)
    spent = _spent(connection, scope)
    row = connection.execute(
        "SELECT granted, recalled FROM lease WHERE scope = ? AND owner = ?", (scope, owner)
    ).fetchone()
    has, recalled = row or (0, 0)
    base = scope.rpartition("/")[0]
    found = connection.execute("SELECT usd_nano FROM cap WHERE scope = ?", (base,)).fetchone()
    cap = None if found is None else found[0]
    others, idle, count = connection.execute(_SUMS, (scope, owner)).fetchone()
    if cap is None:
        gets = 0
    else:
        gets = granted(ask, has, cap - spent - others - has, count + 1)
        if gets < ask.least and count:
            _sweep(connection, now, scope)
            others, idle, count = connection.execute(_SUMS, (scope, owner)).fetchone()
            gets = granted(ask, has, cap - spent - others - has, count + 1)
    if gets < ask.least and idle > 0 and cap is not None:
        connection.execute(
            "UPDATE lease SET recalled = 1 WHERE scope = ? AND owner <> ? AND idle > 0", (scope, owner)
        )
    if gets:
        connection.execute(
            "INSERT OR REPLACE INTO lease (scope, owner, granted, idle, expires_at, recalled)"
            " VALUES (?, ?, ?, ?, ?, 0)",
            (scope, owner, gets, ask.idle_of(gets), until),
        )
    elif row is not None:
        connection.execute("DELETE FROM lease WHERE scope = ? AND owner = ?", (scope, owner))
    connection.execute(
        "INSERT INTO scope_total (scope, reserved) VALUES (?, ?)"
        " ON CONFLICT (scope) DO UPDATE SET reserved = excluded.reserved",
        (scope, others + gets),
    )
    return Answer(ask.scope, gets, cap, spent, others - idle, bool(recalled))


def _sweep(connection: sqlite3.Connection, now: int, scope: str | None = None) -> int:
    """Take back what processes had that did not renew it, of one scope or of all."""
    rows = connection.execute(
        "DELETE FROM lease WHERE expires_at < ? AND coalesce(?, scope) = scope"
        " RETURNING scope, owner, granted, idle",
        (now, scope),
    ).fetchall()
    for lost, owner, amount, idle in rows:
        connection.execute(
            "INSERT OR REPLACE INTO expired_lease (scope, owner, granted, idle, expired_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (lost, owner, amount, idle, now),
        )
        connection.execute("UPDATE scope_total SET reserved = reserved - ? WHERE scope = ?", (amount, lost))
    return len(rows)

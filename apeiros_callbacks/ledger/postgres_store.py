"""A PostgreSQL server as a writer's store: one connection that writes, and one for each question."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger.cap_rows import cap_of_row
from apeiros_callbacks.ledger.noted import NOTE_FINDING
from apeiros_callbacks.ledger.postgres_connection import connect
from apeiros_callbacks.ledger.postgres_schema import SCHEMA, migrate
from apeiros_callbacks.ledger.rows import COLUMNS, Item, entry_of, legible, row_of, select
from apeiros_callbacks.ledger.store import Answer, Batch, Written
from apeiros_callbacks.ledger.url import PostgresUrl

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresStore"]

_SYNC = f"SELECT {SCHEMA}.sync(%s, %s, %s, %s, %s, %s, %s, %s)"
_RETRIES = 3
"""Times that a transaction is begun again which the server gave up for the sake of another."""

_MOST_PATIENCE = 12
"""Times the URL's timeout. A statement that was given up is given twice the time when it is tried again."""

# A forked child must not use, or even close, what its parent had open.
_parents_connections: list[object] = []


class PostgresStore:
    """See `Store`. Needs the extra ``postgres``."""

    # Whoever writes waits; who reads does not.
    alone: Sequence[tuple[str, Sequence[Any]]] = (("LOCK TABLE scope_total, lease IN EXCLUSIVE MODE", ()),)
    gate: AbstractContextManager[None] = nullcontext()

    def __init__(self, options: PostgresUrl) -> None:
        self._options = options
        self.place = options.shown
        self.timeout = options.timeout
        self.lease = options.lease
        self.has_opened = False
        self._connection: psycopg.Connection[Any] | None = None
        self._patience = options.timeout
        self._numbers = itertools.count()

    @property
    def unstorable(self) -> tuple[type[Exception], ...]:
        """See `Store.unstorable`."""
        ours = (TypeError, ValueError, AttributeError, ArithmeticError)
        if self._connection is None:
            return ours
        import psycopg

        return (*ours, psycopg.DataError, psycopg.IntegrityError)

    def open(self) -> None:
        """See `Store.open`."""
        if self._connection is not None:
            return
        connection = connect(self._options, self._patience)
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self.has_opened = True

    def close(self) -> None:
        """See `Store.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def forget(self) -> None:
        """See `Store.forget`."""
        if self._connection is not None:
            _parents_connections.append(self._connection)
        self._connection = None

    def recalled(self, owner: str) -> list[str]:
        """See `Store.recalled`."""
        if self._connection is None:
            raise AssertionError("it is opened first")
        statement = f"SELECT scope FROM {SCHEMA}.lease WHERE owner = %s AND recalled = 1"  # noqa: S608
        with self._growing_patience():
            return [scope for (scope,) in self._connection.execute(statement, (owner,))]

    @contextmanager
    def _growing_patience(self) -> Generator[None]:
        try:
            yield
        except LedgerUnavailable:  # it may only be slow
            self._patience = min(2 * self._patience, _MOST_PATIENCE * self.timeout)
            raise
        self._patience = self.timeout

    def explain(self, error: Exception) -> LedgerError:
        """See `Store.explain`."""
        if isinstance(error, LedgerError):
            return type(error)(f"the ledger {self.place} cannot be used: {error}")
        if isinstance(error, ImportError):
            return LedgerUnavailable(
                f"the ledger {self.place} needs a driver ({error}). "
                "Install it: pip install 'apeiros-callbacks[postgres]'."
            )
        said = " ".join(str(error).split()) or type(error).__name__
        if type(error).__name__ == "InsufficientPrivilege":
            said += f". Give this user the rights to create and use the schema {SCHEMA}"
        elif not type(error).__module__.startswith("psycopg"):
            said += f" ({type(error).__name__})"
        return LedgerUnavailable(f"the ledger {self.place} cannot be used: {said.rstrip('.')}.")

    def legible(self, text: str) -> str:
        """See `Store.legible`. PostgreSQL holds no NUL in a text."""
        return legible(text).replace("\0", "?")

    def write(self, batch: Batch, owner: str) -> Written:
        """See `Store.write`. One round trip, unless something was found."""
        connection = self._connection
        if connection is None:
            raise AssertionError("it is opened first")
        import psycopg

        asks = [
            {
                "scope": self.legible(ask.scope),
                "busy": ask.busy,
                "first": ask.first,
                "least": ask.least,
                "wish": ask.wish,
            }
            for ask in batch.asks
        ]
        given = json.dumps([self._line(item, clean=batch.clean) for item in batch.items])
        watched = [self.legible(scope) for scope in batch.watched]
        values = (
            owner, next(self._numbers), self.lease, given, json.dumps(asks), watched, batch.caps_version,
            batch.sweep,
        )  # fmt: skip
        found: dict[str, Any] = {}
        for again in range(_RETRIES):
            try:
                with self._growing_patience():
                    found = self._sync(connection, batch, values)
                break
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if again == _RETRIES - 1:
                    raise
        names = {self.legible(ask.scope): ask.scope for ask in batch.asks}
        return Written(
            [Answer(names[scope], *rest) for scope, *rest in found["answers"]],
            found["recalled"],
            [(scope, nano) for scope, nano in found["spent"]],
            caps_version=found["caps_version"],
            caps=None if found["caps"] is None else [cap_of_row(row) for row in found["caps"]],
            expired=found["expired"],
        )

    def _sync(self, connection: psycopg.Connection[Any], batch: Batch, values: Sequence[Any]) -> Any:
        if not batch.notes:
            return connection.execute(_SYNC, values).fetchall()[0][0]
        notes = [
            [self.legible(value) if isinstance(value, str) else value for value in row] for row in batch.notes
        ]
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL search_path TO {SCHEMA}")
            cursor.executemany(_NOTE_FINDING, notes)
            return cursor.execute(_SYNC, values).fetchall()[0][0]

    def _line(self, item: Item, *, clean: bool) -> dict[str, Any]:
        entry, scopes = item
        row: dict[str, Any] = dict(zip(COLUMNS, row_of(entry), strict=True))
        row["scopes"] = scopes
        if clean:
            row = {
                name: self.legible(value) if isinstance(value, str) else value for name, value in row.items()
            }
            row["scopes"] = [self.legible(scope) for scope in scopes]
        return row

    def entries(self, scope: str | None) -> list[Entry]:
        """See `Store.entries`."""
        statement, values = select(scope)
        rows = self.read(statement, [self.legible(value) for value in values])
        try:
            return [entry_of(row) for row in rows]
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            raise LedgerCorrupt(f"the ledger {self.place} holds an entry that cannot be: {error}") from error

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Store.read`."""
        try:
            with connect(self._options) as connection, connection.transaction():
                connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
                return connection.execute(_marked(statement), values).fetchall()
        except Exception as error:
            raise self.explain(error) from error

    def damage(self) -> list[str]:
        """See `Store.damage`. A server looks after its own files."""
        return []

    def change(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[int]:
        """See `Store.change`."""
        import psycopg

        try:
            with connect(self._options) as connection:
                for again in range(_RETRIES):
                    try:
                        with connection.transaction():
                            connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
                            return [
                                connection.execute(_marked(statement), values).rowcount
                                for statement, values in statements
                            ]
                    except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected):
                        if again == _RETRIES - 1:  # several set caps at once
                            raise
        except Exception as error:
            raise self.explain(error) from error
        raise AssertionError("it returned or raised")


def _marked(statement: str) -> bytes:
    """A statement with the marks of this driver for its values."""
    return statement.replace("%", "%%").replace("?", "%s").encode()


_NOTE_FINDING = _marked(NOTE_FINDING)

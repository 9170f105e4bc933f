"""Entries in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger import lifecycle
from apeiros_callbacks.ledger.cap_rows import CAP_COLUMNS, cap_of_row, row_of_cap
from apeiros_callbacks.ledger.fork_gate import inside_sqlite
from apeiros_callbacks.ledger.protocol import Watcher
from apeiros_callbacks.ledger.rows import entry_of, legible, select
from apeiros_callbacks.ledger.sqlite_file import explain, open_for_changing, open_for_reading
from apeiros_callbacks.ledger.totals import ScopeTotals, totals_of_row
from apeiros_callbacks.ledger.url import SqliteUrl

__all__ = ["SqliteLedger"]


class SqliteLedger:
    """A ledger in a file. See `Ledger`.

    Any number of threads and processes may have the same file open. A process that is killed keeps all
    that was flushed, and loses at most the last milliseconds before.

    Opened on an event loop, the constructor does not wait for the file: that it cannot be opened shows
    in `failure`, and is raised by `flush` and `entries`. Anywhere else the constructor raises it.
    """

    def __init__(self, url: str, options: SqliteUrl) -> None:
        """Open the file, or create it.

        Args:
            url: what the user wrote, to show.
            options: the same, as `parse_url` read it.

        Raises:
            LedgerUnavailable: it cannot be opened, or not be written.
            LedgerCorrupt: it is not a ledger, or is damaged. It is left as it was.
            LedgerTooNew: a newer version of this package wrote it. It is left as it was.
        """
        self._url = url
        self._closed = False
        path = Path(options.path)
        on_loop = _on_event_loop()
        if not on_loop:
            path = path.absolute()
        self._writer, seat = lifecycle.join(path, options.synchronous, options.timeout)
        self._leave = weakref.finalize(self, lifecycle.leave, self._writer, seat)
        self._leave.atexit = False
        if on_loop:
            self._writer.inbox.ring()
        elif not self._writer.has_opened:
            try:
                self._writer.flush(options.timeout + 5.0)
            except BaseException:
                self._closed = True
                self._leave()
                raise

    @property
    def url(self) -> str:
        """See `Ledger.url`."""
        return self._url

    @property
    def failure(self) -> LedgerError | None:
        """See `Ledger.failure`."""
        return self._writer.failure

    @property
    def pending(self) -> int:
        """See `Ledger.pending`. Counts what this process has taken for the file, from whomever."""
        return len(self._writer.waiting())

    def append(self, entry: Entry, scopes: tuple[str, ...]) -> None:
        """See `Ledger.append`."""
        if self._closed:
            raise self._closed_error()
        self._writer.inbox.append((entry, scopes))

    def entries(self, scope: str | None = None) -> list[Entry]:
        """See `Ledger.entries`."""
        rows = self._read(*select(scope))
        try:
            return [entry_of(row) for row in rows]
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            raise LedgerCorrupt(
                f"the ledger {self._writer.path} holds an entry that cannot be: {error}"
            ) from error

    def totals(self, prefix: str = "") -> list[ScopeTotals]:
        """See `Ledger.totals`."""
        first = legible(prefix)
        rows = self._read(
            "SELECT scope, spent, calls, tokens, entries, first_at, last_at FROM scope_total"
            " WHERE scope >= ? AND scope < ? AND entries > 0 ORDER BY scope",
            (first, f"{first}{chr(0x10FFFF)}"),
        )
        return [totals_of_row(row) for row in rows]

    def set_cap(self, cap: Cap) -> None:
        """See `Ledger.set_cap`."""
        self._change(
            f"INSERT OR REPLACE INTO cap ({CAP_COLUMNS}, version)"  # noqa: S608 - our own column names
            " VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(version), 0) + 1 FROM cap))",
            row_of_cap(cap),
        )

    def caps(self) -> dict[str, Cap]:
        """See `Ledger.caps`."""
        rows = self._read(f"SELECT {CAP_COLUMNS} FROM cap ORDER BY scope")  # noqa: S608 - our own columns
        return {cap.scope: cap for cap in map(cap_of_row, rows)}

    def claim(self, name: str) -> bool:
        """See `Ledger.claim`."""
        values = (legible(name), time.time_ns() // 1_000)
        return self._change("INSERT OR IGNORE INTO claim (name, claimed_at) VALUES (?, ?)", values) == 1

    def watch(self, callback: Watcher) -> None:
        """See `Ledger.watch`."""
        self._writer.watchers.add(callback)

    def flush(self, timeout: float = 5.0) -> None:
        """See `Ledger.flush`."""
        if self._closed:
            raise self._closed_error()
        self._writer.flush(timeout)

    def close(self) -> None:
        """See `Ledger.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.flush(5.0)
        finally:
            self._leave()
        # So that the file is whole without its -wal and -shm files when this returns.
        self._writer.join(5.0)

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.flush()
        path, timeout = self._writer.path, self._writer.timeout
        try:
            with inside_sqlite, open_for_reading(path, timeout) as connection:
                return connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise explain(error, path, timeout) from error

    def _change(self, statement: str, values: Sequence[Any]) -> int:
        """Run one statement that changes the file, and say how many rows it changed."""
        if self._closed:
            raise self._closed_error()
        if not self._writer.has_opened:
            self._writer.flush(self._writer.timeout)
        path, timeout = self._writer.path, self._writer.timeout
        try:
            with inside_sqlite, open_for_changing(path, timeout) as connection:
                return connection.execute(statement, values).rowcount
        except (sqlite3.Error, OSError) as error:
            raise explain(error, path, timeout) from error

    def _closed_error(self) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"the ledger {self._url} is closed. Open it again with open_ledger({self._url!r})."
        )


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

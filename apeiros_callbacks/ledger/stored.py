"""A ledger that is kept in a file or on a server: what callers see of it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger import lifecycle
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.ledger.cap_rows import CAP_COLUMNS, cap_of_row, row_of_cap
from apeiros_callbacks.ledger.noted import Noted, findings_statement, merged, noted_of_row
from apeiros_callbacks.ledger.pages import GroupName, Line, line_of_row, page_statement, sums_statement
from apeiros_callbacks.ledger.protocol import Watcher
from apeiros_callbacks.ledger.store import Store
from apeiros_callbacks.ledger.totals import ScopeTotals, totals_of_row

__all__ = ["SET_CAP", "StoredLedger", "on_event_loop"]

_T = TypeVar("_T")

SET_CAP = f"""
INSERT INTO cap ({CAP_COLUMNS}, version)
VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(version), 0) + 1 FROM cap))
ON CONFLICT (scope) DO UPDATE SET
    usd = excluded.usd, usd_nano = excluded.usd_nano, alert_at = excluded.alert_at,
    period = excluded.period, timezone = excluded.timezone, plan_price = excluded.plan_price,
    version = excluded.version
"""  # noqa: S608 - our own column names
# What is idle elsewhere is asked back when a cap changes: it may be less now.
_RECALL = "UPDATE lease SET recalled = 1 WHERE scope >= ? AND scope < ? AND idle > 0"
_TOTALS = """
SELECT scope, spent, calls, tokens, entries, first_at, last_at FROM scope_total
WHERE scope >= ? AND scope < ? AND entries > 0 ORDER BY scope
"""
_SCOPES = """
SELECT charge.scope FROM entry JOIN charge ON charge.entry = entry.seq
WHERE entry.id = ? AND entry.attempt = ? ORDER BY charge.scope
"""
_LAST = chr(0x10FFFF)


class StoredLedger:
    """A ledger in a store. See `Ledger`.

    Any number of threads and processes may have the same store open. A process that is killed keeps all
    that was flushed, and loses at most the last milliseconds before.

    Opened on an event loop, the constructor does not wait for the store: that it cannot be opened shows in
    `failure`, and is raised by `flush` and `entries`. Anywhere else the constructor raises it.

    Args:
        url: what the user wrote, to show; without a password.
        key: what tells one store from another, for all in this process who share it.
        store: makes it.

    Raises:
        LedgerUnavailable: it cannot be opened, or not be written.
        LedgerCorrupt: it is not a ledger, or is damaged. It is left as it was.
        LedgerTooNew: a newer version of this package wrote it. It is left as it was.
    """

    def __init__(self, url: str, key: Hashable | None, store: Callable[[], Store]) -> None:
        self._url = url
        self._closed = False
        self._writer, seat = lifecycle.join(key, store)
        self._store = self._writer.store
        self._leave = weakref.finalize(self, lifecycle.leave, self._writer, seat)
        self._leave.atexit = False
        if on_event_loop():
            self._writer.inbox.ring()
        elif not self._store.has_opened:
            try:
                self._writer.flush(self._store.timeout + 5.0)
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
    def failing_since(self) -> float | None:
        """See `Ledger.failing_since`."""
        return self._writer.failing_since

    @property
    def pending(self) -> int:
        """See `Ledger.pending`. Counts what this process has taken for the store, from whomever."""
        return len(self._writer.waiting())

    @property
    def store(self) -> Store:
        """Where the entries are, for those who look after it."""
        return self._store

    @property
    def allowances(self) -> Allowances:
        """See `Ledger.allowances`."""
        return self._writer.allowances

    def append(self, entry: Entry, scopes: tuple[str, ...]) -> None:
        """See `Ledger.append`."""
        if self._closed:
            raise self._closed_error()
        self._writer.inbox.append((entry, scopes))

    def entries(self, scope: str | None = None) -> list[Entry]:
        """See `Ledger.entries`."""
        self.flush()
        return self._store.entries(scope)

    def scopes(self, entry: Entry) -> tuple[str, ...]:
        """See `Ledger.scopes`."""
        self.flush()
        rows = self._store.read(_SCOPES, (self._store.legible(entry.id), entry.attempt))
        return tuple(scope for (scope,) in rows)

    def page(self, scope: str | None = None, *, after: int | None = None, most: int = 500) -> list[Line]:
        """See `Ledger.page`."""
        lines = self._made_of(
            line_of_row,
            page_statement(None if scope is None else self._store.legible(scope), after, most),
            "an entry",
        )
        return lines if after is not None else lines[::-1]

    def sums(self, by: GroupName, since: datetime, until: datetime | None = None) -> list[ScopeTotals]:
        """See `Ledger.sums`."""
        return self._made_of(totals_of_row, sums_statement(by, since, until), "a sum")

    def note(self, noted: Noted) -> None:
        """See `Ledger.note`."""
        if self._closed:
            raise self._closed_error()
        self._writer.inbox.append(noted)

    def findings(self, *sessions: str, since: datetime | None = None, most: int | None = None) -> list[Noted]:
        """See `Ledger.findings`."""
        statement = findings_statement([self._store.legible(name) for name in sessions], since, most)
        return merged(self._made_of(noted_of_row, statement, "a finding"))

    def totals(self, prefix: str = "") -> list[ScopeTotals]:
        """See `Ledger.totals`."""
        self.flush()
        first = self._store.legible(prefix)
        return [totals_of_row(row) for row in self._store.read(_TOTALS, (first, f"{first}{_LAST}"))]

    def set_cap(self, cap: Cap) -> None:
        """See `Ledger.set_cap`."""
        self._opened().change(
            [
                (SET_CAP, row_of_cap(cap)),
                (
                    _RECALL,
                    (self._store.legible(f"{cap.scope}/"), self._store.legible(f"{cap.scope}/{_LAST}")),
                ),
            ]
        )
        self.caps()

    def caps(self) -> dict[str, Cap]:
        """See `Ledger.caps`."""
        rows = self._opened().read(f"SELECT {CAP_COLUMNS}, version FROM cap ORDER BY scope")  # noqa: S608
        caps = {cap.scope: cap for cap in (cap_of_row(row[:-1]) for row in rows)}
        self.allowances.know(max((row[-1] for row in rows), default=0), caps.values())
        return caps

    @property
    def claim(self) -> Callable[[str], bool]:
        """See `Ledger.claim`. Who has asked for it may claim when the ledger is closed."""
        if self._closed:
            raise self._closed_error()
        return self._writer.claim

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
        # So that a file is whole without its -wal and -shm files when this returns.
        self._writer.join(5.0)

    def _made_of(
        self, make: Callable[[tuple[Any, ...]], _T], statement: tuple[str, Sequence[Any]], what: str
    ) -> list[_T]:
        self.flush()
        rows = self._store.read(*statement)
        try:
            return [make(row) for row in rows]
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            raise LedgerCorrupt(
                f"the ledger {self._store.place} holds {what} that cannot be: {error}"
            ) from error

    def _opened(self) -> Store:
        if self._closed:
            raise self._closed_error()
        if not self._store.has_opened:
            self._writer.flush(self._store.timeout)
        return self._store

    def _closed_error(self) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"the ledger {self._url} is closed. Open it again with open_ledger({self._url!r})."
        )


def on_event_loop() -> bool:
    """Whether an event loop is running in this thread, which must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

"""Entries of this process only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeAlias

from apeiros_callbacks.caps import Cap, is_period_scope
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.ledger.cap_rows import row_of_cap
from apeiros_callbacks.ledger.noted import Noted, merged
from apeiros_callbacks.ledger.pages import FIELDS, GroupName, Line, page_of
from apeiros_callbacks.ledger.protocol import Watcher
from apeiros_callbacks.ledger.totals import ScopeTotals, totals_of
from apeiros_callbacks.ledger.watchers import Watchers
from apeiros_callbacks.money import to_nano

__all__ = ["MemoryLedger"]

_Lines: TypeAlias = dict[tuple[str, int], Entry]


class MemoryLedger:
    """A ledger that lives as long as it is referred to. See `Ledger`.

    It has no lock: an abandoned stream is closed by the garbage collector, which may run inside any
    other append of the same thread and would wait for that lock for ever. Each step is one operation
    of a dict, which no other thread can split, and leaves the ledger right at every point.
    """

    url = "memory:"
    failure = None
    failing_since = None
    pending = 0

    def __init__(self) -> None:
        self._lines: _Lines = {}
        self._charges: dict[str, _Lines] = {}
        self._joined_late: set[str] = set()
        self._sums: dict[str, tuple[int, int]] = {}
        self.allowances = Allowances(spent=self._spent)
        self._notes: dict[tuple[object, ...], Noted] = {}
        self._claims: dict[str, object] = {}
        self._watchers = Watchers()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """It takes nothing more."""
        return self._closed

    def append(self, entry: Entry, scopes: tuple[str, ...]) -> None:
        """See `Ledger.append`."""
        if self._closed:
            raise _closed()
        key = (entry.id, entry.attempt)
        lines = self._lines
        if key in lines:
            # These scopes may have later entries already.
            self._joined_late.update(scopes)
        entry = lines.setdefault(key, entry)
        charges = self._charges
        for scope in scopes:
            if scope not in charges:
                charges.setdefault(scope, {})
            charges[scope][key] = entry
            if self._watchers and is_period_scope(scope):
                self._watchers.tell([(scope, self._spent(scope))])

    def entries(self, scope: str | None = None) -> list[Entry]:
        """See `Ledger.entries`."""
        if self._closed:
            raise _closed()
        if scope is None:
            return list(self._lines.values())
        charged = self._charges.get(scope, {})
        if scope in self._joined_late:
            return [entry for key, entry in list(self._lines.items()) if key in charged]
        return list(charged.values())

    def scopes(self, entry: Entry) -> tuple[str, ...]:
        """See `Ledger.scopes`."""
        if self._closed:
            raise _closed()
        key = (entry.id, entry.attempt)
        return tuple(sorted(scope for scope, lines in self._charges.copy().items() if key in lines))

    def page(self, scope: str | None = None, *, after: int | None = None, most: int = 500) -> list[Line]:
        """See `Ledger.page`."""
        charged = self._lines if scope is None else self._charges.get(scope, {})
        everything = enumerate(list(self._lines.items()), start=1)
        lines = (Line(place, entry) for place, (key, entry) in everything if key in charged)
        return page_of(lines, after, most)

    def sums(self, by: GroupName, since: datetime, until: datetime | None = None) -> list[ScopeTotals]:
        """See `Ledger.sums`."""
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries():
            if entry.started_at >= since and (until is None or entry.started_at < until):
                groups.setdefault(getattr(entry, FIELDS[by]) or "", []).append(entry)
        tokens = self._tokens()
        sums = [totals_of(name, entries, tokens) for name, entries in groups.items()]
        return sorted(sums, key=lambda one: (-one.amount, one.scope))

    def note(self, noted: Noted) -> None:
        """See `Ledger.note`."""
        if self._closed:
            raise _closed()
        self._notes[(*noted.line, noted.source)] = noted

    def findings(self, *sessions: str, since: datetime | None = None, most: int | None = None) -> list[Noted]:
        """See `Ledger.findings`."""
        if self._closed:
            raise _closed()
        lines = merged(list(self._notes.values()))
        found = [
            line
            for line in lines
            if (not sessions or line.session_id in sessions) and (since is None or line.last_at >= since)
        ]
        return found if most is None else found[-most:] if most else []

    def totals(self, prefix: str = "") -> list[ScopeTotals]:
        """See `Ledger.totals`. Adds the entries up."""
        tokens = self._tokens()
        return [
            totals_of(scope, list(lines.values()), tokens)
            for scope, lines in sorted(self._charges.copy().items())
            if scope.startswith(prefix) and lines
        ]

    def set_cap(self, cap: Cap) -> None:
        """See `Ledger.set_cap`."""
        if self._closed:
            raise _closed()
        row_of_cap(cap)  # raises what the other ledgers do
        allowances = self.allowances
        allowances.know(allowances.version + 1, {**allowances.caps, cap.scope: cap}.values())

    def caps(self) -> dict[str, Cap]:
        """See `Ledger.caps`."""
        if self._closed:
            raise _closed()
        return dict(self.allowances.caps)

    @property
    def claim(self) -> Callable[[str], bool]:
        """See `Ledger.claim`. Who has asked for it may claim when the ledger is closed."""
        if self._closed:
            raise _closed()
        return partial(_claim, self._claims)

    def watch(self, callback: Watcher) -> None:
        """See `Ledger.watch`."""
        self._watchers.add(callback)

    def _tokens(self) -> dict[str, int]:
        return {line.key: line.usage.input_tokens + line.usage.output_tokens for line in self.entries()}

    def _spent(self, scope: str) -> int:
        # Lines are only ever added, at the end: those that were summed up before are not again.
        count, nano = self._sums.get(scope, (0, 0))
        more = list(self._charges.get(scope, {}).values())[count:]
        nano += sum(to_nano(line.amount) for line in more if line.amount is not None)
        self._sums[scope] = (count + len(more), nano)
        return nano

    def flush(self, timeout: float = 5.0) -> None:
        """See `Ledger.flush`."""
        if self._closed:
            raise _closed()

    def close(self) -> None:
        """See `Ledger.close`."""
        self._closed = True


def _claim(claims: dict[str, object], name: str) -> bool:
    mine = object()
    return claims.setdefault(name, mine) is mine


def _closed() -> LedgerUnavailable:
    return LedgerUnavailable("the ledger memory: is closed. Open it again with open_ledger('memory:').")

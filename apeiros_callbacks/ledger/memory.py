"""Entries of this process only."""

from __future__ import annotations

from typing import TypeAlias

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerUnavailable

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
    pending = 0

    def __init__(self) -> None:
        self._lines: _Lines = {}
        self._charges: dict[str, _Lines] = {}
        self._joined_late: set[str] = set()
        self._closed = False

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

    def flush(self, timeout: float = 5.0) -> None:
        """See `Ledger.flush`."""
        if self._closed:
            raise _closed()

    def close(self) -> None:
        """See `Ledger.close`."""
        self._closed = True


def _closed() -> LedgerUnavailable:
    return LedgerUnavailable("the ledger memory: is closed. Open it again with open_ledger('memory:').")

"""What every ledger does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Protocol, TypeAlias, runtime_checkable

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerError
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.ledger.pages import GroupName, Line
from apeiros_callbacks.ledger.totals import ScopeTotals

__all__ = ["Ledger", "Watcher"]

Watcher: TypeAlias = Callable[[str, Decimal], object]
"""Told a period's scope, such as ``"customer:acme/2026-11"``, and the US dollars that are spent in it."""


@runtime_checkable
class Ledger(Protocol):
    """Entries, and which scopes each of them is charged to.

    Safe to use from any thread. A scope is a name such as ``"session:3f2a"``.

    Example:
        >>> from apeiros_callbacks.ledger import open_ledger
        >>> ledger = open_ledger("memory:")
        >>> ledger.entries("session:3f2a")
        []
        >>> ledger.close()
    """

    @property
    def url(self) -> str:
        """Where the entries are, as given to `open_ledger`. Holds no password."""
        ...

    @property
    def failure(self) -> LedgerError | None:
        """Why entries cannot be written now; None when they can.

        Entries that wait are kept in memory and tried again, so this goes away by itself when its
        cause does.
        """
        ...

    @property
    def failing_since(self) -> float | None:
        """Since when `failure` is not None, by `time.monotonic`."""
        ...

    @property
    def allowances(self) -> Allowances:
        """What this process may spend of caps without asking the ledger for each call."""
        ...

    @property
    def pending(self) -> int:
        """Entries that were taken and are not yet written."""
        ...

    def append(self, entry: Entry, scopes: tuple[str, ...]) -> None:
        """Take an entry and charge it to scopes. Returns at once and does not touch a disk.

        ``(entry.id, entry.attempt)`` is one entry however often it comes: the first one stays, and
        each scope is charged with it once. A second session that saw the same call adds its scope.

        Args:
            entry: what happened.
            scopes: what it is charged to.

        Raises:
            LedgerUnavailable: the ledger is closed. Never because of the disk: see `failure`.
        """
        ...

    def entries(self, scope: str | None = None) -> list[Entry]:
        """The entries, oldest first, in the order they were first appended.

        Waits for what was appended before and then reads, so do not call it on an event loop that
        has other work: use ``await asyncio.to_thread(ledger.entries)`` there.

        Args:
            scope: only the entries charged to this scope.

        Raises:
            LedgerUnavailable: it cannot be opened, written or read now, or is closed.
            LedgerCorrupt: the file is not a ledger, or is damaged.
            LedgerTooNew: a newer version of this package wrote the file.
        """
        ...

    def scopes(self, entry: Entry) -> tuple[str, ...]:
        """The scopes that an entry is charged to, by name. Reads, as `entries` does.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def page(self, scope: str | None = None, *, after: int | None = None, most: int = 500) -> list[Line]:
        """Some entries and their places, in the order of `entries`; what a million entries are read by.

        Args:
            scope: only the entries charged to this scope.
            after: the first ones after this place; 0 begins. None gives the last ones of all.
            most: how many, at most.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def sums(self, by: GroupName, since: datetime, until: datetime | None = None) -> list[ScopeTotals]:
        """Sums over the entries that started in a time, the dearest first.

        Args:
            by: what they are grouped by. Each sum has the name of its group as its ``scope``, empty for the
                entries without one.
            since: the beginning of the time.
            until: its end, which is not part of it.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def note(self, noted: Noted) -> None:
        """Take what is known of a finding, in place of what the same source noted of it before.

        Returns at once and does not touch a disk, like `append`.

        Raises:
            LedgerUnavailable: the ledger is closed.
        """
        ...

    def findings(self, *sessions: str, since: datetime | None = None, most: int | None = None) -> list[Noted]:
        """What was found, the last seen last: a line for each pattern of a session, its sources together.

        Args:
            *sessions: only of these, by their ids; of all, unless any is given.
            since: only what was seen then or later.
            most: only so many, those that were seen last.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def totals(self, prefix: str = "") -> list[ScopeTotals]:
        """What each scope has in all, by name: kept beside the entries, so it is read and not added up.

        Waits for what was appended before, as `entries` does.

        Args:
            prefix: only scopes that begin so, such as ``"customer:"``.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def set_cap(self, cap: Cap) -> None:
        """Set the limit of a scope, for all processes that share the ledger.

        One with ``usd=None`` limits nothing, and keeps the rest: when to alert, and the plan's price.
        Waits for the disk, so do not call it on an event loop that has other work.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def caps(self) -> dict[str, Cap]:
        """The cap of each scope that has one. Reads the disk, as `entries` does.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    @property
    def claim(self) -> Callable[[str], bool]:
        """Take a name, ``ledger.claim(name)``.

        True for the first who does so, in whatever process, and False ever after.

        Waits for the disk, so do not call it on an event loop that has other work.

        Raises:
            LedgerError: what `entries` raises.
        """
        ...

    def watch(self, callback: Watcher) -> None:
        """Tell what a period of a scope has spent, after each write of this process that changed it.

        The callback runs on a thread of its own, one call at a time, and may use the ledger. What it raises
        is logged.
        """
        ...

    def flush(self, timeout: float = 5.0) -> None:
        """Return when everything that was appended before is kept for good.

        Args:
            timeout: how long to wait, in seconds.

        Raises:
            LedgerUnavailable: not in that time; says how many entries wait, and why. They are kept
                and tried again. Also when the ledger is closed.
            LedgerCorrupt: the file is not a ledger, or is damaged.
            LedgerTooNew: a newer version of this package wrote the file.
        """
        ...

    def close(self) -> None:
        """Flush, and let go of the ledger. A second call does nothing.

        Raises:
            LedgerError: what `flush` raises. The ledger is closed all the same, and this process
                goes on trying to write what waits until it ends.
        """
        ...

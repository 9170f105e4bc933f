"""What a writer writes to: a file, or a server; and what it says and hears in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerError
from apeiros_callbacks.ledger.rows import Item

__all__ = ["RECALLED", "Answer", "Ask", "Batch", "Store", "Written", "granted"]


RECALLED = "SELECT scope FROM lease WHERE owner = ? AND recalled = 1"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process needs to have set aside for a period's scope, in nano-dollars.

    These are levels, not differences: to ask twice is to ask once.
    """

    scope: str
    busy: int
    """What open calls hold, and what waits to be written after this batch."""
    first: int
    """That, and what the first caller waits for."""
    least: int
    """That, and what all callers wait for."""
    wish: int
    """That, and something to spare."""

    def idle_of(self, gets: int) -> int:
        """What nothing needs of a grant."""
        return max(0, gets - (self.least if gets >= self.least else self.busy))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is set aside for this process now, and how the scope stands."""

    scope: str
    granted: int
    cap: int | None
    """Nano-dollars; None for no limit."""
    spent: int
    """By all processes."""
    elsewhere: int
    """What others have set aside and need, as far as they have told."""
    recalled: bool
    """Others need what is idle here."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done in one transaction, all or none.

    What entries cost is taken out of what is set aside for this process, as far as it has something there.
    """

    items: Sequence[Item] = ()
    asks: Sequence[Ask] = ()
    caps_version: int = -1
    """Of the caps that are known here."""
    watched: Sequence[str] = ()
    """Scopes of which to say what they have spent after it."""
    sweep: bool = False
    """Take back what processes had that are dead."""
    notes: Sequence[tuple[Any, ...]] = ()
    """Rows of findings, for `NOTE_FINDING`."""
    clean: bool = False
    """Replace what cannot be held in a text."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it."""

    answers: Sequence[Answer] = ()
    recalled: Sequence[str] = ()
    """Scopes that were not asked for, in which others need what is idle here."""
    spent: Sequence[tuple[str, int]] = ()
    """The scopes watched, and the nano-dollars spent in them."""
    caps_version: int = -1
    caps: Sequence[Cap] | None = None
    """All caps, where they are newer than known."""
    expired: int = 0
    """How many leases of dead processes were taken back."""


class Store(Protocol):
    """Where a ledger is kept. Used by the writer's thread, except where it says otherwise."""

    @property
    def place(self) -> str:
        """As a person would name it, without a password."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds to wait for it."""
        ...

    @property
    def lease(self) -> float:
        """Seconds for which an allowance is lent, unless it is renewed."""
        ...

    @property
    def has_opened(self) -> bool:
        """It could be opened at least once."""
        ...

    @property
    def unstorable(self) -> tuple[type[Exception], ...]:
        """What an entry raises that could never be stored."""
        ...

    @property
    def gate(self) -> AbstractContextManager[None]:
        """To be inside of while it is used."""
        ...

    def open(self) -> None:
        """Connect, where it is not connected yet."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...

    def forget(self) -> None:
        """Leave the connection to the parent: in a forked child."""
        ...

    def write(self, batch: Batch, owner: str) -> Written:
        """Do all of it, or nothing.

        Args:
            batch: what to do.
            owner: whose leases are meant.
        """
        ...

    def recalled(self, owner: str) -> list[str]:
        """The scopes in which others need what is idle here."""
        ...

    def explain(self, error: Exception) -> LedgerError:
        """What happened and what to do, as one of our errors; a new one without a traceback."""
        ...

    def entries(self, scope: str | None) -> list[Entry]:
        """Read entries. From any thread, as all that follows; raises our errors."""
        ...

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that reads."""
        ...

    def change(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[int]:
        """Run statements that change it, all or none, and say how many rows each of them changed."""
        ...

    @property
    def alone(self) -> Sequence[tuple[str, Sequence[Any]]]:
        """What to run first in `change`, so that no process changes counters meanwhile."""
        ...

    def damage(self) -> list[str]:
        """What is broken below the tables."""
        ...

    def legible(self, text: str) -> str:
        """A text as it can be stored."""
        ...


def granted(ask: Ask, has: int, room: int, leases: int) -> int:
    """What to set aside for a process that has some already.

    What calls need comes first; what is not enough for the first of them stays with nobody. What is only
    at hand gets at most half of its share in the room that is left, so that slices shrink near the cap and
    the last of it goes to whoever needs it.

    Args:
        ask: what it asks for.
        has: what is set aside for it.
        room: what nobody has spent or set aside.
        leases: how many processes have something set aside, this one included.

    Example:
        >>> granted(Ask("a", busy=0, first=10, least=10, wish=50), has=0, room=40, leases=1)
        25
        >>> granted(Ask("a", busy=0, first=10, least=20, wish=50), has=3, room=6, leases=1)
        0
    """
    if ask.wish <= has:
        return ask.wish
    most = has + max(0, room)
    if most < ask.first:
        return min(ask.busy, most)
    needed = max(has, min(ask.least, most))
    return needed + max(0, min(ask.wish - needed, (most - needed) // (2 * leases)))

"""Money that a router keeps for a call which it is about to make.

Between a look at what is left and the start of the call others would take it: a router that is told to wait
for what other calls hold keeps it from the moment it is there. The call that starts next in the same thread
or task takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from time import monotonic
from typing import Self

from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.scopes import Account, Hold

__all__ = ["Reservation", "kept_here", "kept_of"]

kept_here: ContextVar[Hold | None] = ContextVar("apeiros_kept", default=None)
"""What is kept for the next call; it is not open any more once that has started."""

_POLL = 0.05
"""Seconds between two looks at what other calls hold."""


class Reservation:
    """What one call may wait for, and what is kept for it. A context, at whose end nothing is kept any more.

    Args:
        take: holds what the call needs, or says what would refuse it; neither where nothing is limited.
        give_back: ends what was held, unless the call has.
        wait: the most to sleep in all, in seconds; 0 keeps nothing.
    """

    def __init__(
        self,
        take: Callable[[], tuple[Hold | None, BudgetExceeded | None]],
        give_back: Callable[[Hold], object],
        wait: float,
    ) -> None:
        self._take = take
        self._give_back = give_back
        self._wait = wait
        self._hold: Hold | None = None

    def pauses(self) -> Iterator[float]:
        """The seconds to sleep, one after the other, while other calls hold what this one needs."""
        deadline = monotonic() + self._wait
        while self._wait:
            self._hold, refusal = self._take()
            if self._hold is not None:
                kept_here.set(self._hold)
            if refusal is None or not refusal.held or monotonic() >= deadline:
                return
            yield _POLL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            kept_here.set(None)
            self._give_back(hold)


def kept_of(account: Account) -> int:
    """Nano-dollars of an account that are kept for the next call here."""
    kept = kept_here.get()
    return kept.need.nano if kept is not None and kept.open and account in kept.accounts else 0

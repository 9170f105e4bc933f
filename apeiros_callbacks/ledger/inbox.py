"""What waits to be written, in order, and the bell of the thread that writes it.

Nothing here takes a lock that somebody else may hold: an abandoned stream is closed by the garbage
collector, which may run inside any other append of the same thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from apeiros_callbacks.errors import LedgerError
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.ledger.rows import Item

__all__ = ["Flush", "Inbox", "Queued"]


class Flush:
    """A place in the inbox that somebody waits for."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failure: LedgerError | None = None


Queued: TypeAlias = Item | Noted | Flush


class Inbox:
    """Many put in, one thread takes out: what it has not finished with stays in its place."""

    def __init__(self, before_ring: Callable[[], bool]) -> None:
        """An empty inbox, whose `before_ring` tells, or sees to it, that a thread hears the bell."""
        self._queue: deque[Queued] = deque()
        self._flushes: list[Flush] = []
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._idle = True
        self._before_ring = before_ring

    def append(self, item: Item | Noted) -> None:
        """Put in an entry or a finding. The bell costs microseconds, and rings only when it is needed."""
        self._queue.append(item)
        if self._idle:
            self.ring()

    def append_flush(self) -> Flush:
        """Put in a mark that is over when all before it is written."""
        flush = Flush()
        self._flushes.append(flush)
        self._queue.append(flush)
        self.ring()
        return flush

    def ring(self) -> None:
        """Wake the thread that writes."""
        self._idle = not self._before_ring()
        self._bell.put(None)

    def nudge(self) -> None:
        """Wake it if it sleeps; leave it its rest."""
        if self._idle:
            self.ring()

    def items(self) -> list[Item]:
        """The entries that wait, oldest first."""
        return [queued for queued in self._queue.copy() if isinstance(queued, tuple)]

    def flushes(self) -> list[Flush]:
        """The marks that somebody waits for."""
        return self._flushes.copy()

    def has_work(self) -> bool:
        """An entry or a finding waits, or somebody does."""
        return bool(self._flushes) or any(not isinstance(one, Flush) for one in self._queue.copy())

    def first(self, most: int) -> list[Queued]:
        """What came first, left in its place. For the writing thread only, as all that follows."""
        queue = self._queue
        return [queue[place] for place in range(min(len(queue), most))]

    def remove_first(self, count: int) -> None:
        """Take out what is written."""
        for _ in range(count):
            queued = self._queue.popleft()
            if isinstance(queued, Flush):
                self.end(queued)

    def end(self, flush: Flush, failure: LedgerError | None = None) -> None:
        """Tell who waits for a mark how it went. Anybody may do this for a mark of their own."""
        with suppress(ValueError):
            self._flushes.remove(flush)
        flush.failure = failure
        flush.over.set()

    def rest(self, seconds: float) -> None:
        """Wait for the bell, but not longer than that. No entry rings it."""
        self._wait(seconds)

    def _wait(self, seconds: float | None) -> None:
        with suppress(Empty):
            self._bell.get(timeout=seconds)
            while True:  # many may have rung: one look is for all of them
                self._bell.get_nowait()

    def lie_down(self) -> bool:
        """From now on, an entry rings the bell.

        Returns:
            False when something came before, so that this is not the time to sleep.
        """
        self._idle = True
        return not self._queue

    def sleep(self, seconds: float | None) -> None:
        """Wait for the bell, but not longer than that where it is not None."""
        self._wait(seconds)

    def get_up(self) -> None:
        """From now on, entries are seen without the bell."""
        self._idle = False

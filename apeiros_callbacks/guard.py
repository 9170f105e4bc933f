"""A lock for counters that the garbage collector may want to change in the middle of a change.

An abandoned stream is closed when its generator is collected, and a collection may start at any
allocation: also inside a section that this very thread has locked. What arrives there waits until the
section is over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident

__all__ = ["Guard"]


class Guard:
    """Locks a section; steps that come up inside it, in the same thread, run right after it.

    Sections are short, never nest and never wait.

    Example:
        >>> guard = Guard()
        >>> with guard:
        ...     guard.is_mine
        ...     guard.later(lambda: print("after"))
        True
        after
    """

    __slots__ = ("_holder", "_later", "_lock")

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Be unlocked; in a forked child, where the thread that held it is not."""
        # Reentrant for the two moments in which the lock is taken and the holder not noted.
        self._lock = threading.RLock()
        self._holder = 0
        self._later: deque[Callable[[], object]] = deque()

    @property
    def is_mine(self) -> bool:
        """Whether this thread is inside the section."""
        return self._holder == get_ident()

    def later(self, step: Callable[[], object]) -> None:
        """Run a step when the section is over. It must not raise."""
        self._later.append(step)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = 0
        self._lock.release()
        while self._later:
            self._later.popleft()()

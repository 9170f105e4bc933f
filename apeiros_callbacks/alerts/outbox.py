"""Sends alerts from a thread of its own, and tries again until they arrive.

There is one outbox for each destination of this process, whatever sessions have it, so that one that is
dead delays no other. Its thread lives while there is something to send.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from apeiros_callbacks.alerts.alert import Alert
from apeiros_callbacks.alerts.destinations import Destination, NotSent
from apeiros_callbacks.ending import before_end, ends_here, start_thread
from apeiros_callbacks.errors import ApeirosError
from apeiros_callbacks.forked import in_forked_child

__all__ = ["Letter", "Outbox", "post", "state_of"]

logger = logging.getLogger("apeiros_callbacks.alerts")

MOST: Final = 1_000
"""Alerts that wait for one destination. One more is not taken, and offered again when more is spent."""
_TIMEOUT: Final = 10.0
"""Seconds for one attempt."""
_FIRST_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 60.0
_AT_EXIT: Final = 5.0
"""Seconds that alerts which wait may hold up the end of the process."""


@dataclass(slots=True)
class Letter:
    """An alert on its way to one destination."""

    alert: Alert
    destination: Destination
    claim: Callable[[str], bool] | None = None
    """Says whether it is this process that sends it; None where nobody else can."""

    def send(self, timeout: float) -> None:
        """Send it, unless another process did; raises when it could not be sent."""
        if self.claim is not None:
            if not self.claim(f"alert:{self.alert.name}:{self.destination.key}"):
                return
            self.claim = None
        self.destination.send(self.alert, timeout)


class Outbox:
    """What waits for one destination.

    It has no lock: the garbage collector may close an abandoned stream in the middle of `put`, and so bring
    about another one in the same thread.
    """

    def __init__(self) -> None:
        self.start_afresh()
        in_forked_child(self)

    def start_afresh(self) -> None:
        """Have nothing to send and no thread; in a forked child, whose parent sends what it has."""
        self._waiting: deque[Letter] = deque()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._hurry = threading.Event()
        self._ends_at: float | None = None
        self.failure: str | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, letter: Letter) -> bool:
        """Take a letter, unless too many wait. Waits for nothing."""
        if len(self._waiting) >= MOST:
            return False
        self._waiting.append(letter)
        self._start()
        return True

    def hurry(self, ends_at: float) -> None:
        """Try everything once more, without a pause, until a moment of the monotonic clock."""
        self._ends_at = ends_at
        self._hurry.set()
        self._start()

    def finish(self) -> None:
        """Wait until that is done, and log what is lost."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, (self._ends_at or 0.0) - time.monotonic()))
        elif self._waiting:  # no more threads at the interpreter's end
            self._run()
        if self._waiting:
            logger.error(
                "lost with the end of this process: %s to %r. %s",
                "1 alert" if len(self._waiting) == 1 else f"{len(self._waiting):,} alerts",
                self._waiting[0].destination,
                self.failure or "There was no time to send them.",
            )

    def _start(self) -> None:
        # Again and again: the thread may be done before the lock is free, and who came meanwhile went away.
        while self._thread is None and self._waiting and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    ends_here()
                    self._thread = threading.Thread(target=self._run, name="apeiros-alerts", daemon=True)
                    start_thread(self._thread)
            except RuntimeError:  # no more threads, at the interpreter's end: `finish` sends
                self._thread = None
                _without_thread.append(self)
                return
            finally:
                self._starting.release()
            if self._hurry.is_set():
                return  # what it could not send in a hurry, another thread could not either

    def _run(self) -> None:
        retry = _FIRST_RETRY
        tried = 0
        while self._waiting and not self._is_over:
            letter = self._waiting[0]
            try:
                letter.send(self._patience)
            except Exception as why:  # noqa: BLE001 - whatever it is, it is tried again
                self._fails(letter, why)
                self._waiting.rotate(-1)  # it may be the only one that cannot be sent
                if self._hurry.is_set():
                    tried += 1
                    if tried >= len(self._waiting):
                        break
                self._hurry.wait(retry * random.uniform(0.5, 1.0))  # noqa: S311 - so that processes do not meet
                retry = min(2 * retry, _LONGEST_RETRY)
            else:
                self._waiting.popleft()
                self.failure = None
                retry = _FIRST_RETRY
        self._thread = None
        if not self._hurry.is_set():
            self._start()  # something may have come in this moment

    @property
    def _patience(self) -> float:
        ends_at = self._ends_at
        return _TIMEOUT if ends_at is None else max(0.1, min(_TIMEOUT, ends_at - time.monotonic()))

    @property
    def _is_over(self) -> bool:
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def _fails(self, letter: Letter, why: Exception) -> None:
        first = self.failure is None
        # What a function of the user's raises may name an address or a secret.
        said = str(why) if isinstance(why, NotSent | ApeirosError) else type(why).__name__
        self.failure = f"{letter.destination!r}: {said}"
        if first:
            logger.warning("an alert was not sent, and is tried again: %s", self.failure)


_outboxes: WeakValueDictionary[str, Outbox] = WeakValueDictionary()
"""Those in use: their threads hold them."""
_without_thread: list[Outbox] = []


def post(letter: Letter) -> bool:
    """Put a letter into the outbox of its destination, unless too many wait there. Waits for nothing."""
    key = letter.destination.key
    outbox = _outboxes.get(key)
    return (outbox if outbox is not None else _outboxes.setdefault(key, Outbox())).put(letter)


def state_of(destination: Destination) -> tuple[int, str | None]:
    """How many alerts wait for a destination, and what went wrong last."""
    outbox = _outboxes.get(destination.key)
    return (0, None) if outbox is None else (len(outbox), outbox.failure)


def _finish_all() -> None:
    ends_at = time.monotonic() + _AT_EXIT
    outboxes = list(_outboxes.values())
    for outbox in outboxes:
        outbox.hurry(ends_at)
    for outbox in outboxes:
        outbox.finish()


before_end("send", _finish_all)

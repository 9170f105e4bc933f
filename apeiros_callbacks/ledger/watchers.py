"""Who is told when a period of a scope has spent more, and the thread that tells them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from decimal import Decimal
from queue import SimpleQueue

from apeiros_callbacks.ending import before_end, ends_here, start_thread
from apeiros_callbacks.money import from_nano

__all__ = ["Watchers"]

logger = logging.getLogger("apeiros_callbacks.ledger")

_AT_EXIT = 5.0


class Watchers:
    """Callbacks, called one at a time from a thread that begins with the first news."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[str, Decimal], object]] = []
        self.start_afresh()
        _all.add(self)

    def start_afresh(self) -> None:
        """Have no thread and no news; in a forked child, where the parent's are not."""
        self._news: SimpleQueue[tuple[str, int] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Callable[[str, Decimal], object]) -> None:
        """Tell one more."""
        self._callbacks.append(callback)

    def tell(self, spent: Iterable[tuple[str, int]]) -> None:
        """Tell them scopes and the nano-dollars that are spent in them. Waits for none of them."""
        if not self._callbacks:
            return
        for news in spent:
            self._news.put(news)
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    ends_here()
                    self._thread = threading.Thread(target=self._run, name="apeiros-watch", daemon=True)
                    start_thread(self._thread)
            except RuntimeError:  # no more threads at the interpreter's end: `finish` tells them
                self._thread = None
            finally:
                self._starting.release()

    def finish(self, seconds: float) -> None:
        """Tell what there is to tell before the process ends, but do not take longer than that."""
        thread = self._thread
        if thread is None:
            self._news.put(None)
            self._run()
        elif thread is not threading.current_thread():
            self._news.put(None)
            thread.join(max(0.0, seconds))

    def _run(self) -> None:
        while (news := self._news.get()) is not None:
            scope, nano = news
            for callback in self._callbacks.copy():
                try:
                    callback(scope, from_nano(nano))
                except Exception:
                    logger.exception("telling what %s has spent went wrong", scope)


_all: weakref.WeakSet[Watchers] = weakref.WeakSet()


def finish_all(seconds: float = _AT_EXIT) -> None:
    """Tell everybody what there is to tell, before the process ends."""
    deadline = time.monotonic() + seconds
    for watchers in list(_all):
        if watchers:
            watchers.finish(deadline - time.monotonic())


def _in_the_child() -> None:
    for watchers in list(_all):
        watchers.start_afresh()


before_end("tell", finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)

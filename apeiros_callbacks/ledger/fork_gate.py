"""Keeps this process out of SQLite while it forks.

A fork copies SQLite's own locks as they are. One that another thread holds at that moment stays locked
in the child for ever, and the child's first statement would hang. So a fork waits until no thread of
ours is inside SQLite, which is a millisecond, and keeps them out until it is done.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["inside_sqlite"]

# A thread may be waiting for a locked file: then forking is more urgent, and the risk is a small one.
_PATIENCE = 1.0


class _ForkGate:
    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forks = 0

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._inside, timeout=_PATIENCE)

    def open(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


inside_sqlite = _ForkGate()
"""``with inside_sqlite:`` around whatever uses a connection."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=inside_sqlite.close,
        after_in_parent=inside_sqlite.open,
        after_in_child=inside_sqlite.start_afresh,
    )

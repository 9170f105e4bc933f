"""Which writers live: shared by path, fresh after a fork, emptied at exit."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from decimal import Decimal

from apeiros_callbacks.ending import before_end, ends_here
from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger.store import Store
from apeiros_callbacks.ledger.writer import Writer, entries, logger
from apeiros_callbacks.money import show_usd

__all__ = ["join", "leave"]

# How long entries that are not yet written may hold up the end of the process, in seconds.
_AT_EXIT = 5.0

_lock = threading.Lock()
_writers: dict[Hashable, Writer] = {}


def join(key: Hashable | None, store: Callable[[], Store]) -> tuple[Writer, object]:
    """The writer of a store, shared by all in this process who give the same key.

    Args:
        key: what tells stores apart; None for one that is shared with nobody.
        store: makes it, where there is none.

    Returns:
        The writer, and a seat to give back to `leave`.
    """
    seat = object()
    key = seat if key is None else key
    with _lock:
        writer = _writers.get(key)
        if writer is None:
            writer = _writers[key] = Writer(store(), before_start=ends_here, may_end=_may_end)
        writer.users[seat] = None
    return writer, seat


def leave(writer: Writer, seat: object) -> None:
    """Let go of a writer. Waits for nothing, so that the garbage collector may call it."""
    writer.users.pop(seat, None)
    writer.wake()


def _may_end(writer: Writer) -> bool:
    with _lock:
        if writer.users and not writer.stopping:
            return False
        hopeless = writer.stopping and not isinstance(writer.failure, LedgerUnavailable | None)
        if writer.inbox.has_work() and not hopeless:
            return False
        if writer.failure is None and writer.leases.has_something:
            return False
        if not writer.users:
            for key in [key for key, other in _writers.items() if other is writer]:
                del _writers[key]
        return True


def _at_exit() -> None:
    deadline = time.monotonic() + _AT_EXIT
    writers = list(_writers.values())
    for writer in writers:
        writer.stopping = True
        writer.wake()
    for writer in writers:
        writer.join(deadline - time.monotonic())
    for writer in writers:
        waiting = writer.waiting()
        if waiting:
            amounts = [entry.amount for entry, _ in waiting]
            total = sum((amount for amount in amounts if amount is not None), Decimal(0))
            logger.error(
                "lost with the end of this process: %s, %s in all, %d of unknown amount. %s",
                entries(len(waiting)),
                show_usd(total),
                amounts.count(None),
                writer.failure or f"The ledger {writer.store.place} was not written within {_AT_EXIT:g} s.",
            )


def _after_fork_in_child() -> None:
    # The parent writes what it has queued. Here nothing is queued, and no thread is running.
    global _lock
    _lock = threading.Lock()
    for writer in _writers.values():
        writer.start_afresh()


before_end("write", _at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""Money of a cap that processes share may have to be waited for; an event loop runs meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from apeiros_callbacks.ledger.allowances import may_wait
from apeiros_callbacks.waiting import awaited

__all__ = ["may_wait", "waited"]

T = TypeVar("T")


async def waited(step: Callable[[], T], again: Callable[[], T] | None = None) -> T:
    """Run a step on an event loop.

    Args:
        step: what may have to wait; it is run again after each wait.
        again: is run after a wait instead, where the step must not be run twice.
    """
    return await awaited(step, again) if may_wait() else step()

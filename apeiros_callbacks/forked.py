"""What is to be done in a forked child, before anything else runs there."""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

__all__ = ["in_forked_child"]

_steps: set[WeakMethod[Callable[[], None]]] = set()


def in_forked_child(step: Callable[[], None]) -> None:
    """Call a method in each forked child, as long as its object lives. It must not raise.

    Example:
        >>> class Connection:
        ...     def forget(self) -> None:
        ...         print("the parent's")
        >>> connection = Connection()
        >>> in_forked_child(connection.forget)
    """
    _steps.add(WeakMethod(step, _steps.discard))


def _run() -> None:
    for found in list(_steps):
        step = found()
        if step is not None:
            step()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run)

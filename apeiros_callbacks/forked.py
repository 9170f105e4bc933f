"""What is to be done in a forked child, before anything else runs there."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["StartsAfresh", "in_forked_child"]


class StartsAfresh(Protocol):
    """Something that a forked child has and that is its parent's business."""

    def start_afresh(self) -> None:
        """Forget what is the parent's. It must not raise."""


_all: WeakSet[StartsAfresh] = WeakSet()


def in_forked_child(one: StartsAfresh) -> None:
    """Let something start afresh in each forked child, as long as it lives."""
    _all.add(one)


def _run() -> None:
    for one in list(_all):
        one.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run)

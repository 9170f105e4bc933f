"""What is to be done before the process ends, in the order of its stages.

Open calls are closed first, then entries are written, then those are told who watch a ledger, and then
alerts are sent: each may bring about what comes after it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

__all__ = ["Stage", "before_end", "ends_here", "start_thread"]

logger = logging.getLogger("apeiros_callbacks")

Stage: TypeAlias = Literal["close", "write", "tell", "send"]

_steps: dict[Stage, list[Callable[[], object]]] = {stage: [] for stage in get_args(Stage)}
_ended_in: int | None = None
_noted_in: int | None = None


def before_end(stage: Stage, step: Callable[[], object]) -> None:
    """Take a step once, before the process ends. It must end by itself, in a few seconds at most."""
    _steps[stage].append(step)


def ends_here() -> None:
    """Have the steps taken in a child of `multiprocessing` too: one that is forked has no exit functions."""
    global _noted_in
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _noted_in == os.getpid():
        return
    from multiprocessing.util import Finalize

    _noted_in = os.getpid()
    Finalize(None, _end, exitpriority=0)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        RuntimeError: the interpreter is ending. The thread would never run, and Python 3.11 would wait for it
            for ever; later versions raise this by themselves.
    """
    if sys.is_finalizing():
        raise RuntimeError("no thread is started at the interpreter's end")
    thread.start()


def _end() -> None:
    global _ended_in
    if _ended_in == os.getpid():
        return
    _ended_in = os.getpid()
    for steps in _steps.values():
        for step in steps:
            try:
                step()
            except Exception:
                logger.exception("ending the process went wrong")


atexit.register(_end)

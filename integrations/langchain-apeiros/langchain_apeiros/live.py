"""The runs that started and did not end yet, and how to tell that one is over of which no end is heard.

LangChain (core 1.4 to 1.8) sends no end and no error for an ``ainvoke`` or a tool that is cancelled, for a
typed stream that is dropped, for the answers that ``generate([a, b])`` had when b fails, and for a call
whose start or end another handler raised in. Each shows in another way: its task is done, its task starts
another call, its batch failed, or the callback manager that started it, which lives as long as the call
does, is collected.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager

from apeiros_callbacks import Session
from apeiros_callbacks.call import Ending, OpenCall, Outcome
from apeiros_callbacks.forked import in_forked_child
from langchain_apeiros.ended import ending_of_task, handled_here
from langchain_apeiros.usage import Sent

__all__ = ["Live", "Lives", "Origin", "running_task"]

_NOTHING_SENT = Sent()


class Live:
    """A run between its start and its end."""

    __slots__ = (
        "around", "batch", "copies", "counts", "is_told", "is_tool", "life", "lone", "open_call", "sent",
        "session", "stream", "task", "ticks", "under_way", "watch",
    )  # fmt: skip

    def __init__(self, session: Session, open_call: OpenCall, sent: Sent = _NOTHING_SENT) -> None:
        self.session = session
        self.open_call = open_call
        self.sent = sent
        self.is_tool = open_call.call.kind == "tool"
        self.around = handled_here()
        """What was being handled when it started: no error of this call's."""
        self.copies = 1
        """How often this handler is attached to the run: each event comes that often."""
        self.ticks = 0
        self.counts = not open_call.is_followed
        """No other handler of the same session counts the answer already."""
        open_call.is_followed = True
        self.stream: str | None = None
        """The kind of event that brings the answer; some streams send it by two."""
        self.batch: list[UUID] | None = None
        """The runs that one ``generate`` started together, in the order in which it sends them."""
        self.lone = True
        """No other handler of the run could have kept it from being sent."""
        self.is_told = False
        """LangChain tells of every end of it, once it was sent."""
        self.life: weakref.ref[BaseCallbackManager] | None = None
        self.under_way = False
        """The event loop went round before anybody cancelled: what was about to be sent may have been."""
        self.task: asyncio.Task[Any] | None = None
        self.watch: Callable[[asyncio.Task[Any]], None] | None = None

    def goes_round(self) -> None:
        """Note that the event loop went round."""
        self.under_way = self.task is not None and not self.task.cancelling()

    @property
    def is_plain(self) -> bool:
        """A single call of which nothing was heard yet: its task can do nothing else meanwhile."""
        return self.batch is None and self.stream is None and not self.is_tool


class Origin(NamedTuple):
    """The callback manager that sends a start event."""

    manager: BaseCallbackManager | None
    lasts: bool
    """It is known to live exactly as long as the call."""
    streams: bool = False
    """It starts a stream: whoever reads the first piece need not be who reads the others."""
    is_apart: bool = False
    """The start itself runs in a task of its own, which is over before the call is sent."""
    is_told: bool = False
    """It starts a completion model, of which LangChain tells every end once it was sent."""

    @classmethod
    def here(cls) -> Origin:
        """Find it: a handler is not told, so it is looked up among the callers of the hook."""
        frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
        for _ in range(8):
            if frame.f_code.co_name in _STARTS:
                manager = frame.f_locals.get("self")
                if isinstance(manager, BaseCallbackManager):
                    return cls._by(frame, manager)
            if frame.f_back is None:
                break
            frame = frame.f_back
        return cls(None, lasts=False)

    @classmethod
    def _by(cls, start: FrameType, manager: BaseCallbackManager) -> Origin:
        """Tell it from the function that sends the event, and from what calls that."""
        caller = start.f_back
        while caller is not None and caller.f_code.co_name == "<listcomp>":  # a frame until Python 3.12
            caller = caller.f_back
        name = "" if caller is None else caller.f_code.co_name
        in_core = caller is not None and str(caller.f_globals.get("__name__")).startswith("langchain_core.")
        is_apart = _is_start_of_task(start)
        return cls(
            manager,
            lasts=is_apart or (in_core and name in _KEEPERS),
            streams="stream" in name,
            is_apart=is_apart,
            is_told=start.f_code.co_name == "on_llm_start",
        )

    def put_first(self, handler: BaseCallbackHandler) -> bool:
        """Let a handler hear of the end before any that may raise in it.

        Returns:
            Whether there is no such other.
        """
        if self.manager is None:
            return True
        handlers = self.manager.handlers
        if len(handlers) == 1 or not any(
            other.raise_error for other in handlers if not isinstance(other, type(handler))
        ):
            return True  # of our own kind, one tells the other
        # LangChain may be going through this list. What is before the handler in it was called already, and
        # moves up one place: nothing is called twice or left out.
        handlers.remove(handler)
        handlers.insert(0, handler)
        return False

    @property
    def handlers(self) -> Sequence[BaseCallbackHandler]:
        """All handlers of the run."""
        return () if self.manager is None else self.manager.handlers


def running_task() -> asyncio.Task[Any] | None:
    """The task that this is part of; None outside of an event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


_STARTS = frozenset({"on_chat_model_start", "on_llm_start", "on_tool_start", "on_chain_start"})
# Functions of LangChain in which, or in whose closure, a manager lives as long as the call.
_KEEPERS = frozenset({
    "generate", "agenerate", "stream", "astream", "ensure_started", "run", "arun",
    "_call_with_config", "_acall_with_config",
})  # fmt: skip


def _is_start_of_task(frame: FrameType) -> bool:
    """Whether a task consists of this function, as where several prompts are started by a ``gather``."""
    task = running_task()
    return task is not None and getattr(task.get_coro(), "cr_frame", None) is frame


class Lives:
    """Open runs by id. Safe across threads, and when the garbage collector calls.

    A forked child has none: the calls are its parent's, and the parent hears of their ends.

    Args:
        over: told of a run that is over and of which no end was heard.
    """

    def __init__(self, over: Callable[[UUID, Live, Outcome], None]) -> None:
        self._over = over
        self._lives: dict[int, Live] = {}
        self._of_task: dict[int, UUID] = {}
        self._batches: weakref.WeakKeyDictionary[BaseCallbackManager, list[UUID]]
        self._batches = weakref.WeakKeyDictionary()
        in_forked_child(self)

    def start_afresh(self) -> None:
        """Drop all runs without a word."""
        self._lives = {}
        self._of_task = {}

    def __len__(self) -> int:
        return len(self._lives)

    def get(self, run_id: UUID) -> Live | None:
        """The run, if it is open."""
        return self._lives.get(run_id.int)

    def pop(self, run_id: UUID) -> Live | None:
        """The run, if it is open; it is not open any more."""
        live = self._lives.pop(run_id.int, None)
        if live is not None:
            live.life = None
            if live.task is not None and live.watch is not None:
                live.task.remove_done_callback(live.watch)
                self._of_task.pop(id(live.task), None)
        return live

    def add(
        self,
        run_id: UUID,
        live: Live,
        origin: Origin,
        task: asyncio.Task[Any] | None = None,
        batch_size: int = 1,
    ) -> None:
        """Note a run, and watch for its end.

        Args:
            run_id: its id.
            live: the run.
            origin: what sent its start.
            task: what it is started in, on an event loop.
            batch_size: how many runs start together with it.
        """
        manager = origin.manager
        if batch_size > 1 and manager is not None:
            live.batch = self._batches.setdefault(manager, [])
            live.batch.append(run_id)
        self._lives[run_id.int] = live
        if manager is not None and origin.lasts:
            live.life = weakref.ref(manager, functools.partial(self._collected, run_id))
        live.is_told = origin.is_told
        if task is not None and not origin.streams and not origin.is_apart:
            live.task = task
            live.watch = functools.partial(self._task_done, run_id)
            task.add_done_callback(live.watch)
            loop = task.get_loop()
            # Twice: LangChain sends from a task of its own, which begins in the round after this one.
            loop.call_soon(loop.call_soon, live.goes_round)
            if live.is_plain:
                self._of_task[id(task)] = run_id

    def goes_on(self, task: asyncio.Task[Any], parent: UUID | None) -> None:
        """Note that a task is about to make another call: one that is still open was cancelled.

        Args:
            task: the task.
            parent: the run that the other call is made in.
        """
        before = self._of_task.get(id(task))
        live = None if before is None else self._lives.get(before.int)
        if before is not None and live is not None and before != parent and live.is_plain:
            self._end(before, "cut", "no end seen")

    def is_wrapper(self, run_id: UUID) -> None:
        """Note that an LLM run makes another one: a model around a model, which sends nothing itself."""
        live = self._lives.get(run_id.int)
        if live is not None and not live.is_tool:
            self.pop(run_id)
            self._over(run_id, live, Outcome(ending="unsent"))  # its own end, when it comes, says nothing new

    def withdrawn(self, run_id: UUID, origin: Origin) -> None:
        """Note that a run was refused: what its ``generate`` started before it is not sent either."""
        manager = origin.manager
        started = () if manager is None else self._batches.get(manager, ())
        for other in (*started, run_id):
            self._end(other, "unsent", "")

    def batch_failed(self, live: Live, run_id: UUID) -> None:
        """Note that one of several prompts failed.

        The sync ``generate`` drops the answers that it had before, and goes no further.
        """
        if live.batch is None or live.task is not None or run_id not in live.batch:
            return
        here = live.batch.index(run_id)
        for other in live.batch[:here]:
            self._end(other, "cut", "answer lost")
        for other in live.batch[here + 1 :]:
            self._end(other, "unsent", "")

    def _collected(self, run_id: UUID, life: weakref.ref[BaseCallbackManager]) -> None:
        live = self._lives.get(run_id.int)
        if live is None or live.life is not life:
            return
        if live.task is not None and live.stream is None:
            self._task_over(run_id, live, live.task)
        elif live.stream is not None:
            self._end(run_id, "cut", "abandoned")
        elif live.is_told:
            self._end(run_id, "unsent", "")
        else:
            self._end(run_id, "cut" if live.lone else "lost", "no end seen")

    def _task_done(self, run_id: UUID, task: asyncio.Task[Any]) -> None:
        live = self._lives.get(run_id.int)
        if live is not None:
            self._task_over(run_id, live, task)

    def _task_over(self, run_id: UUID, live: Live, task: asyncio.Task[Any]) -> None:
        if task.done():
            cancelled = task.cancelled()
            ending = ending_of_task(task, under_way=live.under_way, around=live.around)
            self._end(run_id, ending, "CancelledError" if cancelled else "no end seen")
        else:  # a timeout inside a task that goes on
            self._end(run_id, "cut" if live.under_way else "unsent", "CancelledError")

    def _end(self, run_id: UUID, ending: Ending, error: str) -> None:
        live = self.pop(run_id)
        if live is None:
            return
        if live.is_tool and error:
            outcome = Outcome(ending="answered", error=error)  # it ran, as far as it came
        else:
            outcome = Outcome(ending=ending, provisional=True, error=error)
        self._over(run_id, live, outcome)

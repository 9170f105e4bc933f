"""LlamaIndex's spans as a tree: what runs inside of what, in which run, by which agent."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.base import BaseLLM

from apeiros_callbacks.recent import Recent
from apeiros_callbacks.reported.failure import handled_here

if TYPE_CHECKING:
    from llama_index.callbacks.apeiros.live import Live
    from llama_index.callbacks.apeiros.placing import Owner
    from llama_index.callbacks.apeiros.requests import Request

__all__ = ["ASYNC_BATCH", "Span", "Spans"]

ASYNC_BATCH = "aget_text_embedding_batch"
"""The method whose batches are tasks of their own."""

_MOST = 20_000
_DEEPEST = 200
_UUID = 37
"""Characters of a span's id after its name: a dash and a UUID."""


class Span:
    """One call of a method that LlamaIndex reports, from its start; what comes inside may outlive it."""

    __slots__ = (
        "agent", "args", "around", "batches", "calls_made", "has_call", "id", "instance", "latest_agent",
        "lives", "method", "owners", "parent", "pending", "root", "tags",
    )  # fmt: skip

    def __init__(
        self,
        id_: str,
        parent: Span | None,
        instance: object,
        args: Mapping[str, Any],
        tags: Mapping[str, Any],
    ) -> None:
        self.id = id_
        self.parent = parent
        self.method = id_[:-_UUID].rpartition(".")[2]
        self.root: str = id_ if parent is None else parent.root
        self.instance = instance
        self.args = args
        self.tags = tags
        self.around = handled_here()
        """What was being handled when it started: not what ended it."""
        self.agent: str | None = None
        """Whose step it is."""
        self.latest_agent: str | None = None
        """Whose step was the last inside of it."""
        self.has_call = False
        """A call to a provider was reported in it, or was recorded for it."""
        self.pending: deque[Request] = deque()
        """What is about to be sent; the guard takes it."""
        self.lives: list[Live] = []
        """Its calls that are open: one, or the batches of an embedding."""
        self.calls_made = 0
        self.batches = 0
        """Texts of an embedding that were said to be next, in batches."""
        self.owners: Sequence[Owner] = ()
        """Of a run's outermost span: whose the last call inside of it was."""

    def ancestors(self) -> Iterator[Span]:
        """What it is inside of, the nearest first."""
        around = self.parent
        for _ in range(_DEEPEST):
            if around is None:
                return
            yield around
            around = around.parent

    @property
    def top(self) -> Span:
        """The outermost span of the run."""
        return next(iter(deque(self.ancestors(), maxlen=1)), self)

    def agent_here(self) -> str | None:
        """Who is at work: the agent of the nearest step, or of the last step of the nearest run."""
        for span in (self, *self.ancestors()):
            if span.agent or span.latest_agent:
                return span.agent or span.latest_agent
        return None

    def leave(self) -> None:
        """Keep nothing of it but its place in the tree."""
        self.instance = None
        self.args = {}
        self.owners = ()


class Spans:
    """The spans that are open, and those that closed last: what they started may go on. Bounded."""

    def __init__(self) -> None:
        self._spans: Recent[str, Span] = Recent(_MOST)
        self._lazy: dict[int, tuple[weakref.ref[Any], Span]] = {}

    def enter(
        self,
        id_: str,
        parent_id: str | None,
        instance: object,
        args: inspect.BoundArguments | None,
        tags: Mapping[str, Any] | None,
    ) -> Span:
        """Note a span. What a generator runs inside belongs to whoever made the generator."""
        parent = None if parent_id is None else self._spans.get(parent_id)
        if self._lazy and isinstance(instance, BaseLLM):
            maker = self._maker_around()
            if maker is not None and (parent is None or maker not in (parent, *parent.ancestors())):
                parent = maker
        arguments = {} if args is None else args.arguments
        span = Span(id_, parent, instance, arguments, tags or {})
        if span.method == "run_agent_step":
            name = getattr(arguments.get("ev"), "current_agent_name", None)
            if isinstance(name, str) and name:
                span.agent = name
                if parent is not None:
                    parent.latest_agent = name
        self._spans.set(id_, span)
        return span

    def get(self, id_: str | None) -> Span | None:
        """A span that is open, or was lately."""
        return None if id_ is None else self._spans.get(id_)

    def makes(self, span: Span, generator: object) -> None:
        """Note that a span gave a generator, whose calls are made when it is read."""
        if not isinstance(generator, GeneratorType | AsyncGeneratorType):
            return
        key = id(generator)
        lazy = self._lazy
        lazy[key] = (weakref.ref(generator, lambda _: lazy.pop(key, None)), span)

    def clear(self) -> None:
        """Forget all: in a forked child, whose parent hears of their ends."""
        self._spans.clear()
        self._lazy.clear()

    def _maker_around(self) -> Span | None:
        """The span that made the generator which is running here.

        LlamaIndex (0.14) starts spans inside a generator as children of whoever reads it, or of nobody.
        """
        frames: dict[int, Span] = {}
        for made, span in list(self._lazy.values()):
            generator = made()
            frame = getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)
            if frame is not None:
                frames[id(frame)] = span
        here: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        for _ in range(_DEEPEST):
            if here is None:
                return None
            if id(here) in frames:
                return frames[id(here)]
            here = here.f_back
        return None

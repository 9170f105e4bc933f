"""A call between its start and its end, in each session that records it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from apeiros_callbacks import Session
from apeiros_callbacks.call import Call, Ending, OpenCall, Outcome
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.reported.failure import handled_here
from llama_index.callbacks.apeiros.pause import say_what_to_do
from llama_index.callbacks.apeiros.streams import inner_of, is_over, unread_ending
from llama_index.callbacks.apeiros.waiting import may_wait

if TYPE_CHECKING:
    from llama_index.callbacks.apeiros.requests import Request
    from llama_index.callbacks.apeiros.routing import Claim
    from llama_index.callbacks.apeiros.usage import Answer

__all__ = ["Live"]


class Live:
    """One call, open in one session or more."""

    __slots__ = (
        "around", "chunks", "claim", "ends_apart", "has_task", "inner", "life", "opened", "request", "seen",
        "unread",
    )  # fmt: skip

    def __init__(self, request: Request, claim: Claim | None) -> None:
        self.request = request
        self.claim = claim
        self.around = handled_here()
        """What was being handled when it started: not what ended it."""
        self.opened: list[tuple[Session, OpenCall]] = []
        self.chunks = 0
        self.seen: Answer | None = None
        """The last chunk that carried a report of usage."""
        self.ends_apart = False
        """Not with its span, which may have several: its own task ends it, or who opened it."""
        self.has_task = False
        """A task is its own."""
        self.life: weakref.ref[Any] | None = None
        self.inner: weakref.ref[Any] | None = None
        self.unread: Ending = "lost"

    @property
    def call(self) -> Call:
        """What it is in the first of its sessions."""
        return self.opened[0][1].call

    def grow(self, text: str) -> None:
        """Count a piece of the answer. Whoever made the call is told when it is to be cut."""
        claim = self.claim
        if claim is not None and claim.later is not None:
            claim.later.append((self, text))
        else:
            self.count(text)

    def count(self, text: str) -> None:
        """Count a piece of the answer now."""
        claim = self.claim
        for session, open_call in self.opened:
            if claim is None and open_call.call.customer is not None and may_wait():
                open_call.take_text(text)  # nothing can be cut, and nothing is waited for
                continue
            try:
                session.grow_call(open_call, text, can_cut=claim is not None)
            except Refused as stop:
                say_what_to_do(session, stop)
                if claim is not None and claim.stop is None:
                    claim.stop = stop

    def close(self, outcome: Outcome) -> None:
        """Settle it in each session."""
        for session, open_call in self.opened:
            session.close_call(open_call.call.id, outcome)

    def follow(
        self, generator: GeneratorType[Any, Any, Any] | AsyncGeneratorType[Any, Any], gone: Callable[[], None]
    ) -> None:
        """Hear when the generator that gives its answer is collected.

        Args:
            generator: what the caller was given.
            gone: called then; of a generator that was read and dropped, LlamaIndex sends an event after it.
        """
        self.life = weakref.ref(generator, lambda _: gone())
        inner = inner_of(generator)
        self.unread = unread_ending(generator)
        if inner is not None:
            self.inner = weakref.ref(inner)

    def ending_of_gone(self) -> Ending | None:
        """How it ended when its generator is collected; None when an event says it."""
        if self.chunks:
            return None
        if self.inner is None:
            return self.unread
        inner = self.inner()
        return "cut" if inner is None or is_over(inner) else self.unread  # it was read to its end

"""The veto: a rate limiter is asked right before a request is sent, and what it raises reaches the caller.

LlamaIndex's dispatcher swallows whatever an event or span handler raises (instrumentation 0.1 to 0.6), and
query engines throw a model's callback manager away (core 0.14). ``rate_limiter`` of a model or an embedding
(core 0.14.16 and later) is asked after the start event and before the provider's client, outside of any
``try``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.rate_limiter import BaseRateLimiter

from llama_index.callbacks.apeiros.waiting import waited

if TYPE_CHECKING:
    from llama_index.callbacks.apeiros.handler import ApeirosHandler

__all__ = ["Guard"]


class Guard(BaseRateLimiter):
    """Stands before a user's own limiter, which goes on working, and looks like it.

    Args:
        inner: the limiter that was there.
        gate: is asked with the id of the span that is about to send; what it gives is run, and what that
            raises keeps it from sending.
    """

    def __init__(
        self, inner: BaseRateLimiter | None, gate: Callable[[str | None], Callable[[], object] | None]
    ) -> None:
        self.inner = inner
        self.gate = gate
        self.seen: weakref.WeakSet[ApeirosHandler] = weakref.WeakSet()
        """Handlers that were in the callback manager of its model: one that is replaced is remembered."""

    def acquire(self, num_tokens: int = 0) -> None:
        """Let a request go, when the budget and the user's limiter do."""
        step = self.gate(active_span_id.get())
        if step is not None:
            step()
        if self.inner is not None:
            self.inner.acquire(num_tokens)

    async def async_acquire(self, num_tokens: int = 0) -> None:
        """The same, on an event loop."""
        step = self.gate(active_span_id.get())
        if step is not None:
            await waited(step)
        if self.inner is not None:
            await self.inner.async_acquire(num_tokens)

    def __copy__(self) -> Guard:
        return self

    def __deepcopy__(self, memo: object) -> Guard:
        return self  # a limiter that is copied would let twice as much through

    def __reduce__(self) -> tuple[object, ...]:
        return (_unguarded, (self.inner,))  # another process has no session of ours

    def __getattr__(self, name: str) -> Any:
        if name in {"inner", "gate", "seen"}:  # not there yet
            raise AttributeError(name)
        return getattr(self.inner, name)


def _unguarded(inner: BaseRateLimiter | None) -> BaseRateLimiter | None:
    return inner

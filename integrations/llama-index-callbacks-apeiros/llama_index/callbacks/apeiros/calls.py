"""The calls that are under way: from LlamaIndex's events to a session's calls, each exactly once."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Callable, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from llama_index.core.instrumentation.span import active_span_id

from apeiros_callbacks import Session
from apeiros_callbacks.call import Call, Outcome
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.forked import in_forked_child
from apeiros_callbacks.settings import customer_of
from llama_index.callbacks.apeiros.ended import ending_of_error, name_of_error
from llama_index.callbacks.apeiros.fields import field
from llama_index.callbacks.apeiros.guard import Guard
from llama_index.callbacks.apeiros.live import Live
from llama_index.callbacks.apeiros.pause import say_what_to_do
from llama_index.callbacks.apeiros.placing import claim_here, owners
from llama_index.callbacks.apeiros.requests import Request
from llama_index.callbacks.apeiros.spans import ASYNC_BATCH, Span, Spans
from llama_index.callbacks.apeiros.usage import Answer, has_report, read_cut, read_outcome

__all__ = ["Calls", "calls", "cut_outcome"]


class Calls:
    """The open spans and calls of this process. Safe across threads, and when the garbage collector calls."""

    def __init__(self) -> None:
        self.spans = Spans()
        self._busy: dict[str, Span] = {}
        """Spans with a call that is open: they are not forgotten, however many come after them."""

    def span(self, span_id: str | None) -> Span | None:
        """A span that is open, or was lately."""
        return None if span_id is None else self._busy.get(span_id) or self.spans.get(span_id)

    # Before it is sent

    def guard(self, instance: Any) -> None:
        """Put the guard before a model's or an embedding's own limiter."""
        limiter = instance.rate_limiter
        if not isinstance(limiter, Guard):
            instance.rate_limiter = Guard(limiter, self.gate)

    def starts(self, span: Span, request: Request) -> None:
        """Note what a span is about to send. What it is inside of sends nothing itself."""
        span.has_call = True
        for around in span.ancestors():
            around.has_call = True
            around.pending.clear()
            for live in [live for live in around.lives if live.request.kind == request.kind]:
                self.finish(around, live, Outcome(ending="unsent"))
        span.pending.append(request)

    def gate(self, span_id: str | None) -> Callable[[], object] | None:
        """What holds that which is about to be sent, or refuses it. The guard asks, right before.

        It may be run again, where money is waited for.
        """
        span = self.span(span_id)
        while span is not None and not span.pending and span.instance is None:
            span = span.parent  # the workers of a batch are functions with spans of their own
        if span is None or not span.pending:
            return None
        return functools.partial(self.open, span, span.pending.popleft())

    def open(self, span: Span, request: Request) -> Live | None:
        """Open a call in each session that it belongs to; None where it belongs to none.

        Raises:
            Refused: one of them refuses it.
        """
        live = Live(request, claim_here.get())
        try:
            for session, make in self._calls(span, request):
                try:
                    opened = session.open_call(make(session.gate_failed))
                except Refused as refusal:
                    say_what_to_do(session, refusal)
                    raise
                # A session around another's is given the other's call, which is grown and closed there.
                if all(opened is not other for _, other in live.opened):
                    live.opened.append((session, opened))
        except BaseException:
            live.close(Outcome(ending="unsent"))
            raise
        if not live.opened:
            return None
        span.lives.append(live)
        self._busy[span.id] = span
        if request.made_in is not None:
            self._ends_with_task(span, live, request.made_in)
        if live.claim is not None:
            live.claim.opened(live)
        return live

    # While it is answered

    def grows(self, span_id: str | None, response: Answer, text: Callable[[Answer], str]) -> None:
        """Count a chunk of a streamed answer."""
        span = None if span_id is None else self._busy.get(span_id)
        if span is None or not span.lives:
            return
        live = span.lives[-1]
        live.chunks += 1
        if has_report(response):
            live.seen = response
        live.grow(text(response))

    # When it is over

    def answered(self, span_id: str | None, response: Answer | None) -> None:
        """Settle what the provider reported."""
        span = self.span(span_id)
        if span is None:
            return
        for live in tuple(span.lives):
            self.finish(
                span, live, self._read(live, lambda live: read_outcome(response, live.call, live.seen))
            )
        while span.pending:  # nothing asked the guard
            self.record(span, span.pending.popleft(), functools.partial(read_outcome, response))

    def embedded(self, span_id: str | None, texts: object) -> None:
        """Settle the call that embedded some texts; nothing was sent for those that came from a cache."""
        span = self.span(span_id)
        if span is None:
            return
        live = next((live for live in span.lives if live.request.texts == texts), None)
        if live is not None:
            self.finish(span, live, Outcome(ending="answered"))
            return
        request = next((request for request in span.pending if request.texts == texts), None)
        if request is not None:
            span.pending.remove(request)
            # A single text that asks no limiter was in the cache.
            if span.method == ASYNC_BATCH:
                self.record(span, request, lambda _: Outcome(ending="answered"))

    def failed(self, span: Span, error: BaseException) -> None:
        """Release what was held, or settle what is known."""
        several = span.calls_made > 1
        for live in tuple(span.lives):
            if not live.ends_apart:
                # Where a task of its own took its error, this is the error.
                others = several and not live.has_task
                read = functools.partial(cut_outcome, error=error, several=others)
                self.finish(span, live, self._read(live, read))
        unasked = [request for request in span.pending if _asks_nobody(span, request)]
        span.pending.clear()
        for request in unasked:
            ending = ending_of_error(error, streaming=False, around=span.around)
            # Of several batches the error is one's; nobody knows whether the others were sent.
            ended = Outcome(ending="lost" if len(unasked) > 1 else ending, error=name_of_error(error))
            self.record(span, request, functools.partial(_as_it_ended, ended))

    def span_here(self, name: str) -> Span:
        """The span that this runs in; where there is none, a new one that is in no run."""
        return self.span(active_span_id.get()) or Span(f"{name}-{uuid.uuid4()}", None, None, {}, {})

    def follow(self, span: Span, generator: object) -> None:
        """Hear of a streamed answer's end where no event tells it."""
        for live in span.lives:
            if isinstance(generator, GeneratorType | AsyncGeneratorType):
                live.follow(generator, functools.partial(self._gone, span, live))

    def end(self, span: Span, outcome: Outcome) -> None:
        """Close what is open in a span."""
        for live in tuple(span.lives):
            self.finish(span, live, outcome)

    def finish(self, span: Span, live: Live, outcome: Outcome) -> None:
        """Close one call of a span, if it is open."""
        try:
            span.lives.remove(live)
        except ValueError:  # it ended in another thread, or in the collector's
            return
        if not span.lives:
            self._busy.pop(span.id, None)
        live.close(outcome)

    def record(self, span: Span, request: Request, outcome: Callable[[Call], Outcome]) -> None:
        """Write the entry of a call that was made and of which no start was heard."""
        ended: list[tuple[Session, Call, Outcome]] = []
        for session, make in self._calls(span, request):
            try:
                call = make(functools.partial(session.went_wrong, "reading a prompt"))
                ended.append((session, call, outcome(call)))
            except Refused as refusal:  # whom it is for is not known, and it is paid for
                session.went_wrong("recording a call", refusal)
        for session, call, _ in ended:
            session.note_call(call)
        for session, call, how in ended:
            session.close_call(call.id, how)

    def start_afresh(self) -> None:
        """Know of nothing: in a forked child, whose parent's calls are the parent's to close."""
        self.spans.clear()
        self._busy.clear()

    def _calls(
        self, span: Span, request: Request
    ) -> Iterator[tuple[Session, Callable[[Callable[[Exception], None]], Call]]]:
        """The sessions that a call belongs to, and what makes it a call of each."""
        claim = claim_here.get()
        top = span.top
        top.owners = whose = owners(request.instance, top.owners)
        if not request.id:
            span.calls_made += 1
            request.id = span.id if span.calls_made == 1 else f"{span.id}/{span.calls_made}"
        for session, customer in whose:
            make = functools.partial(
                request.call,
                request.id,
                span,
                None if claim is None else claim.agent,
                functools.partial(customer_of, customer, span.tags, session),
                claim.rung if claim is not None and claim.handler.session is session else None,
            )
            yield session, make

    def _ends_with_task(self, span: Span, live: Live, made_in: int) -> None:
        """Let a task end the call that is its own: each batch of several that one span has."""
        task = asyncio.current_task()
        if task is None or id(task) == made_in:
            return
        live.ends_apart = live.has_task = True
        task.add_done_callback(functools.partial(self._task_ended, span, live))

    def _task_ended(self, span: Span, live: Live, task: asyncio.Task[Any]) -> None:
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled
            is_taken = error.__traceback__ is None or error.__traceback__.tb_next is None
            if is_taken and span.instance is not None:
                live.ends_apart = False  # whoever awaits the task took its error, and ends the span with it
                return
        if error is None:
            self.finish(span, live, Outcome(ending="answered"))
        else:
            self.finish(span, live, self._read(live, functools.partial(cut_outcome, error=error)))

    def _read(self, live: Live, read: Callable[[Live], Outcome]) -> Outcome:
        try:
            return read(live)
        except Exception as bug:  # noqa: BLE001 - an answer of a shape that we cannot read
            for session, _ in live.opened:
                session.went_wrong("reading an answer", bug)
            return Outcome(ending="cut", error=type(bug).__name__)

    def _gone(self, span: Span, live: Live) -> None:
        ending = live.ending_of_gone()
        if ending is not None and live in span.lives:
            self.finish(span, live, Outcome(ending=ending, error="abandoned"))


def _asks_nobody(span: Span, request: Request) -> bool:
    """Whether it is sent without asking the guard: a reranker's, an async batch with a cache (core 0.14)."""
    if request.kind == "embedding":
        return span.method == ASYNC_BATCH and field(span.instance, "embeddings_cache") is not None
    return request.kind == "rerank"


def _as_it_ended(outcome: Outcome, call: Call) -> Outcome:
    return outcome


def cut_outcome(live: Live, error: BaseException, *, several: bool = False) -> Outcome:
    """How a call ended that raised.

    Args:
        live: the call.
        error: what it raised.
        several: other requests of the same call were made, and one of those may have raised it.
    """
    kind = live.request.kind
    if kind == "tool":
        # Arguments that do not fit its schema: the tool did not run, and what it costs is not due.
        is_misfit = type(error).__name__ == "ValidationError"
        return Outcome(ending="failed" if is_misfit else "answered", error=name_of_error(error))
    ending = ending_of_error(error, streaming=live.chunks > 0, around=live.around)
    if kind == "embedding" and several and ending in {"failed", "unsent"}:
        ending = "cut"  # another batch failed or was refused; this one may have been answered
    return read_cut(ending, name_of_error(error), live.call, live.seen, cached=live.request.cached)


calls = Calls()
in_forked_child(calls)

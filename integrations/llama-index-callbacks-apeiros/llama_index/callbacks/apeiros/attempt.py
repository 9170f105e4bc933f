"""One try of a wrapper to make a call, on one rung of its ladder."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Generator
from contextvars import Token
from types import TracebackType
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.llms import LLM

from apeiros_callbacks.call import Call, Outcome
from apeiros_callbacks.errors import ModelDowngrade
from apeiros_callbacks.reserving import Reservation
from apeiros_callbacks.settings import customer_of
from llama_index.callbacks.apeiros.calls import calls
from llama_index.callbacks.apeiros.delegates import asked_for_usage, clamped, request_of
from llama_index.callbacks.apeiros.placing import claim_here
from llama_index.callbacks.apeiros.requests import Request
from llama_index.callbacks.apeiros.routing import Claim, Step
from llama_index.callbacks.apeiros.silent import silent_outcome
from llama_index.callbacks.apeiros.spans import Span
from llama_index.callbacks.apeiros.streams import aclose_sources, close_sources, sources
from llama_index.callbacks.apeiros.waiting import may_wait, waited

__all__ = ["PLACE", "Attempt"]

PLACE = "apeiros_model"
"""On an answer: which of the models gave it, and reads its tool calls."""


_ANSWERS = (ChatResponse, CompletionResponse)


_NOTHING_KEPT = Reservation(lambda: (None, None), lambda _: None, 0.0)


class Attempt:
    """A context in which a model is called; it swallows that a cheaper model should be.

    Args:
        step: the model on its rung.
        claim: goes with the call.
        span: the wrapper's own span.
        args: of the method that is called.
        clamp: ask for no more than the budget can pay.
        wait: seconds to wait for money that other calls hold.
    """

    def __init__(
        self, step: Step, claim: Claim, span: Span, args: dict[str, Any], *, clamp: bool, wait: float
    ) -> None:
        self._step = step
        self._claim = claim
        self._span = span
        self._args = args
        self._clamp = clamp
        self._wait = wait
        self._is_gated = "output_cls" in args
        self._token: Token[Claim | None] | None = None
        self._reservation: Reservation | None = None

    def __enter__(self) -> None:
        self._token = claim_here.set(self._claim)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._token is not None:
            claim_here.reset(self._token)
        if self._reservation is not None:
            self._reservation.__exit__()
        if error is not None and self._is_gated:
            calls.failed(self._span, error)
        return isinstance(error, ModelDowngrade)

    def prepared(self, *, streams: bool = False) -> tuple[LLM, dict[str, Any]]:
        """The model to call and its arguments.

        What LlamaIndex may not report is held here, and given back as soon as it is reported.

        Raises:
            Refused: it is not to be sent.
        """
        for pause in self._kept().pauses():
            time.sleep(pause)
        return self._prepared(streams=streams)

    async def aprepared(self, *, streams: bool = False) -> tuple[LLM, dict[str, Any]]:
        """The same, on an event loop."""
        for pause in self._kept().pauses():
            await asyncio.sleep(pause)
        if streams and may_wait():
            self._claim.later = []
        return await waited(functools.partial(self._prepared, streams=streams))

    def _prepared(self, *, streams: bool) -> tuple[LLM, dict[str, Any]]:
        model, args = self._step.model, self._args
        if self._clamp:
            model, args = self._clamped(model, args)
        if streams:
            args = asked_for_usage(model, args)
        if self._is_gated:
            calls.open(self._span, request_of(model, args))
            if streams:
                self._claim.stays()
            args = {**args, **args["prompt_args"]}
            del args["prompt_args"]
        elif args.get("chat_history") is not None:
            args = {**args, "chat_history": list(args["chat_history"])}  # some integrations add to it
        return model, args

    def answered(self, answer: Any) -> Any:
        """Close what was held here, and note which model answered."""
        if self._is_gated:
            for live in tuple(self._span.lives):
                calls.finish(self._span, live, silent_outcome(live.call, answer))
        return self._stamped(answer)

    def read(self, stream: Any) -> Generator[Any, None, None]:
        """The pieces of a stream, until the budget is reached."""
        is_over = False
        claim = self._claim
        try:
            while True:
                token = claim_here.set(claim)
                try:
                    piece = next(stream)
                except StopIteration:
                    is_over = True
                    return
                finally:
                    claim_here.reset(token)
                if (stop := claim.stop) is not None:
                    claim.stop = None
                    held = sources(stream)
                    try:
                        stream.throw(stop)
                        raise stop  # it took no notice
                    finally:
                        is_over = True
                        close_sources(held)
                yield self._piece(piece)
        finally:
            if not is_over:
                held = sources(stream)
                stream.close()
                close_sources(held)
            self._left()

    async def aread(self, stream: Any) -> AsyncGenerator[Any, None]:
        """The same, on an event loop."""
        is_over = False
        claim = self._claim
        try:
            while True:
                token = claim_here.set(claim)
                try:
                    piece = await anext(stream)
                except StopAsyncIteration:
                    is_over = True
                    return
                finally:
                    claim_here.reset(token)
                if claim.later:
                    await self._count()
                if (stop := claim.stop) is not None:
                    claim.stop = None
                    held = sources(stream)
                    try:
                        await stream.athrow(stop)
                        raise stop  # it took no notice
                    finally:
                        is_over = True
                        await aclose_sources(held)
                yield self._piece(piece)
        finally:
            if not is_over:
                held = sources(stream)
                await stream.aclose()
                await aclose_sources(held)
            self._left()

    async def _count(self) -> None:
        """Count the pieces that came, and let other tasks run while money is waited for."""
        pieces, self._claim.later = self._claim.later, []
        for live, text in pieces or ():
            await waited(functools.partial(live.count, text), functools.partial(live.count, ""))

    def _piece(self, piece: Any) -> Any:
        if self._is_gated:
            for live in self._span.lives:
                live.chunks += 1  # from here on the stream's own end closes it
        return self._stamped(piece)

    def _left(self) -> None:
        if self._is_gated:
            calls.end(self._span, Outcome(ending="cut"))

    def _stamped(self, answer: Any) -> Any:
        if isinstance(answer, _ANSWERS):
            answer.additional_kwargs.setdefault(PLACE, self._step.place)
        return answer

    def _clamped(self, model: LLM, args: dict[str, Any]) -> tuple[LLM, dict[str, Any]]:
        session = self._claim.handler.session
        if not session.is_limited:
            return model, args
        request = request_of(model, args)
        self._claim.request = request
        call = self._call_of(request)
        return clamped(model, args, call.max_output_tokens, lambda: session.affordable_output(call))

    def _kept(self) -> Reservation:
        """What is kept for the call, until this context ends."""
        session = self._claim.handler.session
        wait = self._wait if session.is_limited else 0.0
        call = self._call_of(request_of(self._step.model, self._args)) if wait else None
        self._reservation = kept = _NOTHING_KEPT if call is None else session.reservation(call, wait)
        return kept

    def _call_of(self, request: Request) -> Call:
        session = self._claim.handler.session
        whom = functools.partial(customer_of, self._claim.handler.customer, self._span.tags, session)
        return request.call("", self._span, self._claim.agent, whom, self._claim.rung, session.gate_failed)

"""What LlamaIndex's dispatcher says, handed on: spans as a tree, and the start and end of every call.

The dispatcher swallows what a handler raises (instrumentation 0.1 to 0.6), so nothing is refused here; a
failure of ours is counted instead.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.tools import BaseTool
from llama_index_instrumentation import get_dispatcher

from apeiros_callbacks.call import Outcome
from llama_index.callbacks.apeiros.calls import calls
from llama_index.callbacks.apeiros.chunks import chunk_text
from llama_index.callbacks.apeiros.fields import field
from llama_index.callbacks.apeiros.placing import claim_here, is_watched
from llama_index.callbacks.apeiros.prompts import chat_prompt, text_prompt
from llama_index.callbacks.apeiros.requests import Request
from llama_index.callbacks.apeiros.silent import record_silent_call
from llama_index.callbacks.apeiros.spans import Span
from llama_index.callbacks.apeiros.work import batch_of, rerank_request, tool_opens

__all__ = ["listen"]

logger = logging.getLogger("apeiros_callbacks")


def listen() -> None:
    """Hear of every span and event of this process, from now on. Twice is once."""
    root = get_dispatcher()
    if not any(isinstance(handler, _Events) for handler in root.event_handlers):
        root.add_event_handler(_Events())
    if not any(isinstance(handler, _Spans) for handler in root.span_handlers):
        root.add_span_handler(_Spans())


class _Events(BaseEventHandler):
    @classmethod
    def class_name(cls) -> str:
        return "ApeirosEvents"

    def handle(self, event: BaseEvent, **kwargs: Any) -> Any:
        heard = _HEARD.get(event.__class__)
        if heard is None:
            return
        try:
            heard(event)
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            _count_failure(event.span_id, bug)


class _Spans(BaseSpanHandler[BaseSpan]):
    @classmethod
    def class_name(cls) -> str:
        return "ApeirosSpans"

    def span_enter(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        parent_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not is_watched():
            return
        try:
            span = calls.spans.enter(id_, parent_id, instance, bound_args, tags)
            if isinstance(instance, BaseLLM | BaseEmbedding):
                if not field(instance, "is_apeiros"):
                    calls.guard(instance)
            elif isinstance(instance, BaseTool):
                tool_opens(span, instance)
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            _count_failure(id_, bug)

    def span_exit(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        span = calls.span(id_)
        if span is None:
            return
        try:
            self._exit(span, instance, result)
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            _count_failure(id_, bug)
        span.leave()

    def _exit(self, span: Span, instance: Any, result: Any) -> None:
        if isinstance(instance, BaseLLM):
            calls.follow(span, result)
            calls.spans.makes(span, result)
            if not span.has_call:
                record_silent_call(span, instance, result)
        elif isinstance(instance, BaseTool):
            calls.end(span, Outcome(ending="answered", error=_tool_error(result)))

    def span_drop(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        err: BaseException | None = None,
        **kwargs: Any,
    ) -> None:
        span = calls.span(id_)
        if span is None or err is None:
            return
        try:
            calls.failed(span, err)
            if isinstance(instance, BaseLLM) and not span.has_call:
                record_silent_call(span, instance, None, err)
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            _count_failure(id_, bug)
        span.leave()

    def new_span(self, *args: Any, **kwargs: Any) -> None:
        return None

    def prepare_to_exit_span(self, *args: Any, **kwargs: Any) -> None:
        return None

    def prepare_to_drop_span(self, *args: Any, **kwargs: Any) -> None:
        return None


def _tool_error(result: Any) -> str | None:
    return "ToolError" if getattr(result, "is_error", False) else None


def _count_failure(span_id: str | None, bug: Exception) -> None:
    """Count a failure of ours in the sessions that it concerns; log it where there is none."""
    span = calls.span(span_id)
    sessions = [] if span is None else [owner.session for owner in span.top.owners]
    for session in sessions:
        session.went_wrong("hearing an event", bug)
    if not sessions:
        logger.error("hearing an event of LlamaIndex went wrong", exc_info=bug)


# Events


def _span_of(event: BaseEvent) -> Span | None:
    return calls.span(event.span_id) if is_watched() else None


def _chat_starts(event: LLMChatStartEvent) -> None:
    span = _span_of(event)
    if span is None:
        return
    messages, options = event.messages, event.additional_kwargs
    claim = claim_here.get()
    request = None if claim is None else claim.taken(span.instance, messages, options)
    if request is None:
        prompt = partial(chat_prompt, span.instance, messages, options)
        request = Request(span.instance, prompt, options, event.model_dict, messages=messages)
    calls.starts(span, request)


def _completion_starts(event: LLMCompletionStartEvent) -> None:
    span = _span_of(event)
    if span is not None:
        prompt = event.prompt
        request = Request(
            span.instance, lambda *_: text_prompt(prompt), event.additional_kwargs, event.model_dict
        )
        calls.starts(span, request)


def _grows(event: LLMChatInProgressEvent | LLMCompletionInProgressEvent) -> None:
    calls.grows(event.span_id, event.response, chunk_text)


def _ends(event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
    calls.answered(event.span_id, event.response)


def _fails(event: ExceptionEvent) -> None:
    span = calls.span(event.span_id)
    if span is not None:
        calls.failed(span, event.exception)


def _embedding_starts(event: EmbeddingStartEvent) -> None:
    span = _span_of(event)
    if span is not None and not field(span.instance, "is_apeiros"):
        batch = batch_of(span, event.model_dict)
        if batch is not None:
            calls.starts(span, batch)


def _embedding_ends(event: EmbeddingEndEvent) -> None:
    calls.embedded(event.span_id, event.chunks)


def _rerank_starts(event: ReRankStartEvent) -> None:
    span = _span_of(event)
    if span is not None:
        calls.starts(span, rerank_request(span, event))


def _rerank_ends(event: ReRankEndEvent) -> None:
    calls.answered(event.span_id, None)


_HEARD: Mapping[type[BaseEvent], Callable[[Any], None]] = {
    LLMChatStartEvent: _chat_starts,
    LLMCompletionStartEvent: _completion_starts,
    LLMChatInProgressEvent: _grows,
    LLMCompletionInProgressEvent: _grows,
    LLMChatEndEvent: _ends,
    LLMCompletionEndEvent: _ends,
    ExceptionEvent: _fails,
    EmbeddingStartEvent: _embedding_starts,
    EmbeddingEndEvent: _embedding_ends,
    ReRankStartEvent: _rerank_starts,
    ReRankEndEvent: _rerank_ends,
}

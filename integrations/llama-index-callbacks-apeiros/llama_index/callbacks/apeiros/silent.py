"""Calls that no event reports: a method of a model ends, and no call was heard inside of it.

Structured output of Anthropic, OpenAI's responses and Google's genai, and the Hugging Face API, reach the
provider without an event (integrations read 2026-11). Their spans still open and close: each is one entry,
whose tokens are estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.prompts import BasePromptTemplate
from pydantic import BaseModel

from apeiros_callbacks.call import Call, Outcome, Prompt
from apeiros_callbacks.reported.plain import count, items, mapping
from llama_index.callbacks.apeiros.calls import calls
from llama_index.callbacks.apeiros.ended import ending_of_error, name_of_error
from llama_index.callbacks.apeiros.fields import field
from llama_index.callbacks.apeiros.prompts import chat_prompt, text_prompt
from llama_index.callbacks.apeiros.requests import Request
from llama_index.callbacks.apeiros.spans import Span
from llama_index.callbacks.apeiros.usage import read_outcome

__all__ = ["record_silent_call", "silent_outcome", "silent_request"]

_ASKS = frozenset({
    "chat", "achat", "stream_chat", "astream_chat",
    "complete", "acomplete", "stream_complete", "astream_complete",
    "predict", "apredict", "stream", "astream",
    "structured_predict", "astructured_predict", "stream_structured_predict", "astream_structured_predict",
})  # fmt: skip


_ANTHROPIC_WRITES = 8192


def record_silent_call(
    span: Span, instance: BaseLLM, result: object, error: BaseException | None = None
) -> None:
    """Write the entry of a call of a model that sent something and said nothing."""
    if span.method not in _ASKS or field(instance, "is_apeiros") or _is_lazy(result):
        return
    if error is not None and ending_of_error(error, streaming=False, around=span.around) == "unsent":
        return
    span.has_call = True
    for around in span.ancestors():
        around.has_call = True
    if any(live.request.kind == "llm" for around in span.ancestors() for live in around.lives):
        return  # a wrapper has opened it, and closes it
    request = silent_request(instance, span.args)
    calls.record(span, request, lambda call: silent_outcome(call, result, error, span.around))


def silent_request(instance: BaseLLM, args: Mapping[str, Any]) -> Request:
    """What a method of a model sends, by its arguments."""
    options = dict(mapping(args.get("llm_kwargs")) or mapping(args.get("kwargs")))
    if (output := args.get("output_cls")) is not None:
        options["output_format"] = output.model_json_schema() if _is_model(output) else output
        if any(made.__module__.startswith("llama_index.llms.anthropic") for made in type(instance).__mro__):
            # Whatever the model's own maximum is (llms-anthropic 0.12).
            options["max_tokens"] = max(_ANTHROPIC_WRITES, count(options.get("max_tokens")) or 0)

    def prompt(provider: str, model: str) -> Prompt:
        asked = args.get("prompt")
        if isinstance(asked, str):
            return text_prompt(asked)
        if isinstance(asked, BasePromptTemplate):
            messages = asked.format_messages(**mapping(args.get("prompt_args")))
        else:
            messages = list(items(args.get("messages")))
        return chat_prompt(instance, messages, options, provider, model)

    return Request(instance, prompt, options)


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _is_lazy(result: object) -> bool:
    """A generator of LlamaIndex's own calls the model when it is read, and events tell of that."""
    if not isinstance(result, GeneratorType | AsyncGeneratorType):
        return False
    frame = getattr(result, "gi_frame", None) or getattr(result, "ag_frame", None)
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("llama_index.core.")


def silent_outcome(
    call: Call, result: object, error: BaseException | None = None, around: int = 0
) -> Outcome:
    """What is known of a call by what its method gave, or raised.

    Args:
        call: the call.
        result: what its method gave.
        error: what it raised.
        around: what was being handled when it started, by `handled_here`.
    """
    if error is not None:
        ending = ending_of_error(error, streaming=False, around=around)
        return Outcome(ending=ending, error=name_of_error(error))
    if isinstance(result, ChatResponse | CompletionResponse):
        return read_outcome(result, call)
    if isinstance(result, BaseModel):
        return Outcome(ending="answered", text=result.model_dump_json())
    if isinstance(result, str):
        return Outcome(ending="answered", text=result)
    return Outcome(ending="cut")  # what a stream will say is not known yet: as much as is expected

"""From LlamaIndex's end of a call to the core's `Outcome`.

Where the integrations leave what a provider reported (read 2026-11):

    OpenAI, Azure, -like       raw.usage; in streams only where it was asked for
    OpenAI responses           raw.usage; in streams raw.response.usage
    Anthropic                  raw["usage"]; in streams the last chunk's, and the message's own "usage"
    Google genai               raw["usage_metadata"], whose thoughts the token counts beside it leave out
    Bedrock Converse           raw["usage"]; in streams raw["metadata"]["usage"]
    Mistral                    raw["usage"]; in streams raw.data.usage
    Ollama                     raw["usage"]
    Groq                       raw.usage; in streams x_groq.usage
    LiteLLM and others         additional_kwargs, 0 for what is missing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse

from apeiros_callbacks.call import Call, Ending, Outcome
from apeiros_callbacks.prices.names import canonical_provider
from apeiros_callbacks.reported.cost import reported_cost
from apeiros_callbacks.reported.plain import mapping, text
from apeiros_callbacks.reported.reading import Reading
from apeiros_callbacks.reported.responses import read_usage, searches
from llama_index.callbacks.apeiros.fields import field
from llama_index.callbacks.apeiros.prompts import answer_text

__all__ = ["Answer", "has_report", "read_cut", "read_outcome"]

Answer = ChatResponse | CompletionResponse

_PLACES = (
    ("usage",),
    ("response", "usage"),
    ("data", "usage"),
    ("metadata", "usage"),
    ("usage_metadata",),
    ("_raw_response", "usage_metadata"),
    ("x_groq", "usage"),
)  # fmt: skip
"""Where in ``raw`` a report may be, in the order in which they are believed."""

_WHERE = tuple(place[0] for place in _PLACES)
_NO_READING = Reading()


def has_report(response: Answer) -> bool:
    """Whether a chunk of a stream may carry a report of usage. Asked for each chunk."""
    raw: Any = response.raw
    if raw is None:
        return False
    parts: Any = raw
    if raw.__class__ is not dict:
        parts = getattr(raw, "__dict__", None)
        if parts is None:
            return any(getattr(raw, name, None) is not None for name in _WHERE)
        if parts.get("usage") is not None or getattr(raw, "model_extra", None):
            return True
    for name in _WHERE:
        if name in parts and parts[name] is not None:
            return True
    return parts is raw and _of_message(response) is not None


def read_outcome(response: Answer | None, call: Call, seen: Answer | None = None) -> Outcome:
    """Read an answer. Usage that is missing or cannot be is left out, never read as 0.

    Args:
        response: what LlamaIndex gives at the end of the call; of a stream, its last chunk.
        call: the call that it answers.
        seen: the last chunk of the stream that carried a report.
    """
    model = _model(response) or _model(seen)
    body: Mapping[str, Any] = {}
    read = _NO_READING
    for report in (*_reports(response), *_reports(seen)):
        found, reading = read_usage(report, model=model or call.model)
        if reading.usage is not None:
            body, read = found, reading
            break
        if read.input_tokens is None and read.output_tokens is None:
            body, read = found, reading
    if read.output_tokens == 0 and read.usage is None:
        read = Reading(None, read.input_tokens, None)  # integrations write 0 for what is missing
    usage = read.usage
    if usage is not None:
        web, files = searches(_billed_apart(response), body, model or call.model)
        if web or files:
            usage = replace(usage, web_searches=web, file_searches=files)
    raw = None if response is None else response.raw
    tier = text(_part(raw, "service_tier")) or text(_part(_part(raw, "response"), "service_tier"))
    return Outcome(
        ending="answered",
        usage=usage,
        input_tokens=read.input_tokens,
        output_tokens=read.output_tokens,
        cost=reported_cost(canonical_provider(call.provider), {}, body),
        model=model,
        service_tier=tier or text(body.get("service_tier")),
        speed=text(body.get("speed")),
        text=None if usage is not None or response is None else _all_text(response),
    )


def read_cut(ending: Ending, error: str, call: Call, seen: Answer | None, *, cached: bool) -> Outcome:
    """Read what came before a call ended without an answer.

    Args:
        ending: how it ended.
        error: what ended it.
        call: the call.
        seen: the last chunk of the stream that carried a report.
        cached: the request marks what is to be cached: of the input, a chunk says only what was not.
    """
    if ending != "cut" or seen is None or cached:
        return Outcome(ending=ending, error=error)
    partial = read_outcome(seen, call)
    # The answer's part of a report that came early is of the beginning only.
    return Outcome(ending=ending, error=error, input_tokens=partial.input_tokens, model=partial.model)


def _reports(response: Answer | None) -> Iterator[object]:
    if response is None:
        return
    for place in _PLACES:
        found: object = response.raw
        for name in place:
            found = _part(found, name)
        if found is not None:
            yield found
    more = mapping(response.additional_kwargs)
    yield from (found for found in (more.get("usage"), _of_message(response)) if found is not None)
    if "prompt_tokens" in more or "completion_tokens" in more:
        yield more


def _of_message(response: Answer) -> object:
    message: object = getattr(response, "message", None)
    return mapping(getattr(message, "additional_kwargs", None)).get("usage")


def _part(value: object, name: str) -> object:
    """A part of an SDK's object or of plain data."""
    if value is None:
        return None
    kind: Any = value.__class__
    if kind is dict or issubclass(kind, Mapping):
        return mapping(value).get(name)
    return field(value, name)


def _model(response: Answer | None) -> str | None:
    if response is None:
        return None
    raw = response.raw
    places = (_part(raw, "model"), _part(_part(raw, "response"), "model"), _part(_part(raw, "data"), "model"))
    more = (_part(raw, "model_version"), _part(raw, "modelVersion"), response.additional_kwargs.get("model"))
    return next((name for name in map(text, (*places, *more)) if name), None)


def _billed_apart(response: Answer | None) -> Mapping[str, Any]:
    """Where an answer says which searches the provider ran for it, as plain data."""
    raw = None if response is None else response.raw
    whole: dict[str, Any] = {}
    for name in ("output", "candidates"):
        parts = _part(raw, name) or _part(_part(raw, "response"), name)
        if isinstance(parts, list | tuple):
            whole[name] = [_dumped(part) for part in parts]
    return whole


def _dumped(part: object) -> object:
    dump = getattr(part, "model_dump", None)
    return dump(warnings=False) if callable(dump) else part


def _all_text(response: Answer) -> str:
    message: Any = getattr(response, "message", None)
    return answer_text(message, "") if isinstance(message, ChatMessage) else answer_text(None, response.text)  # type: ignore[union-attr]

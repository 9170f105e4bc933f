"""What a LangChain answer says about its usage: tokens, model, tier, and whether it came from a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.call import Outcome
from apeiros_callbacks.errors import InvalidUsage
from apeiros_callbacks.usage import Usage
from langchain_core.outputs import LLMResult

from langchain_apeiros.prompts import answer_text

__all__ = ["read_outcome"]


def read_outcome(response: LLMResult) -> Outcome:
    """Read an answer. Usage that is missing or cannot be is left out, never read as 0."""
    first = response.generations[0][0] if response.generations and response.generations[0] else None
    message = getattr(first, "message", None)
    metadata: Mapping[str, Any] = getattr(message, "response_metadata", None) or {}
    reported = getattr(message, "usage_metadata", None)
    llm_output: Mapping[str, Any] = response.llm_output or {}
    cached = isinstance(reported, Mapping) and reported.get("total_cost") == 0
    # With n=2 both generations carry the usage of the whole call: it is read once, from the first.
    usage = from_usage_metadata(reported) or from_token_usage(llm_output.get("token_usage"))
    return Outcome(
        ending="answered",
        usage=usage,
        model=_text(metadata.get("model_name")) or _text(llm_output.get("model_name")),
        service_tier=_text(metadata.get("service_tier")),
        text=None if usage or cached else _all_text(response),
        cached=cached,
    )


def from_usage_metadata(reported: object) -> Usage | None:
    """LangChain's ``usage_metadata``: input and output include their details."""
    if not isinstance(reported, Mapping):
        return None
    inputs = _mapping(reported.get("input_token_details"))
    outputs = _mapping(reported.get("output_token_details"))
    # Anthropic reports writes by time to live, and then leaves ``cache_creation`` at 0.
    write_1h = _count(inputs.get("ephemeral_1h_input_tokens"))
    write = _count(inputs.get("cache_creation")) or _count(inputs.get("ephemeral_5m_input_tokens")) + write_1h
    return _usage(
        input_tokens=reported.get("input_tokens"),
        output_tokens=reported.get("output_tokens"),
        cache_read_tokens=_count(inputs.get("cache_read")),
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=_count(outputs.get("reasoning")),
        input_audio_tokens=_count(inputs.get("audio")),
        output_audio_tokens=_count(outputs.get("audio")),
    )


def from_token_usage(reported: object) -> Usage | None:
    """OpenAI's ``token_usage`` in ``llm_output``, as completion models give it."""
    if not isinstance(reported, Mapping):
        return None
    return _usage(input_tokens=reported.get("prompt_tokens"), output_tokens=reported.get("completion_tokens"))


def _usage(**counts: Any) -> Usage | None:
    # A prompt is never empty: an input of 0 is a body that lost its numbers.
    if not counts["input_tokens"]:
        return None
    try:
        return Usage(**counts)
    except InvalidUsage:
        return None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _all_text(response: LLMResult) -> str:
    return "\n".join(
        answer_text(getattr(choice, "message", None), choice.text)
        for choices in response.generations
        for choice in choices
    )

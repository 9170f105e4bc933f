"""What a LangChain answer says about its usage: tokens, model, tier, and whether it came from a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.outputs import LLMResult

from apeiros_callbacks.call import Outcome
from apeiros_callbacks.errors import InvalidUsage
from apeiros_callbacks.usage import Usage
from langchain_apeiros.plain import count, mapping, text
from langchain_apeiros.prompts import answer_text

__all__ = ["read_outcome"]


def read_outcome(response: LLMResult) -> Outcome:
    """Read an answer. Usage that is missing or cannot be is left out, never read as 0."""
    choices = response.generations[0] if response.generations else []
    message = getattr(choices[0], "message", None) if choices else None
    metadata = mapping(getattr(message, "response_metadata", None))
    reported = mapping(getattr(message, "usage_metadata", None))
    llm_output = mapping(response.llm_output)
    # LangChain zeroes this key on an answer from its cache (langchain-core 0.3.86 to 1.8).
    cached = reported.get("total_cost") == 0
    # With n=2 both generations carry the usage of the whole call: it is read once, from the first.
    usage = from_usage_metadata(reported) or from_token_usage(mapping(llm_output.get("token_usage")))
    return Outcome(
        ending="answered",
        usage=usage,
        model=text(metadata.get("model_name")) or text(llm_output.get("model_name")),
        service_tier=text(metadata.get("service_tier")),
        text=None if usage or cached else _all_text(response),
        cached=cached,
    )


def from_usage_metadata(reported: Mapping[str, Any]) -> Usage | None:
    """LangChain's ``usage_metadata``: input and output include their details."""
    inputs = mapping(reported.get("input_token_details"))
    outputs = mapping(reported.get("output_token_details"))
    # Anthropic reports writes by time to live, and then leaves ``cache_creation`` at 0.
    write_1h = count(inputs.get("ephemeral_1h_input_tokens")) or 0
    write_5m = count(inputs.get("ephemeral_5m_input_tokens")) or 0
    return _usage(
        input_tokens=reported.get("input_tokens"),
        output_tokens=reported.get("output_tokens"),
        cache_read_tokens=count(inputs.get("cache_read")) or 0,
        cache_write_tokens=count(inputs.get("cache_creation")) or write_5m + write_1h,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=count(outputs.get("reasoning")) or 0,
        input_audio_tokens=count(inputs.get("audio")) or 0,
        output_audio_tokens=count(outputs.get("audio")) or 0,
    )


def from_token_usage(reported: Mapping[str, Any]) -> Usage | None:
    """OpenAI's ``token_usage`` in ``llm_output``, as completion models give it."""
    return _usage(input_tokens=reported.get("prompt_tokens"), output_tokens=reported.get("completion_tokens"))


def _usage(**counts: Any) -> Usage | None:
    # A prompt is never empty: an input of 0 is a body that lost its numbers.
    if not counts["input_tokens"]:
        return None
    try:
        return Usage(**counts)
    except InvalidUsage:
        return None


def _all_text(response: LLMResult) -> str:
    return "\n".join(
        answer_text(getattr(choice, "message", None), choice.text)
        for choices in response.generations
        for choice in choices
    )

"""The providers' own reports of usage, as clients hand them on: one function for each shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.reported.plain import items, mapping
from apeiros_callbacks.reported.reading import Reading, reading, tokens

__all__ = ["read_body"]


def read_body(body: Mapping[str, Any], *, model: str = "") -> Reading | None:
    """Read a provider's own report; None when it is of no shape that is known here."""
    if not body:
        return None
    if "prompt_tokens" in body or "completion_tokens" in body:
        return openai_chat(body, model=model)
    names = body.keys()
    if names & {"input_tokens", "output_tokens"}:
        of_anthropic = names & {"cache_creation_input_tokens", "cache_read_input_tokens", "iterations"}
        return anthropic(body) if of_anthropic else openai_responses(body)
    if names & {"inputTokens", "outputTokens"}:
        return bedrock(body)
    if names & {"promptTokenCount", "candidatesTokenCount", "totalTokenCount"}:
        return google(body)
    if names & {"prompt_eval_count", "eval_count"}:
        return ollama(body)
    return None


def openai_chat(body: Mapping[str, Any], *, model: str = "") -> Reading:
    """Chat completions of OpenAI, and of everyone who speaks their API.

    What is cached is in ``prompt_tokens_details``; DeepSeek (``prompt_cache_hit_tokens``), Mistral
    (``num_cached_tokens``) and LiteLLM (``cache_read_input_tokens``) have it at the top. xAI counts
    reasoning beside the completion and Gemini's OpenAI API its thoughts in the total only.
    """
    inputs = mapping(body.get("prompt_tokens_details"))
    outputs = mapping(body.get("completion_tokens_details"))
    read, written = body.get("prompt_tokens"), body.get("completion_tokens")
    reasoning: object = _first(outputs.get("reasoning_tokens"), body.get("reasoning_tokens"))
    if "gemini" in model and not tokens(reasoning):
        reasoning = _rest(body.get("total_tokens"), read, written)
    return reading(
        read,
        written,
        cache_read=_first(
            inputs.get("cached_tokens"),
            body.get("prompt_cache_hit_tokens"),
            body.get("num_cached_tokens"),
            body.get("cache_read_input_tokens"),
        ),
        cache_write=_first(
            inputs.get("cache_write_tokens"),
            inputs.get("cache_creation_tokens"),
            body.get("cache_creation_input_tokens"),
        ),
        input_audio=inputs.get("audio_tokens"),
        output_audio=outputs.get("audio_tokens"),
        reasoning=reasoning,
        total=body.get("total_tokens"),
    )


def openai_responses(body: Mapping[str, Any]) -> Reading:
    """OpenAI's responses, and a decision model's plain input and output."""
    inputs = mapping(body.get("input_tokens_details"))
    outputs = mapping(body.get("output_tokens_details"))
    return reading(
        body.get("input_tokens"),
        body.get("output_tokens"),
        cache_read=inputs.get("cached_tokens"),
        cache_write=inputs.get("cache_write_tokens"),
        reasoning=outputs.get("reasoning_tokens"),
        total=body.get("total_tokens"),
    )


def anthropic(body: Mapping[str, Any]) -> Reading:
    """Anthropic's messages: the input is beside the cache, not around it.

    Where the server compacted the context on the way, the top level has the last iteration only, and
    ``iterations`` has them all; each is billed.
    """
    turns = [mapping(turn) for turn in items(body.get("iterations"))]
    turns = [turn for turn in turns if turn.get("type") in {"message", "compaction"}]
    parts = [_anthropic_turn(turn) for turn in turns]
    whole = _anthropic_turn(body)
    summed = [_sum(column) for column in zip(*parts, strict=True)]
    # Only what is more than the top level has anything to add to it.
    if summed and all((n or 0) >= (top or 0) for n, top in zip(summed, whole, strict=True)):
        whole = tuple(summed)
    fresh, written, read, write, hour, thought = whole
    return reading(
        None if fresh is None else fresh + (read or 0) + (write or 0),
        written,
        cache_read=read,
        cache_write=write,
        cache_write_1h=hour,
        reasoning=thought,
    )


def _anthropic_turn(body: Mapping[str, Any]) -> tuple[int | None, ...]:
    kept = mapping(body.get("cache_creation"))
    hour = tokens(kept.get("ephemeral_1h_input_tokens"))
    written = (tokens(kept.get("ephemeral_5m_input_tokens")) or 0) + (hour or 0)
    return (
        tokens(body.get("input_tokens")),
        tokens(body.get("output_tokens")),
        tokens(body.get("cache_read_input_tokens")),
        written or tokens(body.get("cache_creation_input_tokens")),
        hour,
        tokens(mapping(body.get("output_tokens_details")).get("thinking_tokens")),
    )


def bedrock(body: Mapping[str, Any]) -> Reading:
    """Bedrock's Converse: the input is beside the cache, not around it."""
    fresh = tokens(body.get("inputTokens"))
    read, write = tokens(body.get("cacheReadInputTokens")), tokens(body.get("cacheWriteInputTokens"))
    details = [mapping(detail) for detail in items(body.get("cacheDetails"))]
    return reading(
        None if fresh is None else fresh + (read or 0) + (write or 0),
        body.get("outputTokens"),
        cache_read=read,
        cache_write=write,
        cache_write_1h=_sum(
            tokens(detail.get("inputTokens")) for detail in details if detail.get("ttl") == "1h"
        ),
    )


def google(body: Mapping[str, Any]) -> Reading:
    """Google's generateContent: prompts of its own tools and thoughts stand beside the rest."""
    thoughts = tokens(body.get("thoughtsTokenCount"))
    prompt, answer = tokens(body.get("promptTokenCount")), tokens(body.get("candidatesTokenCount"))
    return reading(
        None if prompt is None else prompt + (tokens(body.get("toolUsePromptTokenCount")) or 0),
        None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0),
        cache_read=body.get("cachedContentTokenCount"),
        reasoning=thoughts,
        input_audio=_modality(body.get("promptTokensDetails"), "AUDIO"),
        output_audio=_modality(body.get("candidatesTokensDetails"), "AUDIO"),
    )


def ollama(body: Mapping[str, Any]) -> Reading:
    """Ollama's counts of evaluated tokens."""
    return reading(body.get("prompt_eval_count"), body.get("eval_count"))


def _modality(details: object, name: str) -> int | None:
    counts = (mapping(detail) for detail in items(details))
    return _sum(tokens(count.get("tokenCount")) for count in counts if count.get("modality") == name)


def _sum(counts: Any) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _first(*values: object) -> object:
    """The first that is a count and not 0: providers fill the places that they do not use with 0."""
    for value in values:
        if value and tokens(value):
            return value
    return None


def _rest(total: object, *parts: object) -> int | None:
    whole, known = tokens(total), [tokens(part) for part in parts]
    return None if whole is None or None in known else max(0, whole - sum(n or 0 for n in known))

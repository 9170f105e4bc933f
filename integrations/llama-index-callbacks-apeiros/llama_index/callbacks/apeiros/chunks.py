"""What a chunk of a streamed answer adds to it."""

from __future__ import annotations

from typing import Any

from apeiros_callbacks.reported.plain import items, mapping
from llama_index.callbacks.apeiros.usage import Answer

__all__ = ["chunk_text"]


def chunk_text(response: Answer) -> str:
    """The text of a chunk, or of its thoughts, or the name and arguments of a tool call."""
    if response.delta:
        return response.delta
    more = response.additional_kwargs
    thought = more.get("thinking_delta") if more else None
    if thought is None:
        message = getattr(response, "message", None)
        thought = None if message is None else message.additional_kwargs.get("thinking_delta")
    return str(thought) if thought else _tool_call(response.raw)


def _tool_call(raw: Any) -> str:
    """Of the provider's own chunk: LlamaIndex gives the calls so far, not what was added to them."""
    if raw.__class__ is dict:  # Anthropic
        return getattr(raw.get("delta"), "partial_json", None) or ""
    choices = getattr(raw, "choices", None)
    if choices:  # OpenAI and all who speak its API
        added = items(getattr(getattr(choices[0], "delta", None), "tool_calls", None))
        return "".join(_function(call) for call in added)
    delta = getattr(raw, "delta", None)  # OpenAI's responses
    return delta if isinstance(delta, str) else str(mapping(delta).get("partial_json") or "")


def _function(call: Any) -> str:
    function = getattr(call, "function", None)
    return f"{getattr(function, 'name', None) or ''}{getattr(function, 'arguments', None) or ''}"

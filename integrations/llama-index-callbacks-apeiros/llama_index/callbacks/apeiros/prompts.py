"""LlamaIndex messages and tool schemas as a core `Prompt`: marks to recognise them, text to count."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage

from apeiros_callbacks.call import Piece, Prompt
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.tokens import image_size, media_tokens

__all__ = ["answer_text", "chat_prompt", "has_cache_marks", "text_prompt", "texts_prompt"]

_SCHEMAS = (
    "tools", "functions", "response_format", "output_config", "output_format", "response_schema",
    "instructions", "prediction", "system", "extra_body",
)  # fmt: skip
"""Options of a call that the provider reads as part of the input."""

_BEYOND = ("previous_response_id", "conversation", "prompt", "container", "cached_content")
"""Options by which the provider reads what it has stored."""

# Tools that the caller runs: what they give comes with the next request.
_OWN_TOOLS = ("function", "custom", "bash_", "text_editor_", "computer_", "memory_")


def chat_prompt(
    messages: Sequence[ChatMessage], options: Mapping[str, Any], provider: str, model: str
) -> Prompt:
    """The prompt of a chat model: its tool schemas first, then its messages."""
    marks = [_mark(message) for message in messages]
    media = partial(_media_tokens, provider=provider, model=model)
    schemas = [options[name] for name in _SCHEMAS if options.get(name)]
    beyond = partial(_beyond, messages, options)
    if not schemas:
        return Prompt(tuple(marks), lambda i: _piece(messages[i], media), find_beyond=beyond)
    # One repr serves as mark and as text: schemas are the same objects, or equal, from call to call.
    described = repr(schemas)

    def piece(i: int) -> Piece:
        return Piece(described) if i == 0 else _piece(messages[i - 1], media)

    return Prompt((hash(described), *marks), piece, has_tools=True, find_beyond=beyond)


def text_prompt(prompt: str) -> Prompt:
    """The prompt of a completion model."""
    return Prompt((hash(prompt),), lambda _: Piece(prompt))


def texts_prompt(texts: Sequence[str]) -> Prompt:
    """What an embedding model is sent."""
    return Prompt(tuple([hash(one) for one in texts]), lambda i: Piece(texts[i]))


def has_cache_marks(messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> bool:
    """Whether a request says what its provider is to cache."""
    if any(block.block_type == "cache" for message in messages for block in message.blocks):
        return True
    return "cache_control" in str(options.get("tools") or options.get("system") or "")


def answer_text(message: ChatMessage | None, answer: str) -> str:
    """All that an answer says, to be counted where the provider reported no usage."""
    return answer if message is None else _piece(message, _no_media).text


def _beyond(messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes the provider read more than is sent: what it has stored, finds, or is pointed to."""
    found = [name for name in _BEYOND if options.get(name)]
    found.extend(
        f"the tool {kind}"
        for tool in items(options.get("tools"))
        if (kind := text(mapping(tool).get("type"))) and not kind.startswith(_OWN_TOOLS)
    )
    for message in messages:
        found.extend(f"a part of the type {b.block_type}" for b in message.blocks if b.block_type in _LONG)
    return tuple(dict.fromkeys(found))


_LONG = frozenset({"audio", "video", "document"})
"""Parts whose tokens are estimated, not bounded."""


def _mark(message: ChatMessage) -> int:
    blocks = message.blocks
    parts = [_block_mark(block) for block in blocks]
    aside = message.additional_kwargs
    return hash((message.role, *parts, repr(aside) if aside else ""))


def _block_mark(block: Any) -> int:
    return hash(block.text) if block.block_type == "text" else hash(repr(block))


Media: TypeAlias = Callable[[str, Any], int]
"""The tokens of a block of some kind of media."""


def _piece(message: ChatMessage, media: Media) -> Piece:
    parts: list[str] = []
    tokens = sum(_read_block(block, parts, media) for block in message.blocks)
    more = message.additional_kwargs
    has_calls = any(block.block_type == "tool_call" for block in message.blocks)
    if calls := ([] if has_calls else items(more.get("tool_calls"))):
        parts.extend(_described(call) for call in calls)
    parts.extend(str(more[name]) for name in _ASIDE if more.get(name))
    return Piece("\n".join(parts), tokens)


_ASIDE = ("name", "tool_call_id", "function_call", "refusal", "reasoning_content")


def _described(call: object) -> str:
    function: Any = getattr(call, "function", None) or mapping(call).get("function") or call
    name = getattr(function, "name", None) or mapping(function).get("name") or ""
    arguments = getattr(function, "arguments", None) or mapping(function).get("arguments") or ""
    return f"{name}{arguments}" or str(call)


def _read_block(block: Any, parts: list[str], media: Media) -> int:
    """Add the text of a block to `parts`; give the tokens of its media."""
    kind = block.block_type
    if kind == "text":
        parts.append(block.text)
    elif kind == "thinking":
        parts.append(block.content or "")
    elif kind == "tool_call":
        given = block.tool_kwargs
        arguments = given if isinstance(given, str) else json.dumps(given, default=str, ensure_ascii=False)
        parts.append(f"{block.tool_name}{arguments}")
    elif kind in {"image", "audio", "video", "document"}:
        return media(kind, block)
    elif kind == "citable":
        parts.append(f"{block.title}{block.source}")
        return sum(_read_block(inner, parts, media) for inner in block.content)
    elif kind == "citation":
        parts.append(f"{block.title}{block.source}")
        return _read_block(block.cited_content, parts, media)
    elif kind != "cache":
        parts.append(str(block))  # of a kind that is not known here
    return 0


def _media_tokens(kind: str, block: Any, *, provider: str, model: str) -> int:
    """The documented estimate for an image, a sound, a film or a file; never its base64 length."""
    held: object = getattr(block, "data" if kind == "document" else kind, None)
    # LlamaIndex keeps media as base64, in bytes.
    encoded = held.decode("ascii", "ignore") if isinstance(held, bytes) else ""
    size = image_size(encoded) if kind == "image" and encoded else None
    width, height = size or (None, None)
    return media_tokens(
        "file" if kind == "document" else kind,
        provider=provider,
        model=model,
        detail=text(getattr(block, "detail", None)),
        width=width,
        height=height,
        size_bytes=len(encoded) * 3 // 4 if encoded else None,
    )


def _no_media(kind: str, block: object) -> int:
    return 0

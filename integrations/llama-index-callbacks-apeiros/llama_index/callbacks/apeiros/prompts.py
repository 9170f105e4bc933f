"""LlamaIndex messages and tool schemas as a core `Prompt`: marks to recognise them, text to count."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage

from apeiros_callbacks.call import Piece, Prompt
from apeiros_callbacks.parameters import after_parameters, beyond_the_request
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.tokens import Template, image_size, inline_text, media_tokens, pdf_pages, template_of
from llama_index.callbacks.apeiros.fields import field

__all__ = ["answer_text", "chat_prompt", "has_cache_marks", "text_prompt", "texts_prompt"]


def chat_prompt(
    instance: object,
    messages: Sequence[ChatMessage],
    options: Mapping[str, Any],
    provider: str,
    model: str,
) -> Prompt:
    """The prompt of a chat model: what its parameters add first, then its messages.

    Args:
        instance: the LlamaIndex model, which has parameters of its own.
        messages: what it is sent.
        options: the parameters of the call.
        provider: whom it goes to.
        model: the model's name.
    """
    marks = [_mark(message) for message in messages]
    params = _parameters(instance, options)

    def message_piece(i: int) -> Piece:
        media = partial(_media_tokens, provider=provider, model=model)
        template = template_of(provider, model)
        past = template.forgets and any(later.role == "user" for later in messages[i + 1 :])
        return _piece(messages[i], media, template, past=past)

    beyond = partial(_beyond, messages, params)
    return after_parameters(params, marks, message_piece, beyond, provider, model)


# Fields of models by the parameters that they are sent as: of OpenAI's responses (llms-openai 0.8) and of
# Anthropic (llms-anthropic 0.12). What a call says goes before, but for lists, which it adds to.
_ONES = {
    "thinking_dict": "thinking",
    "instructions": "instructions",
    "_previous_response_id": "previous_response_id",
}
_LISTS = {"tools": "tools", "built_in_tools": "tools", "mcp_servers": "mcp_servers"}


def _parameters(instance: object, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a request: the call's, and those that its model adds."""
    own = mapping(field(instance, "additional_kwargs"))
    params = {**own, **options} if own else options
    for name, sent_as in _ONES.items():
        value = field(instance, name)
        if value and sent_as not in params:
            params = {**params, sent_as: value}
    for name, sent_as in _LISTS.items():
        value = field(instance, name)
        if value and isinstance(value, list):
            params = {**params, sent_as: [*items(value), *items(params.get(sent_as))]}
    return params


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
    return answer if message is None else _piece(message, _no_media, _PLAIN).text


_PLAIN = Template()


def _beyond(messages: Sequence[ChatMessage], params: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes the provider read more than is sent: what it has stored, finds, or is pointed to."""
    found = list(beyond_the_request(params))
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


def _piece(message: ChatMessage, media: Media, template: Template, *, past: bool = False) -> Piece:
    parts: list[str] = []
    blocks, more = message.blocks, message.additional_kwargs
    tokens = sum(_read_block(block, parts, media) for block in blocks)
    call_id = text(more.get("tool_call_id")) if more else None
    made = sum(block.block_type == "tool_call" for block in blocks)
    if not (more or made or past):
        return Piece("\n".join(parts), tokens)
    said = [] if made else [_described(call) for call in items(more.get("tool_calls"))]
    calls = made or len(said)
    said.extend(str(more[name]) for name in _ASIDE if more.get(name))
    sent = "\n".join([*parts, *said, *([call_id] if call_id else [])])
    added = calls * template.call + (template.result if call_id else 0)
    if past:
        parts.clear()
        for block in blocks:
            if block.block_type != "thinking":
                _read_block(block, parts, media)
    return Piece(sent, tokens, "\n".join([*parts, *said]), added)


_ASIDE = ("name", "function_call", "refusal", "reasoning_content")


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
    elif kind == "document" and (written := inline_text(block.document_mimetype or "", _data(block))):
        parts.append(written)
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
    data = _data(block)
    width, height = (image_size(data) if kind == "image" and data else None) or (None, None)
    fps = getattr(block, "fps", None)
    return media_tokens(
        "file" if kind == "document" else kind,
        provider=provider,
        model=model,
        detail=text(getattr(block, "detail", None)),
        width=width,
        height=height,
        size_bytes=len(data) * 3 // 4 if data else None,
        pages=pdf_pages(data) if kind == "document" and data else None,
        fps=fps if isinstance(fps, int | float) else None,
    )


def _data(block: Any) -> str:
    """What a block has of its medium: LlamaIndex keeps it as base64, in bytes."""
    held: object = getattr(block, "data" if block.block_type == "document" else block.block_type, None)
    return held.decode("ascii", "ignore") if isinstance(held, bytes) else ""


def _no_media(kind: str, block: object) -> int:
    return 0

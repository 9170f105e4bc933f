"""LangChain messages and tool schemas as a core `Prompt`: marks to recognise them, text to count."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

from langchain_core.messages import BaseMessage

from apeiros_callbacks.call import Piece, Prompt
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.tokens import image_size, media_tokens

__all__ = ["answer_text", "chat_prompt", "chunk_text", "event_text", "text_prompt", "texts_prompt"]

_ORDERED = (
    "tools", "functions", "response_format", "output_config", "response_schema", "response_json_schema",
    "instructions", "prediction", "system", "extra_body",
)  # fmt: skip
"""Parameters of a request that the provider reads as part of the input."""
_SCHEMAS = frozenset(_ORDERED)

_BEYOND = ("previous_response_id", "conversation", "prompt", "container", "cached_content")
"""Parameters by which the provider reads what it has stored."""


def chat_prompt(
    messages: Sequence[BaseMessage], params: Mapping[str, Any], provider: str, model: str
) -> Prompt:
    """The prompt of a chat model: its tool schemas first, then its messages."""
    marks = [_message_mark(message) for message in messages]
    media = partial(_media_tokens, provider=provider, model=model)
    schemas = [] if _SCHEMAS.isdisjoint(params) else [params[name] for name in _ORDERED if params.get(name)]
    beyond = partial(_beyond, messages, params)
    if not schemas:
        return Prompt(tuple(marks), lambda i: _message_piece(messages[i], media), find_beyond=beyond)
    # One repr serves as mark and as text: schemas are the same objects, or equal, from call to call.
    described = repr(schemas)

    def piece(i: int) -> Piece:
        return Piece(described) if i == 0 else _message_piece(messages[i - 1], media)

    return Prompt((hash(described), *marks), piece, has_tools=True, find_beyond=beyond)


def _beyond(messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes the provider read more than is sent: what it has stored, finds, or is pointed to."""
    found = [name for name in _BEYOND if params.get(name)]
    found.extend(
        f"the tool {kind}"
        for tool in items(params.get("tools"))
        if (kind := text(mapping(tool).get("type"))) and not kind.startswith(_OWN_TOOLS)
    )
    for message in messages:
        for block in items(vars(message).get("content")):
            kind = str(mapping(block).get("type"))
            if _MEDIA_KINDS.get(kind, "image") != "image":
                found.append(f"a part of the type {kind}")  # its tokens are estimated, not bounded
    return tuple(dict.fromkeys(found))


# Tools that the caller runs: what they give comes with the next request.
_OWN_TOOLS = ("function", "custom", "bash_", "text_editor_", "computer_", "memory_")


def text_prompt(prompt: object, provider: str = "", model: str = "") -> Prompt:
    """The prompt of a completion model, or what a decision model is asked; of any model."""
    sent = str(prompt)
    return Prompt((hash(sent),), lambda _: Piece(sent))


def texts_prompt(texts: Sequence[str], provider: str = "", model: str = "") -> Prompt:
    """What an embedding model is sent, whichever it is."""
    return Prompt(tuple([hash(text) for text in texts]), lambda i: Piece(texts[i]))


def _message_mark(message: BaseMessage) -> int:
    # Every message of every call comes by here. Straight from the instance: pydantic takes its time over an
    # attribute that a message does not have.
    said = vars(message).get
    content, calls, more = said("content"), said("tool_calls"), said("additional_kwargs")
    if content.__class__ is not str:
        content = _mark(content)
    mark: tuple[Any, ...] = (said("type"), content, said("tool_call_id"), said("name"))
    if calls or said("invalid_tool_calls"):
        mark = (*mark, _mark(calls), _mark(said("invalid_tool_calls")))
    if more and (more.get("refusal") or more.get("reasoning_content") or more.get("function_call")):
        mark = (*mark, *[_mark(more.get(name)) for name in _BESIDE])
    return hash(mark)


def _mark(value: Any) -> int:
    """A hash of plain data; a string's hash is kept by the string, so a second time costs nothing."""
    kind = value.__class__
    if kind is dict:
        parts = [part if part.__class__ is str else _mark(part) for part in value.values()]
        return hash((*value, *parts))
    if kind is list:
        return hash(tuple([_mark(part) for part in value]))
    return hash(value) if value is None or isinstance(value, str | int | float | bytes) else hash(repr(value))


Media: TypeAlias = Callable[[str, Mapping[str, Any]], int]
"""The tokens of a content block of some kind of media."""


def _message_piece(message: BaseMessage, media: Media) -> Piece:
    content, calls, aside = vars(message).get("content"), _tool_calls(message), _aside(message)
    if isinstance(content, str) and not calls and not aside:
        return Piece(content)
    parts: list[str] = []
    tokens = _read_content(content, parts, media)
    parts.extend(f"{call.get('name')}{_json(call.get('args'))}" for call in calls)
    parts.extend(map(_json, aside))
    return Piece("\n".join(parts), tokens)


def _aside(message: BaseMessage) -> list[object]:
    """What a message says beside its content and its tool calls."""
    fields = vars(message)
    more = mapping(fields.get("additional_kwargs"))
    said = (*map(fields.get, ("name", "tool_call_id", "invalid_tool_calls")), *map(more.get, _BESIDE))
    return [part for part in said if part]


_BESIDE = ("function_call", "refusal", "reasoning_content")


def _tool_calls(message: BaseMessage) -> Sequence[Mapping[str, Any]]:
    return items(vars(message).get("tool_calls"))


def _read_content(content: object, parts: list[str], media: Media) -> int:
    """Add the text of a message or a block to `parts`; give the tokens of its media."""
    if isinstance(content, str):
        parts.append(content)
        return 0
    return sum(_read_block(block, parts, media) for block in items(content))


# Content blocks by type, in the providers' and LangChain's own dialects.
_MEDIA_KINDS = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "media": "file",
    "file": "file",
    "document": "file",
    "input_file": "file",
}
_TEXT_KEYS = (
    "text", "thinking", "reasoning", "content", "output", "input", "partial_json", "arguments", "refusal",
)  # fmt: skip
_TOOL_CALLS = frozenset({"tool_use", "tool_call", "function_call"})


def _read_block(block: object, parts: list[str], media: Media) -> int:
    if isinstance(block, str):
        parts.append(block)
        return 0
    fields = mapping(block)
    block_type = fields.get("type")
    if block_type in _MEDIA_KINDS:
        return media(_MEDIA_KINDS[block_type], fields)
    if block_type in _TOOL_CALLS:
        return 0  # the message's own tool_calls say the same
    tokens = 0
    if not any(key in fields for key in _TEXT_KEYS):
        parts.append(_json(fields))  # of a kind that is not known here
        return 0
    for key in _TEXT_KEYS:
        value = fields.get(key)
        if isinstance(value, Mapping):
            parts.append(_json(mapping(cast("object", value))))
        else:
            tokens += _read_content(value, parts, media)
    return tokens


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _media_tokens(kind: str, block: Mapping[str, Any], *, provider: str, model: str) -> int:
    """The documented estimate for an image, a sound, a film or a file; never its base64 length."""
    inner = mapping(block.get(str(block.get("type")))) or mapping(block.get("source")) or block
    mime = str(inner.get("media_type") or inner.get("mime_type") or inner.get("format") or "")
    named = mime.partition("/")[0]
    kind = named if named in {"image", "audio", "video"} else kind
    data = next((inner[key] for key in _DATA_KEYS if isinstance(inner.get(key), str)), "")
    data = data or text(block.get("image_url")) or ""
    size = image_size(data) if kind == "image" and not data.startswith("http") else None
    width, height = size or (None, None)
    return media_tokens(
        kind,
        provider=provider,
        model=model,
        detail=text(inner.get("detail")) or text(block.get("detail")),
        width=width,
        height=height,
        size_bytes=None if not data or data.startswith("http") else len(data) * 3 // 4,
    )


_DATA_KEYS = ("data", "base64", "url", "file_data")


def _no_media(kind: str, block: Mapping[str, Any]) -> int:
    return 0


def answer_text(message: object, answer: str) -> str:
    """All that an answer says, to be counted where the provider reported no usage."""
    return _message_piece(message, _no_media).text if isinstance(message, BaseMessage) else answer


def chunk_text(token: object, chunk: Any) -> str:
    """What a streamed chunk adds to the answer: text, a tool call's name and arguments, what stands aside."""
    if isinstance(token, str) and token:
        return token
    message = getattr(chunk, "message", None)
    calls = items(getattr(message, "tool_call_chunks", None))
    parts = [f"{call.get('name') or ''}{call.get('args') or ''}" for call in calls]
    for block in items(token):
        if mapping(block).get("type") != "input_json_delta":
            _read_block(block, parts, _no_media)
    for said in map(mapping(getattr(message, "additional_kwargs", None)).get, _BESIDE):
        parts.extend([said] if isinstance(said, str) else [str(part) for part in mapping(said).values()])
    return "".join(parts)


def event_text(event: Mapping[str, Any]) -> str:
    """What an event of a typed stream adds to the answer."""
    delta = mapping(event.get("delta"))
    return "".join(str(delta[key]) for key in ("text", "reasoning", "args") if delta.get(key))

"""LangChain messages and tool schemas as a core `Prompt`: marks to recognise them, text to count."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

from langchain_core.messages import BaseMessage

from apeiros_callbacks.call import Piece, Prompt
from apeiros_callbacks.parameters import after_parameters, beyond_the_request
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.tokens import Template, image_size, inline_text, media_tokens, pdf_pages, template_of

__all__ = ["answer_text", "chat_prompt", "chunk_text", "event_text", "text_prompt", "texts_prompt"]


def chat_prompt(
    messages: Sequence[BaseMessage], params: Mapping[str, Any], provider: str, model: str
) -> Prompt:
    """The prompt of a chat model: what its parameters add first, then its messages."""
    marks = [_message_mark(message) for message in messages]

    def message_piece(i: int) -> Piece:
        media = partial(_media_tokens, provider=provider, model=model)
        template = template_of(provider, model)
        past = template.forgets and any(later.type == "human" for later in messages[i + 1 :])
        return _message_piece(messages[i], media, template, past=past)

    beyond = partial(_beyond, messages, params)
    return after_parameters(params, marks, message_piece, beyond, provider, model)


def _beyond(messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes the provider read more than is sent: what it has stored, finds, or is pointed to."""
    found = list(beyond_the_request(params))
    for message in messages:
        for block in items(vars(message).get("content")):
            kind = str(mapping(block).get("type"))
            if _MEDIA_KINDS.get(kind, "image") != "image":
                found.append(f"a part of the type {kind}")  # its tokens are estimated, not bounded
    return tuple(dict.fromkeys(found))


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
    if calls:
        mark = (*mark, *[_call_mark(call) for call in calls])
    if wrong := said("invalid_tool_calls"):
        mark = (*mark, _mark(wrong))
    if more and (more.get("refusal") or more.get("reasoning_content") or more.get("function_call")):
        mark = (*mark, *[_mark(more.get(name)) for name in _BESIDE])
    return hash(mark)


def _call_mark(call: Any) -> int:
    said = call.get
    return hash((said("name"), said("id"), _mark(said("args"))))


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


def _message_piece(message: BaseMessage, media: Media, template: Template, *, past: bool = False) -> Piece:
    content, calls, aside = vars(message).get("content"), _tool_calls(message), _aside(message)
    call_id = text(vars(message).get("tool_call_id"))
    if isinstance(content, str) and not (calls or aside or call_id):
        return Piece(content)
    parts: list[str] = []
    tokens = _read_content(content, parts, media)
    said = [f"{call.get('name')}{_json(call.get('args'))}" for call in calls]
    said.extend(map(_json, aside))
    sent = "\n".join([*parts, *said, *([call_id] if call_id else [])])
    added = len(calls) * template.call + (template.result if call_id else 0)
    if past and (blocks := items(content)):
        parts.clear()
        _read_content([block for block in blocks if not _is_thought(block)], parts, media)
    elif template.signature and not past:
        added += round(_signatures(message) * template.signature)
    return Piece(sent, tokens, "\n".join([*parts, *said]), added)


def _is_thought(block: object) -> bool:
    return mapping(block).get("type") in {"thinking", "redacted_thinking", "reasoning"}


def _signatures(message: BaseMessage) -> int:
    """Characters of the thoughts that Google's client sends back: of its tool calls, and of its blocks."""
    more = mapping(vars(message).get("additional_kwargs"))
    of_calls = mapping(more.get("__gemini_function_call_thought_signatures__")).values()
    blocks = map(mapping, items(vars(message).get("content")))
    of_blocks = (block.get("signature") or mapping(block.get("extras")).get("signature") for block in blocks)
    return sum(len(signature) for signature in (*of_calls, *of_blocks) if isinstance(signature, str))


def _aside(message: BaseMessage) -> list[object]:
    """What a message says beside its content, its tool calls and its ids."""
    fields = vars(message)
    more = mapping(fields.get("additional_kwargs"))
    said = (*map(fields.get, ("name", "invalid_tool_calls")), *map(more.get, _BESIDE))
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
    "audio_url": "audio",
    "video": "video",
    "video_url": "video",
    "media": "file",
    "file": "file",
    "document": "file",
    "document_url": "file",
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
        written = inline_text(*_mime_and_data(fields))
        if written is not None:
            parts.append(written)
            return 0
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
    inner = _inner(block)
    mime, data = _mime_and_data(block)
    named = mime.partition("/")[0]
    kind = named if named in {"image", "audio", "video"} else kind
    inline = bool(data) and not data.startswith(("http", "gs:"))
    width, height = (image_size(data) if kind == "image" and inline else None) or (None, None)
    fps = mapping(block.get("video_metadata")).get("fps")
    return media_tokens(
        kind,
        provider=provider,
        model=model,
        detail=text(inner.get("detail")) or text(block.get("detail")),
        width=width,
        height=height,
        size_bytes=len(data) * 3 // 4 if inline else None,
        pages=pdf_pages(data) if kind == "file" and inline else None,
        fps=fps if isinstance(fps, int | float) else None,
    )


def _inner(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a block keeps its medium: under its own type, under ``source``, or itself."""
    return mapping(block.get(str(block.get("type")))) or mapping(block.get("source")) or block


def _mime_and_data(block: Mapping[str, Any]) -> tuple[str, str]:
    """The media type of a block, empty where it is not said, and its base64, its URL or its text."""
    inner = _inner(block)
    mime = text(inner.get("media_type")) or text(inner.get("mime_type")) or text(inner.get("format")) or ""
    data = next((inner[key] for key in _DATA_KEYS if text(inner.get(key))), "")
    if not mime and inner.get("type") == "text":
        mime = "text/plain"
    return mime, data


_DATA_KEYS = (
    "data", "base64", "url", "file_data", "file_url", "image_url", "document_url", "video_url", "audio_url",
    "text",
)  # fmt: skip


def _no_media(kind: str, block: Mapping[str, Any]) -> int:
    return 0


_PLAIN = Template()


def answer_text(message: object, answer: str) -> str:
    """All that an answer says, to be counted where the provider reported no usage."""
    return _message_piece(message, _no_media, _PLAIN).text if isinstance(message, BaseMessage) else answer


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

"""LangChain messages and tool schemas as a core `Prompt`: marks to recognise them, text to count."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from apeiros_callbacks.call import Piece, Prompt
from apeiros_callbacks.tokens import media_tokens
from langchain_core.messages import BaseMessage

__all__ = ["answer_text", "chat_prompt", "text_prompt"]

_SCHEMAS = ("tools", "functions", "response_format")
"""Parameters of a request that the provider reads as part of the input."""


def chat_prompt(messages: Sequence[BaseMessage], params: Mapping[str, Any], provider: str) -> Prompt:
    """The prompt of a chat model: its tool schemas first, then its messages."""
    marks = [_message_mark(message) for message in messages]
    schemas = [params[name] for name in _SCHEMAS if params.get(name)]
    if not schemas:
        return Prompt(tuple(marks), lambda i: _message_piece(messages[i], provider))
    # One repr serves as mark and as text: schemas are the same objects, or equal, from call to call.
    text = repr(schemas)

    def piece(i: int) -> Piece:
        return Piece(text) if i == 0 else _message_piece(messages[i - 1], provider)

    return Prompt((hash(text), *marks), piece)


def text_prompt(text: str) -> Prompt:
    """The prompt of a completion model."""
    return Prompt((hash(text),), lambda _: Piece(text))


def _message_mark(message: BaseMessage) -> int:
    # Straight from the instance: pydantic takes its time over an attribute that a message does not have.
    fields = vars(message)
    content = fields["content"]
    calls = fields.get("tool_calls")
    if content.__class__ is str and not calls:
        return hash((fields.get("type"), content))
    return hash((fields.get("type"), _mark(content), _mark(calls) if calls else 0))


def _mark(value: object) -> int:
    """A hash of plain data; a string's hash is kept by the string, so a second time costs nothing."""
    if isinstance(value, dict):
        return hash(tuple((key, _mark(part)) for key, part in value.items()))
    if isinstance(value, list):
        return hash(tuple(_mark(part) for part in value))
    return hash(value) if isinstance(value, str | int | float | bytes) else hash(repr(value))


def _message_piece(message: BaseMessage, provider: str) -> Piece:
    parts: list[str] = []
    media = 0
    content = message.content
    if isinstance(content, str):
        parts.append(content)
    else:
        for block in content:
            if isinstance(block, str):
                parts.append(block)
            else:
                media += _read_block(block, parts, provider)
    parts.extend(_tool_call_texts(message))
    return Piece("\n".join(parts), media)


def _tool_call_texts(message: object) -> list[str]:
    calls = getattr(message, "tool_calls", None) or ()
    return [f"{call['name']}{json.dumps(call['args'], default=str)}" for call in calls]


# Content blocks by type, in the providers' and LangChain's own dialects.
_MEDIA = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "media": "file",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "file": "file",
    "document": "file",
    "input_file": "file",
}
_TEXT_KEYS = ("text", "thinking", "reasoning", "content", "output", "input", "partial_json", "arguments")


def _read_block(block: Mapping[str, Any], parts: list[str], provider: str) -> int:
    """Add a content block's text to `parts`; give the tokens of its media, never their base64 length."""
    kind = _MEDIA.get(str(block.get("type")))
    if kind is not None:
        return _media(kind, block, provider)
    if block.get("type") in {"tool_use", "tool_call", "function_call"} and "name" in block:
        return 0  # the message's own tool_calls say the same
    media = 0
    for key in _TEXT_KEYS:
        value = block.get(key)
        if isinstance(value, str):
            parts.append(value)
        elif isinstance(value, list):
            for inner in value:
                if isinstance(inner, Mapping):
                    media += _read_block(inner, parts, provider)
        elif isinstance(value, Mapping):
            parts.append(json.dumps(value, default=str))
    return media


def _media(kind: str, block: Mapping[str, Any], provider: str) -> int:
    return media_tokens(kind, provider=provider)


def answer_text(message: object, text: str) -> str:
    """All that an answer says, to be counted where the provider reported no usage."""
    if not isinstance(message, BaseMessage):
        return text
    return _message_piece(message, "").text


def chunk_text(token: object, chunk: Any) -> str:
    """What a streamed chunk adds to the answer: its text, or the arguments of a tool call."""
    if isinstance(token, str) and token:
        return token
    message = getattr(chunk, "message", None)
    parts = [str(call.get("args") or "") + str(call.get("name") or "") for call in _tool_call_chunks(message)]
    if isinstance(token, list):
        for block in token:
            if isinstance(block, str):
                parts.append(block)
            elif block.get("type") not in {"tool_use", "input_json_delta"}:
                _read_block(block, parts, "")
    return "".join(parts)


def _tool_call_chunks(message: Any) -> Sequence[Mapping[str, Any]]:
    return getattr(message, "tool_call_chunks", None) or ()


def event_text(event: Mapping[str, Any]) -> str:
    """What an event of a typed stream adds to the answer."""
    delta = event.get("delta") or {}
    return "".join(str(delta[key]) for key in ("text", "reasoning", "args") if delta.get(key))

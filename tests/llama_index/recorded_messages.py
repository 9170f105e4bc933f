"""Recorded requests in LlamaIndex's words: messages, and what else is read as part of the prompt."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

__all__ = ["conversation"]

Sendable = tuple[list[ChatMessage], dict[str, Any]]


def conversation(kind: str, request: dict[str, Any]) -> Sendable:
    """A recorded request.

    Raises:
        ValueError: it has what is not told here in LlamaIndex's words.
    """
    read = {"openai-chat": _chat, "openai-responses": _responses, "anthropic": _anthropic}
    return read[kind](request)


def _asked_for(request: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: request[name] for name in names if request.get(name)}


def _chat(request: dict[str, Any]) -> Sendable:
    messages = []
    for message in request["messages"]:
        aside = _asked_for(message, "tool_call_id", "name")
        blocks = list(_blocks(message.get("content")))
        calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
        blocks.extend(_call(call_id, asked["name"], asked["arguments"]) for call_id, asked in calls)
        messages.append(ChatMessage(role=message["role"], blocks=blocks, additional_kwargs=aside))
    return messages, _asked_for(request, "tools", "tool_choice", "response_format")


def _responses(request: dict[str, Any]) -> Sendable:
    messages = []
    if request.get("instructions"):
        messages.append(ChatMessage(role="system", content=request["instructions"]))
    asked = request["input"]
    for item in [{"role": "user", "content": asked}] if isinstance(asked, str) else asked:
        kind = item.get("type", "message")
        if kind == "function_call":
            call = _call(item["call_id"], item["name"], item["arguments"])
            messages.append(ChatMessage(role="assistant", blocks=[call]))
        elif kind == "function_call_output":
            messages.append(_result(item["call_id"], item["output"]))
        elif kind == "message":
            messages.append(ChatMessage(role=item["role"], blocks=list(_blocks(item["content"]))))
        else:
            raise ValueError(kind)
    return messages, _asked_for(request, "tools", "tool_choice", "text")


def _anthropic(request: dict[str, Any]) -> Sendable:
    messages = []
    if system := request.get("system"):
        messages.append(ChatMessage(role="system", blocks=list(_blocks(system))))
    for message in request["messages"]:
        content = message["content"]
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        results = [block for block in blocks if block["type"] == "tool_result"]
        messages.extend(_result(block["tool_use_id"], block.get("content") or "") for block in results)
        others = list(_blocks([block for block in blocks if block["type"] != "tool_result"]))
        if others:
            messages.append(ChatMessage(role=message["role"], blocks=others))
    return messages, _asked_for(request, "tools", "tool_choice", "thinking", "output_config", *_MORE)


_MORE = ("mcp_servers", "container", "max_tokens")


def _result(call_id: str, said: Any) -> ChatMessage:
    aside = {"tool_call_id": call_id}
    return ChatMessage(role="tool", blocks=list(_blocks(said)), additional_kwargs=aside)


def _call(call_id: str, name: str, given: Any) -> ToolCallBlock:
    return ToolCallBlock(tool_call_id=call_id, tool_name=name, tool_kwargs=given)


def _blocks(content: Any) -> Iterator[Any]:
    if isinstance(content, str):
        yield TextBlock(text=content)
        return
    for part in content or ():
        yield _block(part)


def _block(part: dict[str, Any]) -> Any:
    kind = part["type"]
    source = part.get("source") or {}
    if kind in {"text", "input_text", "output_text"}:
        return TextBlock(text=part["text"])
    if kind == "thinking":
        return ThinkingBlock(
            content=part["thinking"], additional_information={"signature": part.get("signature")}
        )
    if kind == "tool_use":
        return _call(part["id"], part["name"], part["input"])
    if kind in {"image_url", "input_image"}:
        image = part["image_url"]
        url, detail = (image["url"], image.get("detail")) if isinstance(image, dict) else (image, None)
        return ImageBlock(detail=detail or part.get("detail"), **_media("image", url))
    if kind == "image" and source.get("type") == "base64":
        return ImageBlock(image=base64.b64decode(source["data"]), image_mimetype=source["media_type"])
    if kind == "input_audio":
        sound = part["input_audio"]
        return AudioBlock(audio=base64.b64decode(sound["data"]), format=sound["format"])
    if kind == "document" and source.get("type") == "base64":
        return DocumentBlock(data=base64.b64decode(source["data"]), document_mimetype=source["media_type"])
    raise ValueError(kind)


def _media(name: str, url: str) -> dict[str, Any]:
    if not url.startswith("data:"):
        return {"url": url}
    head, _, data = url.partition(",")
    return {name: base64.b64decode(data), f"{name}_mimetype": head[5:].partition(";")[0]}

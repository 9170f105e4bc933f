"""Anthropic's messages API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, sse

__all__ = ["ANTHROPIC"]

_ERRORS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _answer(reply: Reply, request: Request) -> dict[str, object]:
    """A ``message`` with a block of text and a block for each tool call."""
    content: list[dict[str, object]] = []
    if reply.full_text or not reply.tool_calls:
        content.append({"type": "text", "text": reply.full_text})
    content += [
        _tool_block(reply, request, place) | {"input": dict(call.arguments)}
        for place, call in enumerate(reply.tool_calls)
    ]
    body = _envelope(reply, request) | {"content": content, "stop_reason": _stop_reason(reply)}
    if reply.usage:
        body["usage"] = reply.usage_body if reply.usage_body is not None else _usage(reply)
    return body


def _stream(reply: Reply, request: Request) -> Iterator[Part]:
    """Usage of the input in ``message_start``, blocks of content, and all usage in ``message_delta``."""
    message = _envelope(reply, request) | {"content": (), "stop_reason": None}
    if reply.usage:
        message["usage"] = _usage_at_start(reply)
    yield _event("message_start", message=message)
    yield _event("ping")
    index = 0
    if reply.full_text or not reply.tool_calls:
        yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for text in reply.chunks:
            yield _delta(index, {"type": "text_delta", "text": text})
        yield _event("content_block_stop", index=index)
        index += 1
    for place, call in enumerate(reply.tool_calls):
        yield _event("content_block_start", index=index, content_block=_tool_block(reply, request, place))
        for piece in call.pieces:
            yield _delta(index, {"type": "input_json_delta", "partial_json": piece})
        yield _event("content_block_stop", index=index)
        index += 1
    ending: dict[str, object] = {"delta": {"stop_reason": _stop_reason(reply), "stop_sequence": None}}
    if reply.usage:
        ending["usage"] = reply.usage_body if reply.usage_body is not None else _usage_at_end(reply)
    yield _event("message_delta", **ending)
    yield _event("message_stop")


def _failure(status: int, message: str) -> dict[str, object]:
    """An ``error`` whose type follows the status."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _failure_in_stream(message: str) -> bytes:
    """An ``error`` event, as of an overloaded provider."""
    return sse(_failure(529, message), "error")


def _event(kind: str, **fields: object) -> Part:
    return Part(sse({"type": kind} | fields, kind))


def _delta(index: int, delta: Mapping[str, object]) -> Part:
    kind = "content_block_delta"
    return Part(sse({"type": kind, "index": index, "delta": delta}, kind), is_chunk=True)


def _envelope(reply: Reply, request: Request) -> dict[str, object]:
    return {
        "id": f"msg_{request.index:06}",
        "type": "message",
        "role": "assistant",
        "model": reply.model or request.model,
        "stop_sequence": None,
    }


def _tool_block(reply: Reply, request: Request, place: int) -> dict[str, object]:
    call = reply.tool_calls[place]
    name = call.id or f"toolu_{request.index:06}_{place}"
    return {"type": "tool_use", "id": name, "name": call.name, "input": {}}


def _stop_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_use" if reply.tool_calls else "end_turn")


def _usage(reply: Reply) -> dict[str, object]:
    return _usage_at_start(reply) | _usage_at_end(reply)


def _usage_at_start(reply: Reply) -> dict[str, object]:
    """What is known when a stream begins. Only here is it told how long a cache write is kept."""
    return _input(reply) | {
        "cache_creation": {
            "ephemeral_5m_input_tokens": reply.cache_write_tokens - reply.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": reply.cache_write_1h_tokens,
        },
        "output_tokens": 1,
        "service_tier": reply.service_tier or "standard",
    }


def _usage_at_end(reply: Reply) -> dict[str, object]:
    output: dict[str, object] = {"output_tokens": reply.output_tokens}
    if reply.reasoning_tokens:
        output["output_tokens_details"] = {"thinking_tokens": reply.reasoning_tokens}
    return _input(reply) | output


def _input(reply: Reply) -> dict[str, object]:
    """Anthropic's convention: input, cache reads and cache writes stand side by side."""
    return {
        "input_tokens": reply.input_tokens - reply.cache_read_tokens - reply.cache_write_tokens,
        "cache_creation_input_tokens": reply.cache_write_tokens,
        "cache_read_input_tokens": reply.cache_read_tokens,
    }


ANTHROPIC = WireFormat(
    api="anthropic",
    endpoints=("/v1/messages",),
    answer=_answer,
    stream=_stream,
    failure=_failure,
    failure_in_stream=_failure_in_stream,
)

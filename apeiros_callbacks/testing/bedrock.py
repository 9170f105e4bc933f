"""Amazon Bedrock's Converse API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from apeiros_callbacks.testing.event_stream import EVENT_STREAM, message
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, dump

__all__ = ["BEDROCK"]

_STREAM_END = "/converse-stream"

_ERRORS: Mapping[int, str] = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def _answer(reply: Reply, request: Request) -> dict[str, object]:
    """An ``output`` of one message. It does not say which model answered."""
    content: list[Mapping[str, object]] = []
    if reply.full_text or not reply.tool_calls:
        content.append({"text": reply.full_text})
    content += [
        {"toolUse": _tool(reply, request, place) | {"input": dict(call.arguments)}}
        for place, call in enumerate(reply.tool_calls)
    ]
    output = {"message": {"role": "assistant", "content": content}}
    return {"output": output} | _stop(reply, request) | _metadata(reply)


def _stream(reply: Reply, request: Request) -> Iterator[Part]:
    """Events of blocks of content, then why it stopped, and at last the usage."""
    yield _event("messageStart", role="assistant")
    index = 0
    if reply.full_text or not reply.tool_calls:  # text has no event of its own that begins it
        for text in reply.chunks:
            yield _delta(index, {"text": text})
        yield _event("contentBlockStop", contentBlockIndex=index)
        index += 1
    for place, call in enumerate(reply.tool_calls):
        start = {"toolUse": _tool(reply, request, place)}
        yield _event("contentBlockStart", start=start, contentBlockIndex=index)
        for piece in call.pieces:
            yield _delta(index, {"toolUse": {"input": piece}})
        yield _event("contentBlockStop", contentBlockIndex=index)
        index += 1
    yield _event("messageStop", **_stop(reply, request))
    yield _event("metadata", **_metadata(reply))


def _failure(_status: int, text: str) -> dict[str, object]:
    """Only a message: the type is in a header."""
    return {"message": text}


def _failure_headers(status: int) -> dict[str, str]:
    kind = "InternalServerException" if status >= 500 else "ValidationException"
    return {"x-amzn-errortype": _ERRORS.get(status, kind)}


def _failure_in_stream(text: str) -> bytes:
    """An exception, as of an overloaded provider."""
    return message("serviceUnavailableException", dump({"message": text}).encode(), kind="exception")


def _event(name: str, **fields: object) -> Part:
    return Part(message(name, dump(fields).encode()))


def _delta(index: int, delta: Mapping[str, object]) -> Part:
    return _event("contentBlockDelta", delta=delta, contentBlockIndex=index)._replace(is_chunk=True)


def _tool(reply: Reply, request: Request, place: int) -> dict[str, object]:
    call = reply.tool_calls[place]
    return {"toolUseId": call.id or f"tooluse_{request.index:06}_{place}", "name": call.name}


def _stop(reply: Reply, request: Request) -> dict[str, object]:
    """Why it stopped; and of Claude's own usage, where that is asked for, the reasoning."""
    stop: dict[str, object] = {
        "stopReason": reply.finish_reason or ("tool_use" if reply.tool_calls else "end_turn")
    }
    wanted: Any = request.body.get("additionalModelResponseFieldPaths")
    if reply.usage and reply.reasoning_tokens and isinstance(wanted, list) and "/usage" in wanted:
        details = {"output_tokens_details": {"thinking_tokens": reply.reasoning_tokens}}
        stop["additionalModelResponseFields"] = {"usage": details}
    return stop


def _metadata(reply: Reply) -> dict[str, object]:
    metadata: dict[str, object] = {"metrics": {"latencyMs": 1}}
    if reply.usage:
        metadata["usage"] = reply.usage_body if reply.usage_body is not None else _usage(reply)
    if reply.service_tier:
        metadata["serviceTier"] = {"type": reply.service_tier}
    return metadata


def _usage(reply: Reply) -> dict[str, object]:
    """Anthropic's convention: input, cache reads and cache writes stand side by side."""
    kept = {
        "5m": reply.cache_write_tokens - reply.cache_write_1h_tokens,
        "1h": reply.cache_write_1h_tokens,
    }
    return {
        "inputTokens": reply.input_tokens - reply.cache_read_tokens - reply.cache_write_tokens,
        "outputTokens": reply.output_tokens,
        "totalTokens": reply.tokens.total_tokens,
        "cacheReadInputTokens": reply.cache_read_tokens,
        "cacheWriteInputTokens": reply.cache_write_tokens,
        "cacheDetails": [{"ttl": ttl, "inputTokens": count} for ttl, count in kept.items() if count],
    }


def _requested_model(path: str, _body: Mapping[str, object]) -> str:
    """The model, profile or ARN in the path, where its colons and slashes are escaped."""
    return unquote(path.rpartition("/")[0].rpartition("/")[2])


def _wants_stream(path: str, _body: Mapping[str, object]) -> bool:
    return path.endswith(_STREAM_END)


BEDROCK = WireFormat(
    api="bedrock",
    endpoints=("/converse", _STREAM_END),
    answer=_answer,
    stream=_stream,
    stream_type=EVENT_STREAM,
    failure=_failure,
    failure_headers=_failure_headers,
    failure_in_stream=_failure_in_stream,
    requested_model=_requested_model,
    wants_stream=_wants_stream,
)

"""OpenAI's chat completions API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, sse

__all__ = ["OPENAI_CHAT"]

_CREATED = 1_700_000_000  # the same in every answer, so that answers can be compared
_DONE = b"data: [DONE]\n\n"

_ERRORS: Mapping[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
"""Type and code of an error, where they are not those of its hundred."""


def _answer(reply: Reply, request: Request) -> dict[str, object]:
    """A ``chat.completion`` with as many choices as the request's ``n``, alike, and one usage for all."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": reply.full_text or (None if reply.tool_calls else ""),
        "refusal": None,
        "annotations": [],
    }
    body = _envelope(reply, request, "chat.completion")
    body["choices"] = [
        {
            "index": index,
            "message": message | _tool_calls(reply, request, index),
            "logprobs": None,
            "finish_reason": _finish_reason(reply),
        }
        for index in range(_choices(request))
    ]
    if reply.usage:
        body["usage"] = _usage(reply)
    return body


def _stream(reply: Reply, request: Request) -> Iterator[Part]:
    """Events of ``chat.completion.chunk``; the usage only if ``stream_options.include_usage`` asks for it."""
    envelope = _envelope(reply, request, "chat.completion.chunk")
    reports = reply.usage and _includes_usage(request)
    if reports:
        envelope["usage"] = None  # in every chunk but the last one
    choices = range(_choices(request))

    def chunk(index: int, delta: Mapping[str, object], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse(envelope | {"choices": [choice]})

    for index in choices:
        content = None if reply.tool_calls and not reply.full_text else ""
        yield Part(chunk(index, {"role": "assistant", "content": content, "refusal": None}))
    for text in reply.chunks:
        for index in choices:
            yield Part(chunk(index, {"content": text}), is_chunk=True)
    for index in choices:
        for place, call in enumerate(reply.tool_calls):
            opening = {
                "index": place,
                "id": call.id or _call_id(request, index, place),
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            yield Part(chunk(index, {"tool_calls": [opening]}))
            for piece in call.pieces:
                delta = {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}
                yield Part(chunk(index, delta), is_chunk=True)
    for index in choices:
        yield Part(chunk(index, {}, _finish_reason(reply)))
    if reports:
        yield Part(sse(envelope | {"choices": (), "usage": _usage(reply)}))
    yield Part(_DONE)


def _failure(status: int, message: str) -> dict[str, object]:
    """An ``error`` object; its type and code follow the status."""
    kind, code = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _failure_in_stream(message: str) -> bytes:
    """An event with an ``error`` object where a chunk is expected."""
    return sse(_failure(500, message))


def _envelope(reply: Reply, request: Request, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{request.index:06}",
        "object": kind,
        "created": _CREATED,
        "model": reply.model or request.model,
        "service_tier": reply.service_tier or "default",
        "system_fingerprint": "fp_scripted",
    }


def _tool_calls(reply: Reply, request: Request, choice: int) -> dict[str, object]:
    if not reply.tool_calls:
        return {}
    return {
        "tool_calls": [
            {
                "id": call.id or _call_id(request, choice, place),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json},
            }
            for place, call in enumerate(reply.tool_calls)
        ]
    }


def _call_id(request: Request, choice: int, place: int) -> str:
    return f"call_{request.index:06}_{choice}_{place}"


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _choices(request: Request) -> int:
    wanted = request.body.get("n")
    return wanted if isinstance(wanted, int) and wanted > 1 else 1


def _includes_usage(request: Request) -> bool:
    options = request.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True  # pyright: ignore[reportUnknownMemberType]


def _usage(reply: Reply) -> Mapping[str, object]:
    """OpenAI's convention: the whole, and parts of it in the details."""
    if reply.usage_body is not None:
        return reply.usage_body
    tokens = reply.tokens
    prompt = {"cached_tokens": tokens.cache_read_tokens, "audio_tokens": tokens.input_audio_tokens}
    if tokens.cache_write_tokens:  # only models whose writes are billed report them
        prompt["cache_write_tokens"] = tokens.cache_write_tokens
    return {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.total_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning_tokens,
            "audio_tokens": tokens.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


OPENAI_CHAT = WireFormat(
    api="openai-chat",
    endpoints=("/chat/completions",),
    answer=_answer,
    stream=_stream,
    failure=_failure,
    failure_in_stream=_failure_in_stream,
)

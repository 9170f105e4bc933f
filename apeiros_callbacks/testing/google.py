"""Google's generateContent, of the Gemini API and of Vertex AI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, sse

__all__ = ["GOOGLE"]

_STREAM_END = ":streamGenerateContent"

_ERRORS: Mapping[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_Content = Sequence[Mapping[str, object]]


def _answer(reply: Reply, request: Request) -> dict[str, object]:
    """As many candidates as the request's ``candidateCount``, alike, and one usage for all."""
    parts: list[Mapping[str, object]] = []
    if reply.full_text or not reply.tool_calls:
        parts.append({"text": reply.full_text})
    parts += _calls(reply, request)
    body = _event(reply, request, parts, _finish_reason(reply))
    if reply.usage:
        body["usageMetadata"] = reply.usage_body if reply.usage_body is not None else _usage(reply)
    return body


def _stream(reply: Reply, request: Request) -> Iterator[Part]:
    """The same as events. Each tells the usage so far: all input at once, the output as it grows.

    A tool call comes in one piece.
    """
    contents = [{"text": text} for text in reply.chunks] + _calls(reply, request)
    reports = reply.usage and reply.usage_body is None
    for count, content in enumerate(contents, start=1):
        event = _event(reply, request, [content])
        if reports:
            event["usageMetadata"] = _usage(reply, count / len(contents))
        yield Part(sse(event), is_chunk=True)
    ending = _event(reply, request, [{"text": ""}], _finish_reason(reply))
    if reply.usage:
        ending["usageMetadata"] = reply.usage_body if reply.usage_body is not None else _usage(reply)
    yield Part(sse(ending))


def _failure(status: int, message: str) -> dict[str, object]:
    """An ``error`` whose status is the name of a gRPC code."""
    name = _ERRORS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": message, "status": name}}


def _failure_in_stream(message: str) -> bytes:
    """An event with an ``error`` object where a part of the answer is expected."""
    return sse(_failure(503, message))


def _event(
    reply: Reply, request: Request, parts: _Content, finish_reason: str | None = None
) -> dict[str, object]:
    ending = {"finishReason": finish_reason} if finish_reason else {}
    return {
        "candidates": [
            {"content": {"parts": parts, "role": "model"}, **ending, "index": index}
            for index in range(_candidates(request))
        ],
        "modelVersion": reply.model or request.model,
        "responseId": f"scripted-{request.index:06}",
    }


def _calls(reply: Reply, request: Request) -> list[dict[str, object]]:
    return [
        {
            "functionCall": {
                "id": call.id or f"call-{request.index:06}-{place}",
                "name": call.name,
                "args": dict(call.arguments),
            }
        }
        for place, call in enumerate(reply.tool_calls)
    ]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or "STOP"  # also where tools are called


def _candidates(request: Request) -> int:
    settings: Any = request.body.get("generationConfig")
    wanted: Any = settings.get("candidateCount") if isinstance(settings, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return wanted if isinstance(wanted, int) and wanted > 1 else 1


def _usage(reply: Reply, share: float = 1.0) -> dict[str, object]:
    """Google's convention: what is cached is in the prompt; thoughts and tool use stand beside.

    A count of zero is left out, as Google does. What is written into a cache is not told.
    """
    prompt = reply.input_tokens - reply.tool_use_tokens
    written = int((reply.output_tokens - reply.reasoning_tokens) * share)
    audio = int(min(reply.output_audio_tokens, reply.output_tokens - reply.reasoning_tokens) * share)
    usage: dict[str, object] = {
        "promptTokenCount": prompt,
        "totalTokenCount": reply.input_tokens + reply.reasoning_tokens + written,
        "promptTokensDetails": _by_modality(prompt, reply.input_audio_tokens),
        "serviceTier": reply.service_tier or "standard",
    }
    if written:
        usage["candidatesTokenCount"] = written
        usage["candidatesTokensDetails"] = _by_modality(written, audio)
    if reply.reasoning_tokens:
        usage["thoughtsTokenCount"] = reply.reasoning_tokens
    if reply.cache_read_tokens:
        usage["cachedContentTokenCount"] = reply.cache_read_tokens
        usage["cacheTokensDetails"] = _by_modality(reply.cache_read_tokens, 0)
    if reply.tool_use_tokens:
        usage["toolUsePromptTokenCount"] = reply.tool_use_tokens
        usage["toolUsePromptTokensDetails"] = _by_modality(reply.tool_use_tokens, 0)
    return usage


def _by_modality(count: int, audio: int) -> list[dict[str, object]]:
    counts = {"TEXT": count - min(audio, count), "AUDIO": min(audio, count)}
    return [{"modality": name, "tokenCount": part} for name, part in counts.items() if part]


def _requested_model(path: str, _body: Mapping[str, object]) -> str:
    return path.rpartition("/")[2].partition(":")[0]


def _wants_stream(path: str, _body: Mapping[str, object]) -> bool:
    return path.endswith(_STREAM_END)


GOOGLE = WireFormat(
    api="google",
    endpoints=(":generateContent", _STREAM_END),
    answer=_answer,
    stream=_stream,
    failure=_failure,
    failure_in_stream=_failure_in_stream,
    requested_model=_requested_model,
    wants_stream=_wants_stream,
)

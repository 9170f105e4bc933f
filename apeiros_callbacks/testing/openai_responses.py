"""OpenAI's responses API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from apeiros_callbacks.testing.openai_chat import OPENAI_CHAT
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, sse

__all__ = ["OPENAI_RESPONSES"]

_CREATED = 1_700_000_000  # the same in every answer, so that answers can be compared
_NO_ITEMS: Sequence[Mapping[str, object]] = ()


def _answer(reply: Reply, request: Request) -> dict[str, object]:
    """A ``response`` with an item for the text and one for each tool call."""
    items: list[Mapping[str, object]] = []
    if reply.full_text or not reply.tool_calls:
        items.append(_text_item(request, [_text_part(reply.full_text)], "completed"))
    items += [
        _call_item(reply, request, place, call.arguments_json, "completed")
        for place, call in enumerate(reply.tool_calls)
    ]
    ended: dict[str, object] = {"status": "completed"}
    if reply.finish_reason:
        ended = {"status": "incomplete", "incomplete_details": {"reason": reply.finish_reason}}
    return _envelope(reply, request, items) | ended | {"usage": _usage(reply)}


def _stream(reply: Reply, request: Request) -> Iterator[Part]:
    """Events of what is begun, grows and is done; the last one holds the whole answer and the usage."""
    numbers = count()

    def event(kind: str, **fields: object) -> Part:
        return Part(sse({"type": kind, "sequence_number": next(numbers)} | fields, kind))

    def delta(kind: str, **fields: object) -> Part:
        return event(kind, **fields)._replace(is_chunk=True)

    begun = _envelope(reply, request, _NO_ITEMS)
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    index = 0
    if reply.full_text or not reply.tool_calls:
        item, part = _text_item(request, _NO_ITEMS, "in_progress"), _text_part("")
        place: dict[str, object] = {"item_id": item["id"], "output_index": index, "content_index": 0}
        yield event("response.output_item.added", output_index=index, item=item)
        yield event("response.content_part.added", **place, part=part)
        for text in reply.chunks:
            yield delta("response.output_text.delta", **place, delta=text, logprobs=())
        part = _text_part(reply.full_text)
        yield event("response.output_text.done", **place, text=reply.full_text, logprobs=())
        yield event("response.content_part.done", **place, part=part)
        done = _text_item(request, [part], "completed")
        yield event("response.output_item.done", output_index=index, item=done)
        index += 1
    for number, call in enumerate(reply.tool_calls):
        item = _call_item(reply, request, number, "", "in_progress")
        place = {"item_id": item["id"], "output_index": index}
        yield event("response.output_item.added", output_index=index, item=item)
        for piece in call.pieces:
            yield delta("response.function_call_arguments.delta", **place, delta=piece)
        yield event("response.function_call_arguments.done", **place, arguments=call.arguments_json)
        done = _call_item(reply, request, number, call.arguments_json, "completed")
        yield event("response.output_item.done", output_index=index, item=done)
        index += 1
    answer = _answer(reply, request)
    yield event(f"response.{answer['status']}", response=answer)


def _failure_in_stream(message: str) -> bytes:
    """An ``error`` event."""
    fields = {"code": "server_error", "message": message, "param": None, "sequence_number": 0}
    return sse({"type": "error"} | fields, "error")


def _envelope(reply: Reply, request: Request, items: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {
        "id": f"resp_{request.index:06}",
        "object": "response",
        "created_at": _CREATED,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": request.body.get("instructions"),
        "max_output_tokens": request.body.get("max_output_tokens"),
        "metadata": {},
        "model": reply.model or request.model,
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": request.body.get("previous_response_id"),
        "service_tier": reply.service_tier or "default",
        "temperature": 1.0,
        "tool_choice": request.body.get("tool_choice", "auto"),
        "tools": request.body.get("tools", ()),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
    }


def _text_item(request: Request, content: Sequence[Mapping[str, object]], status: str) -> dict[str, object]:
    return {
        "id": f"msg_{request.index:06}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _text_part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": (), "logprobs": ()}


def _call_item(reply: Reply, request: Request, place: int, arguments: str, status: str) -> dict[str, object]:
    call = reply.tool_calls[place]
    return {
        "id": f"fc_{request.index:06}_{place}",
        "type": "function_call",
        "call_id": call.id or f"call_{request.index:06}_{place}",
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }


def _usage(reply: Reply) -> Mapping[str, object] | None:
    """The whole, and parts of it in the details. Audio is not told apart."""
    if not reply.usage:
        return None
    if reply.usage_body is not None:
        return reply.usage_body
    read = {"cached_tokens": reply.cache_read_tokens}
    if reply.cache_write_tokens:  # only models whose writes are billed report them
        read["cache_write_tokens"] = reply.cache_write_tokens
    return {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": read,
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
        "total_tokens": reply.tokens.total_tokens,
    }


OPENAI_RESPONSES = WireFormat(
    api="openai-responses",
    endpoints=("/responses",),
    answer=_answer,
    stream=_stream,
    failure=OPENAI_CHAT.failure,
    failure_in_stream=_failure_in_stream,
)

"""What a wire format is: how one provider's API spells a reply.

A format is a file of its own with pure functions and one `WireFormat` that names them. To add one, write
the file and list its format in ``server.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request

__all__ = ["Part", "WireFormat", "dump", "model_in_body", "sse", "stream_in_body"]


class Part(NamedTuple):
    """Bytes of a streamed answer that go out together."""

    data: bytes
    is_chunk: bool = False
    """Whether it is a piece of the answer: text, or a tool call's arguments. Others only frame it."""


def model_in_body(_path: str, body: Mapping[str, object]) -> str:
    """The requested model, where the body names it."""
    return str(body.get("model", ""))


def stream_in_body(_path: str, body: Mapping[str, object]) -> bool:
    """Whether a stream is asked for, where the body says so."""
    return body.get("stream") is True


def _no_headers(_status: int) -> Mapping[str, str]:
    """Of an API whose errors have no headers of their own."""
    return {}


def _no_stream(_reply: Reply, _request: Request) -> Iterable[Part]:
    """Of an API without streams."""
    return ()


def _no_event(_message: str) -> bytes:
    """Of an API without streams."""
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFormat:
    """One API of one provider."""

    api: str
    """Its name in `Request.api`."""
    endpoints: tuple[str, ...]
    """How its paths end, without a query; also for the server's message about a path that it does not
    serve."""
    answer: Callable[[Reply, Request], Mapping[str, object]]
    """The body of an answer that is not streamed."""
    failure: Callable[[int, str], Mapping[str, object]]
    """The body of an error, of its status and message."""
    failure_headers: Callable[[int], Mapping[str, str]] = _no_headers
    """The headers of an error, of its status."""
    stream: Callable[[Reply, Request], Iterable[Part]] = _no_stream
    """A streamed answer, from its first event to its last."""
    failure_in_stream: Callable[[str], bytes] = _no_event
    """The event of an error in a stream that has begun."""
    stream_type: str = "text/event-stream"
    """The content type of a streamed answer."""
    requested_model: Callable[[str, Mapping[str, object]], str] = model_in_body
    """The model that a path and a body ask for."""
    wants_stream: Callable[[str, Mapping[str, object]], bool] = stream_in_body
    """Whether a path and a body ask for a stream."""

    def serves(self, path: str) -> bool:
        """Whether a path, behind any prefix, is one of this API."""
        return path.endswith(self.endpoints)


def dump(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def sse(value: object, event: str = "") -> bytes:
    """One server-sent event with JSON in it."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {dump(value)}\n\n".encode()

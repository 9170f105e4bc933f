"""Recorded answers: bytes that a provider once sent, sent again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Self, cast

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.testing.event_stream import (
    EVENT_STREAM,
    is_event_stream,
    reframed,
    was_event_stream,
)
from apeiros_callbacks.testing.reply import check_headers, check_status

__all__ = ["Recorded", "replay"]

_FIELDS_OF_EVENTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_OWN_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Recorded:
    r"""One answer as it is, of any API, to whatever request its turn comes.

    Unlike a `Reply` it is not adapted to what is asked: any path and method is answered, and a recorded
    stream is sent also to a client that asked for none. It goes out in one piece, with its length.

    Raises:
        ConfigError: the body is not JSON, text or bytes, or the status or a header cannot be sent.

    Example:
        >>> Recorded({"object": "list", "data": []}).content_type
        'application/json'
        >>> Recorded("data: [DONE]\n\n").content_type
        'text/event-stream'
    """

    body: Mapping[str, Any] | Sequence[Any] | str | bytes
    """Text and bytes are sent as they are: JSON, a stream of events. An object or a list is sent as JSON."""
    _: KW_ONLY
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The recorded headers, or some of them. Those that frame the body are the server's own, and that of a
    compression is left out unless the body is bytes: text and JSON are not compressed."""

    def __post_init__(self) -> None:
        check_status(self.status)
        check_headers(self.headers)
        _ = self.data  # raises what is wrong with the body

    @property
    def data(self) -> bytes:
        """What is sent."""
        return _encoded(self.body)

    @property
    def content_type(self) -> str:
        """As the headers have it; else found by looking at the body."""
        given = [value for name, value in self.headers.items() if name.lower() == "content-type"]
        return given[0] if given else _content_type_of(self.data)

    @property
    def other_headers(self) -> dict[str, str]:
        """The headers that are sent beside the content type and those that frame the body."""
        own = _OWN_HEADERS if isinstance(self.body, bytes) else {*_OWN_HEADERS, "content-encoding"}
        return {name: value for name, value in self.headers.items() if name.lower() not in own}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The answer of one recorded call.

        A Bedrock stream was often recorded as text, which spoils the lengths and checksums between its
        events: these are made anew around the JSON of each event.

        Args:
            record: ``response``, the JSON body, or ``raw``, the text of a stream; and a ``status``, 200
                if there is none. What else it holds is not looked at.

        Raises:
            ConfigError: it has neither body, or the stream cannot be put together again.
        """
        raw, response = record.get("raw"), record.get("response")
        if isinstance(raw, str) and was_event_stream(raw):
            raw = reframed(raw)
        body = response if raw is None else raw
        if body is None:
            raise ConfigError("a record needs the body of its answer as 'response' or as 'raw'")
        return cls(body, status=record.get("status", 200))


def replay(lines: Iterable[str]) -> list[Recorded]:
    r"""The answers of recorded calls, as a script for `ScriptedServer`: request by request, in order.

    Args:
        lines: JSON objects, each a record as in `Recorded.from_record`; an open file will do.

    Raises:
        ConfigError: a line is no such record.

    Example:
        >>> answers = replay(['{"status": 429, "response": {"error": {"message": "slow down"}}}\n'])
        >>> answers[0].status, answers[0].data
        (429, b'{"error":{"message":"slow down"}}')
    """
    answers: list[Recorded] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ConfigError("a record must be a JSON object")
            answers.append(Recorded.from_record(cast("dict[str, Any]", record)))
        except ValueError as error:
            raise ConfigError(f"line {number}: {error}") from None
    return answers


def _encoded(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    if not isinstance(body, str | Mapping | list | tuple):
        raise ConfigError(f"the body of a Recorded must be JSON data, text or bytes, got {body!r}")
    try:
        if isinstance(body, str):
            return body.encode()
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the body of a Recorded cannot be sent: {error}") from None


def _content_type_of(data: bytes) -> str:
    start = data.lstrip()
    if start.startswith((b"{", b"[")):
        return "application/json"
    if start.startswith(_FIELDS_OF_EVENTS):
        return "text/event-stream"
    return EVENT_STREAM if is_event_stream(data) else "text/plain; charset=utf-8"

"""AWS's binary framing of streamed events (``application/vnd.amazon.eventstream``).

A message is its length and that of its headers, a checksum of both, the headers, the payload, and a
checksum of all before it: https://smithy.io/2.0/aws/amazon-eventstream.html.
"""

from __future__ import annotations

import json
import re
import struct
from zlib import crc32

from apeiros_callbacks.errors import ConfigError

__all__ = ["EVENT_STREAM", "is_event_stream", "message", "reframed", "was_event_stream"]

EVENT_STREAM = "application/vnd.amazon.eventstream"

_STRING = 7  # the type of a header's value
_PRELUDE = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")
_NAME = re.compile(r":(event|exception)-type\x07\x00(.)", re.DOTALL)


def message(name: str, payload: bytes, *, kind: str = "event") -> bytes:
    """One message with JSON in it.

    Args:
        name: the type of the event or of the exception, at most 255 characters.
        payload: JSON.
        kind: ``"event"`` or ``"exception"``.
    """
    headers = b"".join(
        struct.pack(">B", len(key)) + key + struct.pack(">BH", _STRING, len(value)) + value
        for key, value in (
            (f":{kind}-type".encode(), name.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", kind.encode()),
        )
    )
    around = _PRELUDE.size + 2 * _CHECKSUM.size
    prelude = _PRELUDE.pack(around + len(headers) + len(payload), len(headers))
    framed = prelude + _CHECKSUM.pack(crc32(prelude)) + headers + payload
    return framed + _CHECKSUM.pack(crc32(framed))


def is_event_stream(data: bytes) -> bool:
    """Whether it begins with a message of this framing."""
    return len(data) > _PRELUDE.size and data[8:12] == _CHECKSUM.pack(crc32(data[:8]))


def was_event_stream(text: str) -> bool:
    """Whether it is what is left of this framing when its bytes are taken for text."""
    return ":message-type\x07" in text and _NAME.search(text) is not None


def reframed(text: str) -> bytes:
    """The messages of a stream that was recorded as text, with new lengths and checksums.

    As text the lengths and checksums are lost; the types of the events and their JSON are not.

    Raises:
        ConfigError: the JSON of an event is damaged too.
    """
    read = json.JSONDecoder()
    messages: list[bytes] = []
    end = 0
    while (found := _NAME.search(text, end)) is not None:
        name = text[found.end() : found.end() + ord(found[2])]
        try:
            begin = text.index("{", found.end() + len(name))
            end = read.raw_decode(text, begin)[1]
        except ValueError:
            raise ConfigError(
                f"event {len(messages) + 1} ({name!r}) of this recorded stream has no JSON that can be read"
            ) from None
        messages.append(message(name, text[begin:end].encode(), kind=found[1]))
    return b"".join(messages)

"""The width and height of an image from its first bytes. Nothing is decoded."""

from __future__ import annotations

import base64
from collections.abc import Callable

__all__ = ["image_size"]

_HEAD, _JPEG_HEAD = 64, 65_536
"""Characters of base64 that are read. In a JPEG the size may stand behind a preview and a colour profile."""

_STANDARD = str.maketrans("-_", "+/")
"""Google's client writes the URL-safe alphabet."""


def image_size(base64_prefix: str) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG, GIF or WebP, or None when it cannot be told. Never raises.

    Args:
        base64_prefix: the image as base64 or as a ``data:`` URL; the first 64 kB are enough.

    Example:
        >>> image_size("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAABAAAAAMACAIAAAA=")
        (1024, 768)
    """
    start = 0
    if base64_prefix.startswith("data:"):
        start = base64_prefix.find(",", 0, 256) + 1
    head = base64_prefix[start : start + _HEAD]
    if head.startswith(("/9j", "_9j")):
        head = base64_prefix[start : start + _JPEG_HEAD]
    head = "".join(head.split()).translate(_STANDARD)
    try:
        data = base64.b64decode(head[: len(head) // 4 * 4])
        for magic, read in _FORMATS:
            if data.startswith(magic):
                size = read(data)
                return size if size is not None and min(size) > 0 else None
    except (ValueError, IndexError):
        pass
    return None


def _png(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _gif(data: bytes) -> tuple[int, int] | None:
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # a start of frame
            if len(data) < at + 9:
                return None
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    if len(data) < 30 or data[8:12] != b"WEBP":
        return None
    form = data[12:16]
    if form == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


_FORMATS: tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)

"""What is known of a document that is sent inline: its text, or how many pages it has."""

from __future__ import annotations

import base64
import re

__all__ = ["inline_text", "pdf_pages"]

_MOST = 4_000_000
"""Characters of base64 that are decoded: 3 MB, about 10 ms."""

_TEXTUAL = re.compile(r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|x-yaml|toml|javascript|sql)$")
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_COUNT = re.compile(
    rb"/Type\s*/Pages\b[^>]{0,200}?/Count\s+(\d{1,6})|/Count\s+(\d{1,6})[^>]{0,200}?/Type\s*/Pages\b"
)
_STANDARD = str.maketrans("-_", "+/")


def inline_text(mime: str, data: str) -> str | None:
    """The text of a text file; None where it is no text file, or is not here.

    Args:
        mime: its media type, where it is known.
        data: base64, a ``data:`` URL, or the text itself.

    Example:
        >>> inline_text("text/plain", "SGVsbG8=")
        'Hello'
        >>> inline_text("", "data:text/csv;base64,YSxi")
        'a,b'
    """
    mime, body = _parts(mime, data)
    if not _TEXTUAL.match(mime) or body.startswith(("http://", "https://")):
        return None
    decoded = _decoded(body)
    if decoded is None:
        return body
    try:
        return decoded.decode()
    except UnicodeDecodeError:
        return body


def pdf_pages(data: str) -> int | None:
    """The pages of a PDF in base64 or a ``data:`` URL; None where they cannot be told cheaply.

    Newer files keep their pages in compressed streams, where nothing short of a PDF library finds them.
    """
    _, body = _parts("", data)
    if not body.startswith("JVBERi") or len(body) > _MOST:  # %PDF-
        return None
    content = _decoded(body)
    if content is None:
        return None
    counts = [int(one or other) for one, other in _COUNT.findall(content)]
    return max(counts, default=0) or len(_PAGE.findall(content)) or None


def _parts(mime: str, data: str) -> tuple[str, str]:
    """The media type in small letters and what follows it, of data that may be a ``data:`` URL."""
    if data.startswith("data:"):
        head, comma, body = data.partition(",")
        if comma:
            return head[5:].partition(";")[0].lower() or mime.lower(), body
    return mime.partition(";")[0].strip().lower(), data


def _decoded(body: str) -> bytes | None:
    try:
        return base64.b64decode("".join(body.split()).translate(_STANDARD), validate=True)
    except ValueError:
        return None

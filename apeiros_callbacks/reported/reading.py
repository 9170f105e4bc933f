"""A report of usage as numbers: what is certain of it, and what cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apeiros_callbacks.usage import MOST_TOKENS, Usage

__all__ = ["Reading", "reading", "tokens"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a report says. `usage` is None unless both of its sides are certain."""

    usage: Usage | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def tokens(value: Any) -> int | None:
    """A count, if it can be one: a whole number of zero or more, also as a float such as ``12.0``."""
    if value is None:
        return None
    if value.__class__ is int:
        return value if 0 <= value <= MOST_TOKENS else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST_TOKENS else None


def reading(
    input_tokens: object,
    output_tokens: object,
    *,
    cache_read: object = None,
    cache_write: object = None,
    cache_write_1h: object = None,
    reasoning: object = None,
    input_audio: object = None,
    output_audio: object = None,
    total: object = None,
    searches: tuple[int, int] = (0, 0),
) -> Reading:
    """Read counts that include their parts.

    A part that cannot be, or is more than its whole, is left out: its tokens are then priced like the rest
    of their side. A side that cannot be is left out too, and `Reading.usage` with it. So is an input of 0:
    no prompt is empty, so that is a report that lost its numbers (langchain-anthropic and
    langchain-openai write 0 for what is missing).

    Args:
        input_tokens: all tokens read.
        output_tokens: all tokens written.
        cache_read: the part of the input that came from a cache.
        cache_write: the part of the input that went into one.
        cache_write_1h: the part of that which stays an hour.
        reasoning: the part of the output that is reasoning.
        input_audio: the part of the input that is audio.
        output_audio: the part of the output that is audio.
        total: the sum that the provider gives; it tells reasoning that stands beside the output (xAI).
        searches: how many web searches and file searches were reported.
    """
    read, written = tokens(input_tokens) or None, tokens(output_tokens)
    if read is None or written is None:
        return Reading(None, read, written)
    if not (cache_read or cache_write or reasoning or input_audio or output_audio):
        usage = Usage(
            input_tokens=read,
            output_tokens=written,
            web_searches=searches[0],
            file_searches=searches[1],
        )
        return Reading(usage, read, written)  # the ordinary report, on the path of every call
    thought = tokens(reasoning) or 0
    if thought and tokens(total) == read + written + thought:
        written += thought
    into_cache = _part(cache_write, read)
    usage = Usage(
        input_tokens=read,
        output_tokens=written,
        cache_read_tokens=_part(cache_read, read - into_cache),
        cache_write_tokens=into_cache,
        cache_write_1h_tokens=min(tokens(cache_write_1h) or 0, into_cache),
        reasoning_tokens=_part(thought, written),
        input_audio_tokens=_part(input_audio, read),
        output_audio_tokens=_part(output_audio, written),
        web_searches=searches[0],
        file_searches=searches[1],
    )
    return Reading(usage, read, written)


def _part(value: object, whole: int) -> int:
    part = tokens(value) or 0
    return part if part <= whole else 0

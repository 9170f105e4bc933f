"""What a piece of text costs in o200k tokens, by its shape: the tables behind `approximate`.

The lengths up to twelve letters are means over real text, weighted by kind of text; the rest was fitted by
least squares on the ratio of estimate to truth, then rounded. Nothing here is taken from the vocabulary
itself, except which marks and emoji are one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

__all__: list[str] = []


def classes(default: str, *members: tuple[Iterable[int], str]) -> bytes:
    """A table for `bytes.translate`: the class of every byte."""
    table = bytearray(default.encode() * 256)
    for some, name in members:
        for byte in some:
            table[byte] = ord(name)
    return bytes(table)


# In UTF-8 the first byte of a character tells its script. With the bytes that continue a character deleted,
# a text is one byte a character: the character itself when it is ASCII, else the sign of its script.
CONTINUATION = bytes(range(0x80, 0xC0))
ASCII = bytes(range(0x80))
UPPER, LOWER, DIGITS = range(0x41, 0x5B), range(0x61, 0x7B), range(0x30, 0x3A)
MARKS = bytes(byte for byte in range(0x21, 0x7F) if not chr(byte).isalnum())
ACCENTED = bytes((*range(0xC3, 0xCA), 0xE1))
"""é, ü, ł, ş and their like; 0xE1 is above all Vietnamese."""

# Whatever shall be cut at becomes white space, so that one split() cuts.
TO_WORDS = classes(" ", (UPPER, "A"), (LOWER, "a"), (ACCENTED, "a"), (b" ", "\t"))
"""Letters keep their case, a space of the text is a tab, all else a space."""
TO_GAPS = classes(
    " ",
    (range(0x80), "c"),
    (UPPER, " "),
    (LOWER, " "),
    (DIGITS, "\v"),
    (MARKS, "."),
    (b" ", "_"),
    (b"\r\n", "n"),
    (b"\t\v\f", "t"),
)
"""What stands between words: marks, spaces, line ends, tabs, control characters; a digit is "\\v"."""
TO_DIGITS = classes(" ", (DIGITS, "0"))

KEPT = 40
"""Of a longer shape only this much is looked up, the rest is charged by the letter."""
LONGEST = 24
"""No word is longer: what is, is an identifier, random, or one character again and again."""
LETTER = 0.6
"""Tokens of each letter beyond `LONGEST`, that of random letters."""


def by_length(slope: float, *points: tuple[int, float]) -> tuple[float, ...]:
    """Tokens by length from 0 to `KEPT`: straight from point to point, then the slope."""
    table = [0.0] * (KEPT + 1)
    for (start, low), (end, high) in pairwise(points):
        for length in range(start, end + 1):
            table[length] = low + (high - low) * (length - start) / (end - start)
    last, tokens = points[-1]
    for length in range(last + 1, KEPT + 1):
        table[length] = tokens + slope * (length - last)
    return tuple(table)


def words(*tokens: float) -> tuple[float, ...]:
    """Tokens of Latin words of 1, 3, 5, 7, 9, 12, 16 and 24 letters."""
    return by_length(LETTER, *zip((1, 3, 5, 7, 9, 12, 16, LONGEST), tokens, strict=True))


# By what stands before the word, a space ("s") or something else ("g", glued), and by its case.
ENGLISH = {
    "s small": words(1, 1, 1.02, 1.04, 1.1, 1.2, 2.3, 8),
    "g small": words(1, 1.05, 1.08, 1.28, 1.3, 1.6, 3.4, 8),
    "s Capital": words(1, 1.01, 1.08, 1.1, 1.45, 1.35, 1.8, 8),
    "g Capital": words(1, 1.22, 1.17, 1.18, 1.31, 1.3, 2, 8),
    "s CAPITALS": words(1, 1.29, 1.26, 1.35, 1.5, 2.2, 3.5, 10),
    "g CAPITALS": words(1, 1.65, 1.88, 2, 2.5, 3.6, 5, 11),
    "s miXed": words(1, 1.4, 1.92, 2.4, 2.6, 2.8, 4.3, 10),
    "g miXed": words(1, 2.04, 2.94, 3.6, 3.5, 3.6, 4.5, 10),
}
EUROPEAN = ENGLISH | {
    "s small": words(1, 1, 1.18, 1.55, 1.68, 2.05, 3.05, 6.4),
    "g small": words(1, 1.05, 1.4, 1.72, 2.03, 2.9, 3.4, 6.4),
    "s Capital": words(1, 1.04, 1.27, 1.48, 2.02, 2.5, 3.3, 6.4),
    "g Capital": words(1, 1.1, 1.55, 1.9, 2.35, 2.75, 3.4, 6.4),
}
RANDOM = by_length(0.55, (1, 1.02), (2, 1.2), (3, 2), (4, 2.5))

GLUED_MARK = 0.29
"""A single mark before a letter, as in ".py": mostly one token with the word."""
GLUED_MARK_RANDOM = 0.9
NOT_ENGLISH = (
    b" de ", b" la ", b" en ", b" der ", b" und ", b" den ",
    b" di ", b" il ", b" que ", b" le ", b" van ", b" da ",
)  # fmt: skip


class Script(NamedTuple):
    """The tokens of a script: by the length of a word, or for a run and for each character in it."""

    first_bytes: frozenset[int]
    only: bytes
    by_length: tuple[float, ...] = ()
    run: float = 0.0
    character: float = 0.0


def _script(first_bytes: Iterable[int], *, run: float = 0.0, character: float) -> Script:
    signs = frozenset(first_bytes)
    return Script(signs, classes(" ", (signs, "w")), run=run, character=character)


def _alphabet(first_bytes: Iterable[int], *tokens: float) -> Script:
    """A script with words, by its words of 1, 3, 5, 8, 12 and 18 letters."""
    signs = frozenset(first_bytes)
    table = by_length(0.4, *zip((1, 3, 5, 8, 12, 18), tokens, strict=True))
    return Script(signs, classes(" ", (signs, "w")), table)


CYRILLIC, EMOJI, SYMBOLS = frozenset(range(0xD0, 0xD4)), frozenset(range(0xF0, 0xF5)), frozenset((0xE2,))
SCRIPTS = (
    _alphabet(CYRILLIC, 1.2, 1.12, 1.8, 1.96, 2.2, 4),
    _alphabet((0xCD, 0xCE, 0xCF), 1.25, 1.7, 1.85, 2.75, 3.25, 4.2),  # Greek
    _alphabet((0xD6, 0xD7), 1.1, 1.45, 2.35, 2.5, 2.9, 4.1),  # Hebrew
    _alphabet(range(0xD8, 0xDC), 1.05, 1.52, 1.66, 2.3, 2.9, 4.1),  # Arabic
    _script((0xE0,), run=0.05, character=0.39),  # Devanagari, Bengali, Thai and their neighbours
    _script(range(0xE4, 0xEA), run=0.95, character=0.61),  # Han
    _script((0xE3,), run=0.35, character=0.52),  # kana, and the marks 、 and 。
    _script(range(0xEA, 0xEE), run=1.1, character=0.37),  # Hangul
    _script((0xC2,), character=1.0),  # « ° § and the like
    _script((0xEE, 0xEF), character=1.0),  # fullwidth forms
    _script(EMOJI, character=2.0),
    _script(SYMBOLS, character=1.9),
    _script(
        (0xC0, 0xC1, *range(0xCA, 0xCD), 0xD4, 0xD5, *range(0xDC, 0xE0), *range(0xF5, 0x100)), character=2.0
    ),
)
QUOTE = 0.6
"""Tokens of curly quotes, dashes and dots, which often join a neighbour; other symbols are two."""
UKRAINIAN_I = 0.9
"""Added for each dotted i: Ukrainian is cut finer than Russian."""
DENSE_ACCENTS = 1.8
"""Added for each accented letter beyond one in 25, up to one in 10: Polish, Turkish, Vietnamese."""

COMMON_EMOJI = re.compile("[😀😁😂😃😄😅😉😊😍😎😘😭🔥👍🙏💕]")
"""One token each, where others are two."""
RARE_EMOJI = re.compile(
    "[\U0001f540-\U0001f5ff\U0001f6c0-\U0001f8ff\U0001f980-\U0001faff\U00020000-\U0003ffff]"
)
"""Three tokens each; rare ideographs too."""
RULE_MARKS = "-=*#_./~+"
"""Of these long runs are in the vocabulary, about 64 to a token, as in a line under a heading."""
RULES = tuple(
    (mark.encode() * 4, re.compile(re.escape(mark.encode() * 4) + re.escape(mark.encode()) + b"*"))
    for mark in RULE_MARKS
)
"""Four of a mark, and a search for four or more, which is fast because it begins with the four."""
REPEATED_MARKS = tuple(bytes([mark]) * 16 for mark in MARKS if chr(mark) not in RULE_MARKS)
"""Sixteen of each other mark."""

"""Reading plain data whose shape is another library's to change: what does not fit is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["count", "items", "mapping", "text"]

_EMPTY: Mapping[str, Any] = {}


def mapping(value: object) -> Mapping[str, Any]:
    """The value, if it is a mapping; an empty one otherwise."""
    if value.__class__ is dict:  # nearly always, and asked for many times in each call
        return cast("Mapping[str, Any]", value)
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else _EMPTY


def items(value: object) -> Sequence[Any]:
    """The value, if it is a list or a tuple; an empty one otherwise."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()


def text(value: object) -> str | None:
    """The value, if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """The value, if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None

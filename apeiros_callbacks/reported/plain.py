"""Reading plain data whose shape is another library's to change: what does not fit is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["count", "items", "mapping", "text"]

_EMPTY: Mapping[str, Any] = {}


# Asked for many times in each call, and nearly always answered by the first line.


def mapping(value: Any) -> Mapping[str, Any]:
    """The value, if it is a mapping; an empty one otherwise."""
    if value is None or value.__class__ is dict:
        return value or _EMPTY
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else _EMPTY


def items(value: Any) -> Sequence[Any]:
    """The value, if it is a list or a tuple; an empty one otherwise."""
    if value is None or value.__class__ is str:
        return ()
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()


def text(value: object) -> str | None:
    """The value, if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """The value, if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None

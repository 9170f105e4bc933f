"""What a setting may be, where a wrong one would be found out only by the first call, or by none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from apeiros_callbacks.errors import ConfigError

__all__ = ["by_name", "flag", "instance", "seconds"]

T = TypeVar("T")
V = TypeVar("V")


def flag(value: bool, name: str) -> bool:
    """A setting that is on or off.

    Raises:
        ConfigError: it is neither; ``"False"`` and None would be taken for one of the two.
    """
    if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"{name} must be True or False, got {value!r}")
    return value


def by_name(value: Mapping[str, V] | None, name: str, example: str) -> Mapping[str, V]:
    """Settings by name; none of them where it is None.

    Raises:
        ConfigError: it is no mapping.
    """
    if value is None:
        return {}
    if not isinstance(cast("object", value), Mapping):
        raise ConfigError(f"{name} must be a dict such as {example}, got {value!r}")
    return value


def instance(value: T, kind: type, name: str) -> T:
    """A setting that is an object of this package.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be {_a(kind.__name__)}, got {value!r}")
    return value


def seconds(value: float, name: str) -> float:
    """A setting that is a time in seconds, 0 or more.

    Raises:
        ConfigError: it is something else.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not is_number or not value >= 0:
        raise ConfigError(f"{name} must be seconds, 0 or more, got {value!r}")
    return value


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"

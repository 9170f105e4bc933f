"""What ``apeiros doctor`` asks of this package and of each adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Check", "check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that should hold on this machine.

    An adapter's module ``doctor`` has ``checks()``, which gives these one after the other, and
    ``versions()``, which gives the versions of the framework's packages by name.
    """

    name: str
    holds: bool | None
    """None where it cannot be told: what it needs is not installed."""
    said: str
    """What was seen, in a line."""


def check(name: str, look: Callable[[], str]) -> Check:
    """Look at one thing.

    Args:
        name: what it is.
        look: gives what was seen; raises `AssertionError` with what was seen where it does not hold, and
            `ModuleNotFoundError` where something it needs is not installed.

    Example:
        >>> check("sum", lambda: "1 + 1 is 2")
        Check(name='sum', holds=True, said='1 + 1 is 2')
    """
    try:
        return Check(name, True, look())
    except ModuleNotFoundError as missing:
        return Check(name, None, f"not looked at: {missing.name} is not installed")
    except AssertionError as seen:
        return Check(name, False, str(seen))
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is what was to be found out
        return Check(name, False, f"{type(problem).__name__}: {problem}")

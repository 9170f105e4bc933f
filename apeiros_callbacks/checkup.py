"""What ``apeiros doctor`` asks of this package and of each adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from apeiros_callbacks.session import Session

__all__ = [
    "ATTEMPTS",
    "BUDGET",
    "FIT",
    "QUESTION",
    "READ",
    "WRITTEN",
    "Check",
    "check",
    "in_turn",
    "refuses_and_records",
    "seen",
]  # fmt: skip

ATTEMPTS: Final = 6
"""How often each way to call is tried."""
FIT: Final = 3
"""How many of these fit `BUDGET`."""
BUDGET: Final = 0.35
"""US dollars."""
QUESTION: Final = "word " * 40_000
READ, WRITTEN = 40_000, 50
"""Tokens of each answer: on gpt-4o, $0.1005."""


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


def in_turn(call: Callable[[], object]) -> None:
    """Call as often as each way is tried, until something is raised."""
    for _ in range(ATTEMPTS):
        call()


def refuses_and_records(session: Session, sent: int, refused: bool) -> str:
    """What became of `ATTEMPTS` calls of a way, within a budget that `FIT` of them fit.

    Args:
        session: whose budget it was.
        sent: how many calls reached the model.
        refused: whether the caller saw a refusal.

    Raises:
        AssertionError: none was refused before it was sent, or the entries are not those of what was sent.
    """
    entries = session.entries()
    recorded = [entry for entry in entries if entry.kind == "llm"]
    spent = sum((entry.amount for entry in entries if entry.amount is not None), session.spent * 0)
    said = f"{sent} of {ATTEMPTS} sent, {len(recorded)} recorded, ${session.spent} of ${BUDGET} spent"
    are_reported = {entry.usage_certainty for entry in recorded} == {"reported"}
    is_whole = len(recorded) == sent and spent == session.spent
    return seen(said, refused and 1 <= sent <= FIT and are_reported and is_whole)


def seen(said: str, holds: bool) -> str:
    """What was seen.

    Raises:
        AssertionError: it does not hold.
    """
    if not holds:
        raise AssertionError(said)
    return said

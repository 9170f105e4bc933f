"""What a detector sees, and what a detector is."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, Protocol, TypeAlias

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.finding import Finding
from apeiros_callbacks.scopes import Account

__all__ = ["Attempt", "Detector", "Lane", "Step", "share_of"]

Lane: TypeAlias = tuple[str | None, str | None, str]
"""Agent and conversation; and the kind, of what is no step of a conversation: an embedding."""


class Attempt(NamedTuple):
    """A call that is about to be sent, as detectors see it."""

    lane: Lane
    prompt: int
    """A keyed hash of the whole prompt."""
    step: int | None
    repeats: int
    """How often this prompt ran in a row, this time included."""
    repeat_cost: Decimal
    """US dollars that it cost the last time."""


class Step(NamedTuple):
    """A line that was written, as detectors see it."""

    lane: Lane
    prompt: int
    """A keyed hash of the whole prompt."""
    entry: Entry
    before: Entry | None
    """The LLM call before it in its lane."""
    tool: str | None
    """The last tool that ran since."""
    accounts: tuple[Account, ...]
    """The scopes that the line was charged to."""
    tokens: int
    """Read and written."""
    is_llm: bool
    """An LLM call that was sent and used tokens."""


class Detector(Protocol):
    """Looks at the calls of one session. Never raises; is called under one lock, so it must be quick."""

    type: str

    def opened(self, attempt: Attempt) -> Finding | None:
        """Look at a call that is about to be sent."""

    def closed(self, step: Step) -> Finding | None:
        """Look at a line that was written."""


def share_of(entry: Entry, tokens: int) -> Decimal:
    """The part of an entry's dollars that falls to some of its tokens, all tokens taken alike."""
    total = entry.usage.total_tokens
    if not entry.amount or total <= 0:
        return Decimal(0)
    return entry.amount * min(tokens, total) / total

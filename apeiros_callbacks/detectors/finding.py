"""A finding, what a detector sees, and what a detector is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol, TypeAlias

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.scopes import Account

__all__ = ["Attempt", "Detector", "Finding", "Lane", "Severity", "Step", "share_of"]

Severity: TypeAlias = Literal["notice", "warning", "critical"]

Lane: TypeAlias = tuple[str | None, str | None, str]
"""Agent and conversation; and the kind, of what is no step of a conversation: an embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector saw. One that is seen again updates its line: the count, the peak, the waste."""

    type: str
    """For instance ``"retry_loop"``."""
    severity: Severity
    message: str
    """One or two sentences for a person."""
    numbers: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    """What the message's numbers are, by name; money as text."""
    wasted: Decimal = Decimal(0)
    """US dollars that the pattern cost so far, as far as it can be told."""
    agent: str | None = None
    step: int | None = None
    tool: str | None = None
    count: int = 1
    """How often it was seen."""
    peak: float = 0.0
    """The worst value of what the detector measures."""

    @property
    def line(self) -> tuple[str, str | None, str | None]:
        """Findings of one line are one line."""
        return (self.type, self.agent, self.tool)

    def again(self, later: Finding) -> Finding:
        """This line after it was seen once more."""
        worst = later if later.peak >= self.peak else self
        return Finding(
            type=later.type,
            severity=later.severity,
            message=worst.message,
            numbers=worst.numbers,
            wasted=self.wasted + later.wasted,
            agent=later.agent,
            step=later.step,
            tool=later.tool,
            count=self.count + later.count,
            peak=worst.peak,
        )

    def as_dict(self) -> dict[str, object]:
        """Plain data that JSON takes, as ``result["warnings"]`` lists it."""
        return {
            "type": self.type,
            "severity": self.severity,
            "message": self.message,
            "numbers": dict(self.numbers),
            "wasted": float(self.wasted),
            "agent": self.agent,
            "step": self.step,
            "tool": self.tool,
            "count": self.count,
        }


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

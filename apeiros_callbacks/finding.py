"""What a detector saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

__all__ = ["Finding", "Severity"]

Severity: TypeAlias = Literal["notice", "warning", "critical"]


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

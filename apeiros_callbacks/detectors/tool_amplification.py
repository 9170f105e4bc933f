"""``tool_amplification``: a tool call multiplies the tokens by five or more."""

from __future__ import annotations

from typing import NamedTuple

from apeiros_callbacks.detectors.finding import Finding, Lane, Step, share_of
from apeiros_callbacks.recent import Recent

__all__ = ["ToolAmplification"]

FACTOR = 5


class _Before(NamedTuple):
    tokens: int
    tool: str | None


class ToolAmplification:
    """Compares the steps before and after a tool ran."""

    type = "tool_amplification"

    def __init__(self) -> None:
        self._before: Recent[Lane, _Before] = Recent()

    def opened(self, lane: Lane, prompt: int) -> Finding | None:
        """Nothing: the tokens are known when the provider reports them."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Remember a tool that ran; say when the step after it took five times the tokens, or more."""
        entry = step.entry
        before = self._before.get(step.lane)
        if entry.kind == "tool":
            self._before.set(step.lane, _Before(before.tokens if before else 0, entry.model))
            return None
        now = entry.usage.total_tokens
        if entry.kind != "llm" or entry.cached or not now:
            return None
        self._before.set(step.lane, _Before(now, None))
        if before is None or before.tool is None or not before.tokens or now < before.tokens * FACTOR:
            return None
        return Finding(
            type=self.type,
            severity="notice",
            message=(
                f"the tool {before.tool} multiplied the tokens of a step by {now / before.tokens:.1f}, "
                f"from {before.tokens:,} to {now:,}."
            ),
            numbers={"before": before.tokens, "after": now},
            wasted=share_of(entry, now - before.tokens),
            agent=entry.agent,
            step=entry.step,
            tool=before.tool,
            peak=now / before.tokens,
        )

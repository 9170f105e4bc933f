"""``tool_amplification``: a tool call multiplies the tokens by five or more."""

from __future__ import annotations

from apeiros_callbacks.detectors.detector import Attempt, Step, share_of
from apeiros_callbacks.finding import Finding

__all__ = ["ToolAmplification"]

FACTOR = 5


class ToolAmplification:
    """Compares the steps before and after a tool ran."""

    type = "tool_amplification"

    def opened(self, attempt: Attempt) -> Finding | None:
        """Nothing: the tokens are known when the provider reports them."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Say when the step after a tool took five times the tokens of the one before it, or more."""
        entry, last = step.entry, step.before
        if last is None or step.tool is None or not step.is_llm:
            return None
        now, before = step.tokens, last.usage.total_tokens
        if now < before * FACTOR:
            return None
        return Finding(
            type=self.type,
            severity="notice",
            message=(
                f"the tool {step.tool} multiplied the tokens of a step by {now / before:.1f}, "
                f"from {before:,} to {now:,}."
            ),
            numbers={"before": before, "after": now},
            wasted=share_of(entry, now - before),
            agent=entry.agent,
            step=entry.step,
            tool=step.tool,
            peak=now / before,
        )

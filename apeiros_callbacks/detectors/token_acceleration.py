"""``token_acceleration``: the tokens of a step are double those of the step before."""

from __future__ import annotations

from apeiros_callbacks.detectors.detector import Attempt, Step, share_of
from apeiros_callbacks.finding import Finding

__all__ = ["TokenAcceleration"]

FACTOR = 2


class TokenAcceleration:
    """Compares all tokens of a step with those of the step before."""

    type = "token_acceleration"

    def opened(self, attempt: Attempt) -> Finding | None:
        """Nothing: the tokens are known when the provider reports them."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Say when a step took twice the tokens of the last, or more."""
        entry, last = step.entry, step.before
        if last is None or not step.is_llm:
            return None
        now, before = step.tokens, last.usage.total_tokens
        if now < before * FACTOR:
            return None
        return Finding(
            type=self.type,
            severity="notice",
            message=f"a step took {now / before:.1f} times the tokens of the last, {before:,} then {now:,}.",
            numbers={"before": before, "after": now},
            wasted=share_of(entry, now - before),
            agent=entry.agent,
            step=entry.step,
            peak=now / before,
        )

"""``token_acceleration``: the tokens of a step are double those of the step before."""

from __future__ import annotations

from apeiros_callbacks.detectors.finding import Finding, Lane, Step, share_of
from apeiros_callbacks.recent import Recent

__all__ = ["TokenAcceleration"]

FACTOR = 2


class TokenAcceleration:
    """Compares all tokens of a step with those of the step before."""

    type = "token_acceleration"

    def __init__(self) -> None:
        self._tokens: Recent[Lane, int] = Recent()

    def opened(self, lane: Lane, prompt: int) -> Finding | None:
        """Nothing: the tokens are known when the provider reports them."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Say when a step took twice the tokens of the last, or more."""
        entry = step.entry
        now = entry.usage.total_tokens
        if entry.kind != "llm" or entry.cached or not now:
            return None
        before = self._tokens.get(step.lane)
        self._tokens.set(step.lane, now)
        if not before or now < before * FACTOR:
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

"""``context_bloat``: the context grows by more than 20% in a step."""

from __future__ import annotations

from apeiros_callbacks.detectors.detector import Attempt, Step, share_of
from apeiros_callbacks.finding import Finding

__all__ = ["ContextBloat"]

GROWTH = 1.2


class ContextBloat:
    """Compares the input tokens of a step with those of the step before."""

    type = "context_bloat"

    def opened(self, attempt: Attempt) -> Finding | None:
        """Nothing: the input is known when the provider reports it."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Say when the input grew by more than a fifth."""
        entry, last = step.entry, step.before
        if last is None or not step.is_llm:
            return None
        now, before = entry.usage.input_tokens, last.usage.input_tokens
        if not before or now <= before * GROWTH:
            return None
        growth = now / before - 1
        return Finding(
            type=self.type,
            severity="notice",
            message=f"the context grew by {growth:.0%} in one step, from {before:,} to {now:,} tokens.",
            numbers={"before": before, "after": now},
            wasted=share_of(entry, now - before),
            agent=entry.agent,
            step=entry.step,
            peak=growth,
        )

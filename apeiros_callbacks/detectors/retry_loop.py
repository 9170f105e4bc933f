"""``retry_loop``: the same prompt runs three or more times in a row."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from apeiros_callbacks.detectors.finding import Finding, Lane, Step
from apeiros_callbacks.recent import Recent

__all__ = ["RetryLoop"]

REPEATS = 3


class _Run(NamedTuple):
    prompt: int
    count: int
    last_cost: Decimal


class RetryLoop:
    """Counts equal prompts in a row; it sees the third before it is sent."""

    type = "retry_loop"

    def __init__(self) -> None:
        self._runs: Recent[Lane, _Run] = Recent()

    def opened(self, lane: Lane, prompt: int) -> Finding | None:
        """Count the call; from the third equal prompt on, say so."""
        run = self._runs.get(lane)
        if run is None or run.prompt != prompt:
            self._runs.set(lane, _Run(prompt, 1, Decimal(0)))
            return None
        count = run.count + 1
        self._runs.set(lane, _Run(prompt, count, Decimal(0)))
        if count < REPEATS:
            return None
        return Finding(
            type=self.type,
            severity="notice",
            message=f"the same prompt runs {count} times in a row.",
            numbers={"repeats": count},
            wasted=run.last_cost,
            agent=lane[0],
            peak=count,
        )

    def closed(self, step: Step) -> Finding | None:
        """Note what the repeat cost; an answer from a cache is no repeat."""
        run = self._runs.get(step.lane)
        if run is not None and step.entry.kind == "llm" and run.prompt == step.prompt:
            count = run.count - 1 if step.entry.cached else run.count
            self._runs.set(step.lane, _Run(run.prompt, count, step.entry.amount or Decimal(0)))
        return None

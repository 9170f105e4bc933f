"""``retry_loop``: the same prompt runs three or more times in a row."""

from __future__ import annotations

from apeiros_callbacks.detectors.detector import Attempt, Step
from apeiros_callbacks.finding import Finding

__all__ = ["RetryLoop"]

REPEATS = 3


class RetryLoop:
    """Looks at equal prompts in a row; it sees the third before it is sent."""

    type = "retry_loop"

    def opened(self, attempt: Attempt) -> Finding | None:
        """From the third equal prompt on, say so."""
        if attempt.repeats < REPEATS:
            return None
        return Finding(
            type=self.type,
            severity="notice",
            message=f"the same prompt runs {attempt.repeats} times in a row.",
            numbers={"repeats": attempt.repeats},
            wasted=attempt.repeat_cost,
            agent=attempt.lane[0],
            step=attempt.step,
            peak=attempt.repeats,
        )

    def closed(self, step: Step) -> Finding | None:
        """Nothing: it was said before the call was sent."""
        return None

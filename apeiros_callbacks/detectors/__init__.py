"""What looks at the calls of a session and says when a run goes wrong.

    detector.py             what a detector sees, and the Detector protocol
    lanes.py                the step before, for each agent and conversation
    budget_exceeded.py      the session's cost crosses its budget, or a call is refused because it would
    retry_loop.py           the same prompt runs three or more times in a row
    context_bloat.py        the context grows by more than 20% in a step
    token_acceleration.py   the tokens of a step are double those of the step before
    tool_amplification.py   a tool call multiplies the tokens by five or more

A step is one LLM call; steps are compared within a lane, that is one agent in one conversation.
"""

from __future__ import annotations

from apeiros_callbacks.detectors.budget_exceeded import BudgetExceededDetector
from apeiros_callbacks.detectors.context_bloat import ContextBloat
from apeiros_callbacks.detectors.detector import Attempt, Detector, Step
from apeiros_callbacks.detectors.lanes import Lanes
from apeiros_callbacks.detectors.retry_loop import RetryLoop
from apeiros_callbacks.detectors.token_acceleration import TokenAcceleration
from apeiros_callbacks.detectors.tool_amplification import ToolAmplification
from apeiros_callbacks.finding import Finding, Severity

__all__ = [
    "DETECTOR_TYPES",
    "Attempt",
    "BudgetExceededDetector",
    "Detector",
    "Finding",
    "Lanes",
    "Severity",
    "Step",
    "built_in_detectors",
]

DETECTOR_TYPES = (
    "budget_exceeded",
    "retry_loop",
    "context_bloat",
    "token_acceleration",
    "tool_amplification",
)


def built_in_detectors() -> tuple[Detector, ...]:
    """One of each detector that looks at steps."""
    return (RetryLoop(), ContextBloat(), TokenAcceleration(), ToolAmplification())

"""What a refusal says where ``on={…: "pause"}`` asks for a person: nothing in LlamaIndex can wait for one."""

from __future__ import annotations

from apeiros_callbacks import Session
from apeiros_callbacks.errors import BudgetExceeded, Refused, StoppedByFinding

__all__ = ["say_what_to_do"]

_INSTEAD = (
    'on={{"{0}": "pause"}} cannot wait for a person in LlamaIndex. Give on={{"{0}": ask}} a function that '
    'asks and returns "warn" to go on'
)
_OR_RAISE = ", or catch this, raise the budget and call again."


def say_what_to_do(session: Session, refusal: Refused) -> None:
    """Add to a refusal what to do instead of the pause that was asked for."""
    if isinstance(refusal, BudgetExceeded):
        said = _INSTEAD.format("budget_exceeded") + _OR_RAISE
        if session.action_on("budget_exceeded") == "pause" and said not in refusal.advice:
            refusal.advice = f"{refusal.advice} {said}".lstrip()
    elif isinstance(refusal, StoppedByFinding):
        kind = refusal.finding.type
        said = f"{_INSTEAD.format(kind)}."
        if session.action_on(kind) == "pause" and said not in getattr(refusal, "__notes__", ()):
            refusal.add_note(said)

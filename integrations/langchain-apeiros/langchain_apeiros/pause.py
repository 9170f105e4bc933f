"""Asking a person before a call is refused: LangGraph's interrupt."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

from apeiros_callbacks import Budget, Session
from apeiros_callbacks.errors import BudgetExceeded, Refused

__all__ = ["ask_for_more"]

_NEEDED = 'on={…: "pause"} needs a LangGraph run with a checkpointer and a thread_id to wait for a person.'


def ask_for_more(session: Session, refusal: Refused, root: str) -> None:
    """Interrupt the graph with what is refused; once it is resumed, follow the answer.

    A number of dollars or a `Budget` is the new budget; True goes on after a finding; anything else refuses.

    Raises:
        Refused: the same, when the answer is no, or nobody can be asked.
        langgraph.errors.GraphInterrupt: the first time.
    """
    types: Any = sys.modules.get("langgraph.types")
    if types is None or not _can_wait():
        if isinstance(refusal, BudgetExceeded):
            refusal.advice = f"{refusal.advice} {_NEEDED}".lstrip()
        else:
            refusal.add_note(_NEEDED)
        raise refusal
    asked = {
        "type": "budget_exceeded" if isinstance(refusal, BudgetExceeded) else "finding",
        "message": str(refusal),
        "session_id": session.id,
        "spent": str(session.spent),
    }
    answer = types.interrupt(asked)
    if isinstance(answer, Budget | int | float | Decimal) and not isinstance(answer, bool):
        session.raise_budget(answer)
    elif answer is not True or isinstance(refusal, BudgetExceeded):
        raise refusal
    session.forgive(root)


def _can_wait() -> bool:
    from langgraph.config import get_config

    try:
        configurable = get_config().get("configurable", {})
    except RuntimeError:  # outside of a graph
        return False
    return configurable.get("__pregel_checkpointer") is not None

"""A refusal that stays one under LangGraph."""

from __future__ import annotations

import sys
from typing import Any

from apeiros_callbacks.errors import Refused

__all__ = ["for_graphs"]


def for_graphs(refusal: Refused) -> Refused:
    """Make a refusal a ``GraphBubbleUp`` as well, where LangGraph is in use.

    LangGraph's and LangChain's retry, fallback and tool-error middleware let a ``GraphBubbleUp`` through
    and swallow or retry any other exception (langgraph 1.2, langchain 1.4). Where LangGraph was not
    imported no graph is running, and the refusal stays as it is.
    """
    errors = sys.modules.get("langgraph.errors")
    bubble: Any = getattr(errors, "GraphBubbleUp", None)
    if bubble is None or isinstance(refusal, bubble):
        return refusal
    # Same instance, so that its numbers and message stay: both classes are plain exceptions.
    refusal.__class__ = _bubbling(type(refusal), bubble)
    return refusal


_made: dict[tuple[type[Refused], type[Exception]], type[Refused]] = {}


def _bubbling(refused: type[Refused], bubble: type[Exception]) -> type[Refused]:
    made = _made.get((refused, bubble))
    if made is None:
        fields = {"__module__": __name__, "__doc__": refused.__doc__}
        made = _made[refused, bubble] = type(refused.__name__, (refused, bubble), fields)
    return made

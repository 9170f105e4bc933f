"""A refusal that stays one under LangGraph."""

from __future__ import annotations

import sys
from functools import cache
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


@cache
def _bubbling(refused: type[Refused], bubble: type[Exception]) -> type[Refused]:
    return type(refused.__name__, (refused, bubble), {"__module__": __name__, "__doc__": refused.__doc__})

"""A refusal that stays one under LangGraph."""

from __future__ import annotations

import logging
import sys
from typing import Any

from apeiros_callbacks.errors import Refused

__all__ = ["for_graphs", "is_no_refusal"]


def is_no_refusal(record: logging.LogRecord) -> bool:
    """Leave refusals out of LangChain's log, as a filter of its callback managers' logger.

    LangChain logs each error of a handler as "Error in ApeirosHandler.on_chat_model_start callback". A
    refusal is no failure of the handler; it is raised to the caller, and is a finding of the session.
    """
    args = record.args
    if not isinstance(args, tuple) or len(args) != 3 or args[1] not in _HOOKS:
        return True
    return not str(args[2]).startswith(_REFUSALS)


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
        fields = {"__module__": __name__, "__doc__": refused.__doc__, "__reduce__": _as_plain(refused)}
        made = _made[refused, bubble] = type(refused.__name__, (refused, bubble), fields)
    return made


_HOOKS = frozenset({
    "on_chat_model_start", "on_llm_start", "on_llm_new_token", "on_stream_event", "on_tool_start",
    "on_chain_start",
})  # fmt: skip
_REFUSALS = (*(f"{refused.__name__}(" for refused in Refused.__subclasses__()), "GraphInterrupt(")


def _as_plain(refused: type[Refused]) -> Any:
    """A refusal goes to another process as the plain one: its class is made here and now."""

    def reduce(refusal: Refused) -> object:
        own: Any = refused.__reduce__(refusal)
        return (refused, *own[1:]) if own[0] is type(refusal) else own

    return reduce

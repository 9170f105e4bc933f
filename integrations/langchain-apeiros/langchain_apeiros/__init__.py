"""A hard dollar limit on a LangChain run, and a right ledger of it.

handler.py      ApeirosHandler: LangChain's events, translated
tracker.py      the session's calls, driven by what the handler is told
starts.py       from the start of a run to a call
live.py         the runs that are open, and how to tell that one is over
ended.py        how a call ended, told from its error
runs.py         roots and agents
prompts.py      messages and tool schemas, to be recognised and counted
endpoints.py    whom a call goes to
usage/          what an answer says about its usage
aborts.py       a refusal that stays one under LangGraph
routing.py      with_downgrade: a ladder of models that behaves as one
middleware.py   ApeirosMiddleware, for ``create_agent``
embeddings.py   BudgetedEmbeddings, since LangChain's embeddings send no events
pause.py        asking a person before a call is refused
rungs.py        how a model says where on a ladder it is
alternatives.py a warning where LangChain forgets which model was chosen
ambient.py      instrument() and uninstrument(), which ``apeiros_callbacks`` calls
demo.py         what ``apeiros demo`` runs
doctor.py       what ``apeiros doctor`` tries
"""

import os
from typing import TYPE_CHECKING

from langchain_apeiros.alternatives import watch
from langchain_apeiros.ambient import instrument, uninstrument
from langchain_apeiros.embeddings import BudgetedEmbeddings
from langchain_apeiros.handler import ApeirosHandler
from langchain_apeiros.routing import with_downgrade

if TYPE_CHECKING:
    from langchain_apeiros.middleware import ApeirosMiddleware

__all__ = [
    "ApeirosHandler",
    "ApeirosMiddleware",
    "BudgetedEmbeddings",
    "instrument",
    "uninstrument",
    "with_downgrade",
]

watch()
if os.environ.get("APEIROS_INSTRUMENT") == "1":
    instrument()


def __getattr__(name: str) -> object:
    if name == "ApeirosMiddleware":
        try:
            from langchain_apeiros.middleware import ApeirosMiddleware
        except ModuleNotFoundError as missing:
            said = f"ApeirosMiddleware needs langchain: pip install langchain ({missing})"
            raise ImportError(said) from missing
        return ApeirosMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

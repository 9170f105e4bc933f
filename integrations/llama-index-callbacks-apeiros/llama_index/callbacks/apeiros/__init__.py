"""A hard dollar limit on a LlamaIndex run, and a right ledger of it.

handler.py      ApeirosHandler, which says whose budget it is
llm.py          BudgetedLLM: a model, or a ladder of them, whose streams can be cut
embedding.py    BudgetedEmbedding: texts that are not in a cache, counted before they are sent
pause.py        what a refusal says where a person is to be asked
guard.py        the veto: what is asked right before a request is sent
dispatch.py     LlamaIndex's spans and events, handed on
spans.py        spans as a tree: which run, which agent
calls.py        the calls that are under way, each opened and closed once
live.py         one of them
silent.py       calls that no event reports
work.py         tools, embeddings and rerankers
placing.py      whose a call is
requests.py     what is about to be sent, as the core's Call
prompts.py      messages and tool schemas, to be recognised and counted
endpoints.py    whom a call goes to
chunks.py       what a chunk adds to an answer
streams.py      what a generator of an integration holds
usage.py        what an answer says about its usage
ended.py        how a call ended, told from its error
routing.py      a ladder's steps, and what a wrapper says of its calls
attempt.py      one try of a wrapper, on one rung
delegates.py    how a wrapper hands a call on to a model
fields.py       what an object of another library's may have
waiting.py      money that is waited for on an event loop
ambient.py      instrument() and uninstrument(), which ``apeiros_callbacks`` calls
demo.py         what ``apeiros demo --framework llama-index`` runs
doctor.py       what ``apeiros doctor`` tries
"""

import os

from llama_index.callbacks.apeiros.ambient import instrument, uninstrument
from llama_index.callbacks.apeiros.embedding import BudgetedEmbedding
from llama_index.callbacks.apeiros.handler import ApeirosHandler
from llama_index.callbacks.apeiros.llm import BudgetedLLM

__all__ = ["ApeirosHandler", "BudgetedEmbedding", "BudgetedLLM", "instrument", "uninstrument"]

if os.environ.get("APEIROS_INSTRUMENT") == "1":
    instrument()

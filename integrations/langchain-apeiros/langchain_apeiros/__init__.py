"""A hard dollar limit on a LangChain run, and a right ledger of it.

handler.py   ApeirosHandler: LangChain's events, translated
prompts.py   messages and tool schemas, to be recognised and counted
usage.py     what an answer says about its usage
ended.py     how a call ended, told from its error
runs.py      roots and agents
aborts.py    a refusal that stays one under LangGraph
demo.py      what ``apeiros demo`` runs
"""

from langchain_apeiros.handler import ApeirosHandler

__all__ = ["ApeirosHandler"]

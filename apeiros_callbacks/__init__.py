"""A hard dollar limit and a right ledger for LLM runs.

    from langchain_apeiros import ApeirosHandler

    agent.invoke(task, config={"callbacks": [ApeirosHandler(budget=0.50)]})   # USD

This package is the core and knows no framework; the adapters are ``langchain-apeiros`` and
``llama-index-callbacks-apeiros``.
"""

from apeiros_callbacks.agent import ApeirosAgent
from apeiros_callbacks.alerts import Alert, Slack, Webhook
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.customers import customer_report, meter, set_customer
from apeiros_callbacks.detectors import Detector, Finding
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import (
    ApeirosError,
    BudgetExceeded,
    ConfigError,
    LedgerDown,
    LedgerError,
    Refused,
    StoppedByFinding,
    Unbounded,
    UnknownCustomer,
    UnknownPrice,
)
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.prices import Price
from apeiros_callbacks.routing import Ladder
from apeiros_callbacks.scopes import Budget
from apeiros_callbacks.sdk import end_session, get_state, instrument, start_session, uninstrument, wrap
from apeiros_callbacks.session import Session
from apeiros_callbacks.usage import Usage

__all__ = [
    "Alert",
    "ApeirosAgent",
    "ApeirosError",
    "Budget",
    "BudgetExceeded",
    "Cap",
    "ConfigError",
    "Detector",
    "Entry",
    "Finding",
    "Ladder",
    "LedgerDown",
    "LedgerError",
    "Price",
    "Refused",
    "Session",
    "Slack",
    "StoppedByFinding",
    "Unbounded",
    "UnknownCustomer",
    "UnknownPrice",
    "Usage",
    "Webhook",
    "customer_report",
    "end_session",
    "get_state",
    "instrument",
    "meter",
    "open_ledger",
    "set_customer",
    "start_session",
    "uninstrument",
    "wrap",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "ApeirosHandler":
        raise ImportError(
            "ApeirosHandler is in the adapter of your framework: "
            'pip install "apeiros-callbacks[langchain]", then '
            "from langchain_apeiros import ApeirosHandler"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

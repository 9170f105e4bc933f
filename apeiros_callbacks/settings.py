"""What the handlers of all adapters are given alike: the session's settings, and whom calls are for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from apeiros_callbacks.caps import checked_customer, is_customer
from apeiros_callbacks.checked import instance
from apeiros_callbacks.errors import ConfigError, UnknownCustomer
from apeiros_callbacks.ledger import customers_ledger
from apeiros_callbacks.session import Session

__all__ = ["Customer", "customer_of", "session_of"]

logger = logging.getLogger("apeiros_callbacks")

Customer: TypeAlias = str | Callable[[Mapping[str, Any]], str | None] | None
"""Whom calls are for: a name, or a function of the run's metadata that gives one."""

_DEFAULTS: Mapping[str, object] = {
    "per": "handler",
    "unknown_price": "refuse",
    "strict": False,
    "enforce": True,
    "on_ledger_down": "refuse",
    "ledger_timeout": 5.0,
    "alerts": (),
}


def session_of(
    session: Session | None, budget: object, *, customer: Customer = None, **settings: Any
) -> Session:
    """The session that is given, or a new one with these settings.

    With a customer, one without a ledger gets that of the customers, which survives this process.

    Raises:
        ConfigError: a setting is not valid, or is given beside a session: it has its own, and one of the two
            would be ignored.
        LedgerError: the ledger cannot be opened.
    """
    if customer is not None and not callable(customer):
        checked_customer(customer)
    if session is None:
        if customer is not None and settings.get("ledger") is None:
            settings["ledger"] = customers_ledger()
        return Session(budget, **settings)  # type: ignore[arg-type]
    instance(session, Session, "session")
    for name, value in {"budget": budget, **settings}.items():
        if value != _DEFAULTS.get(name):
            raise ConfigError(f"{name}= belongs to the session: write Session({name}=…) where it is made")
    return session


def customer_of(given: Customer, metadata: Mapping[str, Any], session: Session) -> str | None:
    """Whom a call is for.

    Raises:
        UnknownCustomer: the function failed or gave no name, and the session enforces its budgets.
    """
    if given is None or isinstance(given, str):
        return given
    try:
        name = given(metadata)
        why = "" if is_customer(name) else f"gave {name!r}"
    except Exception as bug:  # noqa: BLE001 - a function of the user's
        name, why = None, f"failed with {type(bug).__name__}: {bug}"
    if not why:
        return name
    refusal = UnknownCustomer(why)
    if session.enforces:
        raise refusal
    refusal.was_sent = True
    logger.warning("not enforced: %s", refusal)
    return None

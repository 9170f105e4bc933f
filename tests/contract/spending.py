"""Calls of customers: tools with a price, so that what is held for one is what it costs, exactly."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from apeiros_callbacks import BudgetExceeded, Price, Session
from apeiros_callbacks.ledger import Ledger

_ids = itertools.count()


def price_of(nano: int) -> Price:
    return Price(call=Decimal(nano).scaleb(-9))


def session_on(ledger: Ledger | str, costs: Iterable[int], **settings: Any) -> Session:
    """A session whose tools cost so many nano-dollars each, and are called by that number."""
    return Session(ledger=ledger, prices={f"tool:tool-{nano}": price_of(nano) for nano in costs}, **settings)


def spend(session: Session, nano: int, customer: str = "acme") -> bool:
    """Make one call for a customer; False when it is refused."""
    name = f"{session.id}-{next(_ids)}"
    try:
        session.open_tool(name, f"tool-{nano}", customer=customer)
    except BudgetExceeded:
        return False
    session.close_tool(name)
    return True


def spend_until_refused(session: Session, nano: int, customer: str = "acme") -> int:
    """Make calls of one size until one is refused, and count them."""
    count = 0
    while spend(session, nano, customer):
        count += 1
    return count

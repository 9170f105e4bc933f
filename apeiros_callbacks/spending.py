"""What customers spent in a period, as the ledger has it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from apeiros_callbacks.caps import (
    Cap,
    checked_customer,
    customer_of,
    customer_scope,
    is_period_scope,
    kind_of_period,
    period_end,
    period_of,
    period_scope,
    period_start,
)
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger import (
    Ledger,
    ScopeTotals,
    customers_ledger,
    customers_ledger_url,
    open_ledger,
)

__all__ = ["Spending", "kept_ledger", "spending"]

_kept: dict[tuple[str, str], Ledger] = {}
"""Ledgers that were opened here, by URL and working directory. They stay open: alerts may follow them."""


class Spending(NamedTuple):
    """What a customer spent in one period, as the ledger has it."""

    customer: str
    cap: Cap
    period: str
    totals: tuple[ScopeTotals, ...]
    """Of the customer's own periods that begin in it: one, or the days of a month."""

    @property
    def amount(self) -> Decimal:
        """US dollars."""
        return sum((one.amount for one in self.totals), Decimal(0))

    @property
    def is_capped(self) -> bool:
        """The cap is for such a period."""
        return kind_of_period(self.period) == self.cap.period

    def entries(self, ledger: Ledger) -> list[Entry]:
        """The lines that it is the sum of."""
        return [entry for one in self.totals for entry in ledger.entries(one.scope)]


def spending(
    ledger: Ledger,
    now: datetime,
    month: str | None = None,
    customer_id: str | None = None,
    *,
    capped: bool = False,
) -> list[Spending]:
    """What customers spent, by name.

    Args:
        ledger: where.
        now: the present time.
        month: such as ``"2026-11"``; the present one of each customer's time zone otherwise.
        customer_id: one customer, whether there is such a one or not; all of them otherwise.
        capped: take the present period of the customer's cap in the place of the present month.

    Raises:
        ConfigError: it is no month.
        LedgerError: the ledger cannot be read.
    """
    if month is not None:
        if kind_of_period(month) != "month":
            raise ConfigError(f"write a month such as '2026-11', got {month!r}")
        period_start(month)
    caps = ledger.caps()
    spent: dict[str, list[ScopeTotals]] = {}
    for one in ledger.totals(customer_scope(customer_id or "")):
        if is_period_scope(one.scope):
            spent.setdefault(one.scope.rpartition("/")[0], []).append(one)
    bases = {*spent, *(scope for scope in caps if customer_of(scope) is not None)}
    if customer_id is not None:
        bases = {customer_scope(checked_customer(customer_id))}
    return [
        _spending(caps.get(base) or Cap(base), spent.get(base, ()), now, month, capped=capped)
        for base in sorted(bases)
    ]


def _spending(
    cap: Cap, spent: Iterable[ScopeTotals], now: datetime, month: str | None, *, capped: bool
) -> Spending:
    customer = customer_of(cap.scope) or ""
    if month is None and capped:
        period = cap.period_at(now)
        scope = period_scope(cap.scope, period)
        return Spending(customer, cap, period, tuple(one for one in spent if one.scope == scope))
    period = month or period_of(now, "month", cap.timezone)
    start, end = period_start(period, cap.timezone), period_end(period, cap.timezone)
    # A week counts in the month in which it begins.
    within = [one for one in spent if start <= period_start(one.scope.rpartition("/")[2], cap.timezone) < end]
    return Spending(customer, cap, period, tuple(within))


def kept_ledger(ledger: Ledger | str | None) -> Ledger:
    """The ledger that is given, or that of ``APEIROS_LEDGER``, or a file in this user's data folder.

    One that is opened here stays open.
    """
    if ledger is not None and not isinstance(ledger, str):
        return ledger
    url = customers_ledger_url() if ledger is None else ledger
    if url == "memory:":
        return customers_ledger() if ledger is None else open_ledger(url)
    key = (url, str(Path.cwd()))
    kept = _kept.get(key)
    return kept if kept is not None else _kept.setdefault(key, open_ledger(url))

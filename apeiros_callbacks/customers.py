"""What customers may spend, what they have spent, and what is left of what they pay.

    import apeiros_callbacks as apeiros

    apeiros.set_customer("acme", monthly=250, alert_at=200, timezone="Europe/Berlin", plan_price=299)
    apeiros.meter("acme")["remaining"]

A cap is kept in the ledger, for all processes that share it, and each call of the customer is held to it
before it is sent. What is given back is plain data that JSON takes; money is a float in it, in US dollars.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, overload

from apeiros_callbacks.alerts import AlertTo
from apeiros_callbacks.alerts.board import board_of
from apeiros_callbacks.alerts.destinations import destinations_of
from apeiros_callbacks.caps import Cap, Period, checked_alert, checked_customer, customer_scope
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.report import roll_up
from apeiros_callbacks.spending import Spending, kept_ledger, spending

__all__ = ["Status", "customer_report", "meter", "set_customer", "status_of"]

Status: TypeAlias = Literal["ok", "alert", "capped"]
"""``alert``: `alert_at` is reached. ``capped``: the cap is."""


def set_customer(
    customer_id: str,
    *,
    monthly: Dollars | None = None,
    weekly: Dollars | None = None,
    daily: Dollars | None = None,
    alert_at: Dollars | None = None,
    timezone: str = "UTC",
    plan_price: Dollars | None = None,
    alerts: Collection[AlertTo] = (),
    ledger: Ledger | str | None = None,
) -> Cap:
    """Set what a customer may spend in each month, week or day, for all processes that share the ledger.

    A call that does not fit is refused before it is sent: in every handler and session with this customer,
    and in `ApeirosAgent`. It holds at once here, and within about a second elsewhere. What was set before is
    replaced as a whole; without an amount there is no limit.

    Args:
        customer_id: whom, as ``customer=`` of a handler or session names them.
        monthly: US dollars for each month.
        weekly: US dollars for each week, from Monday, in the place of `monthly`.
        daily: US dollars for each day, in the place of `monthly`.
        alert_at: US dollars at which somebody is told.
        timezone: whose midnight ends the day, week or month; an IANA name.
        plan_price: US dollars that the customer pays for that time, for the margin in `customer_report`.
        alerts: whom this process tells, beside those of its sessions: `Slack`, `Webhook`, functions.
        ledger: an open ledger or its URL; ``APEIROS_LEDGER``, or a file in this user's data folder.

    Returns:
        The cap as it was set.

    Raises:
        ConfigError: an amount, the time zone or the name is not valid, or there are two limits.
        LedgerError: the ledger cannot be opened or written.

    Example:
        >>> set_customer("acme", daily=5, timezone="Asia/Tokyo", ledger="memory:").usd
        Decimal('5')
    """
    limits: dict[Period, Dollars | None] = {"month": monthly, "week": weekly, "day": daily}
    given: list[Period] = [period for period, usd in limits.items() if usd is not None]
    if len(given) > 1:
        raise ConfigError("a customer has one limit: monthly=, weekly= or daily=")
    period: Period = given[0] if given else "month"
    cap = Cap(
        customer_scope(checked_customer(customer_id)),
        usd=limits[period],
        alert_at=alert_at,
        period=period,
        timezone=timezone,
        plan_price=plan_price,
    )
    checked_alert(cap.alert_at, cap.usd)
    told = destinations_of(alerts)
    kept = kept_ledger(ledger)
    kept.set_cap(cap)
    if told:
        board_of(kept).follow(kept, cap.scope, told)
    return cap


@overload
def meter(
    customer_id: None = None,
    month: str | None = None,
    *,
    ledger: Ledger | str | None = None,
    clock: Callable[[], datetime] = ...,
) -> dict[str, dict[str, Any]]: ...
@overload
def meter(
    customer_id: str,
    month: str | None = None,
    *,
    ledger: Ledger | str | None = None,
    clock: Callable[[], datetime] = ...,
) -> dict[str, Any]: ...
def meter(
    customer_id: str | None = None,
    month: str | None = None,
    *,
    ledger: Ledger | str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """What customers have spent, and what is left.

    Nothing needs to poll this to keep a cap: each call is held to it before it is sent.

    Args:
        customer_id: one customer; all of them unless given, by name.
        month: such as ``"2026-11"``; the present month, week or day of each customer's cap otherwise.
        ledger: an open ledger or its URL; ``APEIROS_LEDGER``, or a file in this user's data folder.
        clock: gives the present time; for tests.

    Returns:
        For each customer: ``period``; ``spend``, ``budget`` and ``remaining`` in US dollars, the latter two
        None without a cap for such a period; ``status``: ``"ok"``, ``"alert"`` from `alert_at` on, or
        ``"capped"``; ``calls`` and ``tokens``.

    Raises:
        ConfigError: it is no month.
        LedgerError: the ledger cannot be read.

    Example:
        >>> meter("nobody", "2026-11", ledger="memory:")["spend"]
        0.0
    """
    found = spending(kept_ledger(ledger), clock(), month, customer_id, capped=True)
    metered = {one.customer: _metered(one) for one in found}
    return metered if customer_id is None else metered[customer_id]


def customer_report(
    month: str | None = None,
    *,
    ledger: Ledger | str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, dict[str, Any]]:
    """What customers cost in a month, what they pay, and what it was spent on.

    Reads each entry of the month; `meter` reads sums, whatever their number.

    Args:
        month: such as ``"2026-11"``; the present one of each customer's time zone otherwise.
        ledger: an open ledger or its URL; ``APEIROS_LEDGER``, or a file in this user's data folder.
        clock: gives the present time; for tests.

    Returns:
        For each customer: ``period``; ``cost``, ``plan_price`` and ``margin`` in US dollars, the latter two
        None where the plan's price is not known, or is for another period; ``calls`` and ``tokens``;
        ``unpriced``: how many calls of unknown price are not in the cost; and ``tasks`` and ``models``, by
        name and the dearest first, each with ``cost``, ``calls`` and ``tokens``. A task is one of
        `ApeirosAgent`, or an agent of another call; ``"-"`` stands for calls of neither.

    Raises:
        ConfigError: it is no month.
        LedgerError: the ledger cannot be read.

    Example:
        >>> customer_report("2026-11", ledger="memory:")
        {}
    """
    kept = kept_ledger(ledger)
    return {one.customer: _reported(kept, one) for one in spending(kept, clock(), month)}


def status_of(cap: Cap, spent: Decimal) -> Status:
    """How a customer stands that spent so many US dollars of a cap."""
    if cap.usd is not None and spent >= cap.usd:
        return "capped"
    return "alert" if cap.alert_at is not None and spent >= cap.alert_at else "ok"


def _metered(one: Spending) -> dict[str, Any]:
    spend = one.amount
    budget = one.cap.usd if one.is_capped else None
    return {
        "period": one.period,
        "spend": float(spend),
        "budget": None if budget is None else float(budget),
        "remaining": None if budget is None else float(budget - spend),
        "status": status_of(one.cap, spend) if one.is_capped else "ok",
        "calls": sum(part.calls for part in one.totals),
        "tokens": sum(part.tokens for part in one.totals),
    }


def _reported(ledger: Ledger, one: Spending) -> dict[str, Any]:
    entries = one.entries(ledger)
    cost = one.amount
    price = one.cap.plan_price if one.is_capped else None
    return {
        "period": one.period,
        "cost": float(cost),
        "plan_price": None if price is None else float(price),
        "margin": None if price is None else float(price - cost),
        "calls": sum(part.calls for part in one.totals),
        "tokens": sum(part.tokens for part in one.totals),
        "unpriced": sum(1 for entry in entries if entry.amount is None),
        "tasks": _parts(entries, "agent"),
        "models": _parts([entry for entry in entries if entry.kind != "tool"], "model"),
    }


def _parts(entries: list[Entry], by: Literal["agent", "model"]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "cost": float(sums.cost),
            "calls": sums.calls,
            "tokens": sums.input_tokens + sums.output_tokens,
        }
        for name, sums in roll_up(entries, by).items()
    }

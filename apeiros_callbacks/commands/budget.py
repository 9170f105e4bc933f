"""``apeiros budget set`` and ``apeiros budget list``."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, TypeAlias

import typer

from apeiros_callbacks.caps import Cap, Period, checked_alert, checked_customer, customer_scope
from apeiros_callbacks.commands.asked import AsJson, LedgerUrl, reading, usd_of, writing
from apeiros_callbacks.commands.customers import Standing, dollars, standing_data, standings
from apeiros_callbacks.commands.output import OVER_BUDGET, WRONG, print_json, print_rows, say, stop
from apeiros_callbacks.layout import Column
from apeiros_callbacks.money import show_usd

__all__ = ["budget"]

budget = typer.Typer(help="Limit what customers may spend in a day, a week or a month.")

_COLUMNS = (
    Column("customer"),
    Column("limit", right=True),
    Column("alert at", right=True, rank=2),
    Column("spent", right=True),
    Column("period", rank=1),
    Column("time zone", rank=4),
    Column("plan price", right=True, rank=5),
    Column("status", rank=3),
)


_USD: TypeAlias = Decimal | None


@budget.command("set")
def set_budget(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's name in your code.")],
    monthly: Annotated[
        _USD, typer.Option(metavar="USD", parser=usd_of, help="The limit of each calendar month.")
    ] = None,
    weekly: Annotated[
        _USD, typer.Option(metavar="USD", parser=usd_of, help="The limit of each week, from Monday.")
    ] = None,
    daily: Annotated[_USD, typer.Option(metavar="USD", parser=usd_of, help="The limit of each day.")] = None,
    no_limit: Annotated[
        bool, typer.Option("--no-limit", metavar="", help="Limit nothing, and keep the rest.")
    ] = False,
    alert_at: Annotated[
        _USD, typer.Option(metavar="USD", parser=usd_of, help="Tell somebody when so much is spent.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose midnight it is, such as Europe/Berlin.")
    ] = None,
    plan_price: Annotated[
        _USD, typer.Option(metavar="USD", parser=usd_of, help="What the customer pays for a period.")
    ] = None,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Set the limit of a customer, for all who use the ledger.

    What is not given stays as it is. Nothing is restarted: each process knows
    before its next call. What was spent before counts, unless the period is
    another one now.
    """
    given: tuple[tuple[Period, Decimal | None], ...] = (("month", monthly), ("week", weekly), ("day", daily))
    limits: list[tuple[Period, Decimal]] = [(period, usd) for period, usd in given if usd is not None]
    if len(limits) + no_limit > 1:
        stop(WRONG, "Give one of --monthly, --weekly, --daily and --no-limit.")
    scope = customer_scope(checked_customer(customer))
    with writing(ledger) as asked:
        before = asked.ledger.caps().get(scope) or Cap(scope)
        stays: tuple[Period, Decimal | None] = (before.period, None if no_limit else before.usd)
        chosen = limits[0] if limits else stays
        cap = Cap(
            scope,
            usd=chosen[1],
            alert_at=before.alert_at if alert_at is None else alert_at,
            period=chosen[0],
            timezone=timezone or before.timezone,
            plan_price=before.plan_price if plan_price is None else plan_price,
        )
        checked_alert(cap.alert_at, cap.usd)
        asked.ledger.set_cap(cap)
        now = next(one for one in standings(asked.ledger) if one.customer == customer)
    if as_json:
        print_json(standing_data(now))
    else:
        print_rows(_COLUMNS, [_row(now)], [now.style])


@budget.command("list")
def list_budgets(
    check: Annotated[
        bool, typer.Option("--check", metavar="", help="Exit with 3 where a limit is reached.")
    ] = False,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the limits, and how each customer stands."""
    with reading(ledger) as asked:
        capped = set(asked.ledger.caps())
        found = [one for one in standings(asked.ledger) if customer_scope(one.customer) in capped]
    if as_json:
        print_json([standing_data(one) for one in found])
    elif not found:
        say("No customer has a limit yet: apeiros budget set acme --monthly 250")
    else:
        print_rows(_COLUMNS, [_row(one) for one in found], [one.style for one in found])
    if check and any(one.left is not None and one.left <= 0 for one in found):
        raise typer.Exit(OVER_BUDGET)


def _row(one: Standing) -> tuple[str, ...]:
    cap = one.cap
    limit = "none" if cap.usd is None else f"{dollars(cap.usd)} a {cap.period}"
    alert_at, price = map(dollars, (cap.alert_at, cap.plan_price))
    return (
        one.customer,
        limit,
        alert_at,
        show_usd(one.spent),
        one.spending.period,
        cap.timezone,
        price,
        one.status,
    )

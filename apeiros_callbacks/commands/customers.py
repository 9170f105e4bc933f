"""``apeiros customers``, and how a customer stands."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer

from apeiros_callbacks.caps import Cap, customer_scope, period_scope
from apeiros_callbacks.commands import moments
from apeiros_callbacks.commands.asked import AsJson, LedgerUrl, reading
from apeiros_callbacks.commands.output import print_json, print_rows, say
from apeiros_callbacks.commands.records import amount_text
from apeiros_callbacks.layout import Column
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.watchers import is_period_scope
from apeiros_callbacks.money import show_usd

__all__ = ["Standing", "customers", "dollars", "standing_data", "standings"]

_COLUMNS = (
    Column("customer"),
    Column("period", rank=3),
    Column("spent", right=True),
    Column("cap", right=True, rank=1),
    Column("left", right=True, rank=2),
    Column("calls", right=True, rank=5),
    Column("tokens", right=True, rank=6),
    Column("status", rank=4),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a customer spent in the present period of its cap; the calendar month where it has none."""

    customer: str
    cap: Cap
    period: str
    spent: Decimal
    calls: int
    tokens: int

    @property
    def left(self) -> Decimal | None:
        """US dollars; None without a cap."""
        return None if self.cap.usd is None else self.cap.usd - self.spent

    @property
    def status(self) -> str:
        """How it stands, in words."""
        if self.left is not None and self.left <= 0:
            return "cap reached"
        if self.cap.alert_at is not None and self.spent >= self.cap.alert_at:
            return "alert reached"
        return "" if self.cap.usd is None else "ok"

    @property
    def style(self) -> str:
        """The colour of its row; the words say the same."""
        return {"cap reached": "red", "alert reached": "magenta"}.get(self.status, "")


def customers(
    most: Annotated[int, typer.Option("--last", "-n", min=1, help="How many.")] = 20,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what each customer spends this month, the dearest first."""
    with reading(ledger) as asked:
        found = standings(asked.ledger)
        is_empty = not found and not asked.ledger.page(most=1)
    shown = found[:most]
    if as_json:
        print_json([standing_data(one) for one in shown])
    elif is_empty:
        say(asked.is_empty_because)
    elif not shown:
        say('No call was made for a customer yet: ApeirosHandler(customer="acme") says whom one is for.')
    else:
        print_rows(_COLUMNS, [_row(one) for one in shown], [one.style for one in shown])
        if len(found) > most:
            say(f"\n{len(found) - most:,} more: apeiros customers --last {len(found)}", style="dim")


def standings(ledger: Ledger) -> list[Standing]:
    """How every customer stands that ever spent something or has a cap, the dearest first."""
    totals = {one.scope: one for one in ledger.totals(customer_scope(""))}
    caps = ledger.caps()
    moment, found = moments.now(), list[Standing]()
    known = {scope for scope in totals if not is_period_scope(scope)}
    for scope in known | {scope for scope in caps if scope.startswith(customer_scope(""))}:
        cap = caps.get(scope) or Cap(scope)
        period = cap.period_at(moment)
        spent = totals.get(period_scope(scope, period))
        name = scope.removeprefix(customer_scope(""))
        if spent is None:
            found.append(Standing(name, cap, period, Decimal(0), 0, 0))
        else:
            found.append(Standing(name, cap, period, spent.amount, spent.calls, spent.tokens))
    return sorted(found, key=lambda one: (-one.spent, one.customer))


def dollars(amount: Decimal | None) -> str:
    """An amount that a person set, or what is left of it: in cents, where that says it all."""
    if amount is None:
        return ""
    return show_usd(amount, 2 if amount == round(amount, 2) or abs(amount) >= 100 else 4)


def standing_data(one: Standing) -> dict[str, Any]:
    """How a customer stands, for `json.dumps`."""
    return {
        "customer_id": one.customer,
        "period": one.period,
        "timezone": one.cap.timezone,
        "spent": amount_text(one.spent),
        "cap": amount_text(one.cap.usd),
        "left": amount_text(one.left),
        "alert_at": amount_text(one.cap.alert_at),
        "plan_price": amount_text(one.cap.plan_price),
        "calls": one.calls,
        "tokens": one.tokens,
        "status": one.status or None,
    }


def _row(one: Standing) -> tuple[str, ...]:
    cap, left = map(dollars, (one.cap.usd, one.left))
    return (
        one.customer,
        one.period,
        show_usd(one.spent),
        cap,
        left,
        f"{one.calls:,}",
        f"{one.tokens:,}",
        one.status,
    )

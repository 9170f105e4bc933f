"""``apeiros customers``, and how a customer stands."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.commands import moments
from apeiros_callbacks.commands.asked import AsJson, LedgerUrl, reading
from apeiros_callbacks.commands.output import print_json, print_rows, say
from apeiros_callbacks.commands.records import amount_text
from apeiros_callbacks.customers import Status, status_of
from apeiros_callbacks.layout import Column
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.spending import Spending, spending

__all__ = ["Standing", "customers", "dollars", "standing_data", "standings"]

_COLUMNS = (
    Column("customer"),
    Column("period", rank=3),
    Column("spent", right=True),
    Column("cap", right=True, rank=1),
    Column("left", right=True, rank=2),
    Column("calls", right=True, rank=5),
    Column("tokens", right=True, rank=6),
    Column("margin", right=True, rank=7),
    Column("status", rank=4),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a customer spent in the present period of its cap; the calendar month where it has none."""

    spending: Spending

    @property
    def customer(self) -> str:
        """The customer's name."""
        return self.spending.customer

    @property
    def cap(self) -> Cap:
        """What it may spend in such a period, and pays for it."""
        cap = self.spending.cap
        return cap if self.spending.is_capped else Cap(cap.scope, timezone=cap.timezone)

    @property
    def spent(self) -> Decimal:
        """US dollars."""
        return self.spending.amount

    @property
    def calls(self) -> int:
        """LLM calls."""
        return sum(one.calls for one in self.spending.totals)

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return sum(one.tokens for one in self.spending.totals)

    @property
    def left(self) -> Decimal | None:
        """US dollars; None without a cap."""
        return None if self.cap.usd is None else self.cap.usd - self.spent

    @property
    def margin(self) -> Decimal | None:
        """US dollars of the plan's price that are left; None where it is not known."""
        return None if self.cap.plan_price is None else self.cap.plan_price - self.spent

    @property
    def status(self) -> Status:
        """As `meter` says it."""
        return status_of(self.cap, self.spent)

    @property
    def style(self) -> str:
        """The colour of its row; its status says the same."""
        return {"capped": "red", "alert": "magenta", "ok": ""}[self.status]


def customers(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="The present period of each cap, unless given.")
    ] = None,
    most: Annotated[int, typer.Option("--last", "-n", min=1, help="How many.")] = 20,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what each customer spends, the dearest first."""
    with reading(ledger) as asked:
        found = standings(asked.ledger, month)
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


def standings(ledger: Ledger, month: str | None = None) -> list[Standing]:
    """How every customer stands that ever spent something or has a cap, the dearest first."""
    found = map(Standing, spending(ledger, moments.now(), month, capped=month is None))
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
        "period": one.spending.period,
        "timezone": one.cap.timezone,
        "spent": amount_text(one.spent),
        "cap": amount_text(one.cap.usd),
        "left": amount_text(one.left),
        "alert_at": amount_text(one.cap.alert_at),
        "plan_price": amount_text(one.cap.plan_price),
        "margin": amount_text(one.margin),
        "calls": one.calls,
        "tokens": one.tokens,
        "status": one.status,
    }


def _row(one: Standing) -> tuple[str, ...]:
    cap, left, margin = map(dollars, (one.cap.usd, one.left, one.margin))
    return (
        one.customer,
        one.spending.period,
        show_usd(one.spent),
        cap,
        left,
        f"{one.calls:,}",
        f"{one.tokens:,}",
        margin,
        one.status if one.cap.usd or one.cap.alert_at else "",
    )

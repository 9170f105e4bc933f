"""``budget_exceeded``: the session's cost crosses its budget, or a call is refused because it would."""

from __future__ import annotations

from decimal import Decimal

from apeiros_callbacks.detectors.finding import Attempt, Finding, Step
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.scopes import Account

__all__ = ["BudgetExceededDetector"]


class BudgetExceededDetector:
    """Watches one scope's account."""

    type = "budget_exceeded"

    def __init__(self, account: Account) -> None:
        self._account = account

    def opened(self, attempt: Attempt) -> Finding | None:
        """Nothing: a call that would cross the budget is refused, and `refused` says so."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Say when what was spent is more than the budget, and by how much."""
        limit = self._account.limit
        if limit is None or limit.usd is None or not step.entry.amount:
            return None
        spent = self._account.spent_usd
        if spent <= limit.usd:
            return None
        over = min(spent - limit.usd, step.entry.amount)
        return Finding(
            type=self.type,
            severity="critical",
            message=f"{show_usd(spent)} spent of a budget of {show_usd(limit.usd)}.",
            numbers={"spent": str(spent), "budget": str(limit.usd)},
            wasted=max(Decimal(0), over),
            agent=step.entry.agent,
            step=step.entry.step,
            peak=float(spent / limit.usd),
        )

    def refused(self, refusal: BudgetExceeded, agent: str | None, step: int | None) -> Finding:
        """The finding that belongs to a refusal."""
        share = (
            (refusal.spent + refusal.held + refusal.needed) / refusal.limit if refusal.limit else Decimal(1)
        )
        return Finding(
            type=self.type,
            severity="critical",
            message=str(refusal),
            numbers={
                "spent": str(refusal.spent),
                "held": str(refusal.held),
                "needed": str(refusal.needed),
                "budget": str(refusal.limit),
                "unit": refusal.unit,
            },
            agent=agent,
            step=step,
            peak=float(share),
        )

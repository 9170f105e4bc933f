"""``budget_exceeded``: the session's cost crosses its budget, or a call is refused because it would."""

from __future__ import annotations

from decimal import Decimal

from apeiros_callbacks.detectors.detector import Attempt, Step
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.finding import Finding
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.scopes import Account

__all__ = ["BudgetExceededDetector"]


class BudgetExceededDetector:
    """Watches the scopes of each call."""

    type = "budget_exceeded"

    def opened(self, attempt: Attempt) -> Finding | None:
        """Nothing: a call that would cross the budget is refused, and `refused` says so."""
        return None

    def closed(self, step: Step) -> Finding | None:
        """Say when what was spent is more than the budget, and by how much."""
        for account in step.accounts:
            finding = self._passed(account, step) if account.limit is not None else None
            if finding is not None:
                return finding
        return None

    def _passed(self, account: Account, step: Step) -> Finding | None:
        limit, spent, entry = account.limit, account.spent_usd, step.entry
        if limit is None:
            return None
        if entry.amount and limit.usd is not None and spent > limit.usd:
            return Finding(
                type=self.type,
                severity="critical",
                message=f"{show_usd(spent)} spent of a budget of {show_usd(limit.usd)} for {account.name}.",
                numbers={"spent": str(spent), "budget": str(limit.usd)},
                wasted=min(spent - limit.usd, entry.amount),
                agent=entry.agent,
                step=entry.step,
                peak=float(spent / limit.usd),
            )
        for unit, most, used in (
            ("calls", limit.calls, account.spent.calls),
            ("tokens", limit.tokens, account.spent.tokens),
        ):
            if step.is_llm and most is not None and used > most:
                return Finding(
                    type=self.type,
                    severity="critical",
                    message=f"{used:,} {unit} of a budget of {most:,} for {account.name}.",
                    numbers={"spent": used, "budget": most, "unit": unit},
                    agent=entry.agent,
                    step=entry.step,
                    peak=used / most,
                )
        return None

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

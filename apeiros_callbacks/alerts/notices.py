"""What a session notices: that its budget is nearly spent, or is; and whose customers' caps it spends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from decimal import Decimal

from apeiros_callbacks.alerts.alert import Alert, Level
from apeiros_callbacks.alerts.board import board_of
from apeiros_callbacks.alerts.destinations import AlertTo, Destination, destinations_of
from apeiros_callbacks.alerts.outbox import state_of
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.allowance import Allowance
from apeiros_callbacks.money import from_nano
from apeiros_callbacks.scopes import Account

__all__ = ["Notices"]


class Notices:
    """Tells of the budgets that the calls of one session are charged to.

    Args:
        to: whom to tell.
        ledger: where it is noted what was told, so that it is told once.
        clock: gives the present time.
        around: those of the session that this one is part of; they are told too.

    Raises:
        ConfigError: somebody cannot be told.
    """

    def __init__(
        self,
        to: Collection[AlertTo],
        ledger: Ledger,
        clock: Callable[[], datetime],
        around: Notices | None = None,
    ) -> None:
        outer = () if around is None else around._destinations
        self._destinations: tuple[Destination, ...] = (*destinations_of(to), *outer)
        self._ledger = ledger
        self._board = board_of(ledger)
        self._clock = clock
        self._round = 1

    def look(self, accounts: Iterable[Account]) -> None:
        """Look at the scopes that a line is charged to, after it was settled and before it is written."""
        if not self._destinations:
            return
        for account in accounts:
            if isinstance(account, Allowance):
                self._board.follow(self._ledger, account.base, self._destinations)
            elif account.alert_nano is not None and account.spent.nano >= account.alert_nano:
                self._reached(account)

    def refused(self, refusal: BudgetExceeded) -> None:
        """Note that a call passes a budget: that is reached then, whatever else is left of it."""
        if refusal.ledger_scope:
            alert = self._alert(
                "cap",
                refusal.ledger_scope,
                refusal.spent,
                refusal.limit,
                refusal.limit,
                needed=refusal.needed,
                unit=refusal.unit,
            )
            self._board.refused(alert, self._destinations)

    def forget(self) -> None:
        """Tell anew: the session begins anew."""
        self._round += 1

    @property
    def waiting(self) -> int:
        """Alerts that are not sent yet."""
        return sum(state_of(destination)[0] for destination in self._destinations)

    @property
    def failure(self) -> str | None:
        """Why alerts do not arrive."""
        return next((why for one in self._destinations if (why := state_of(one)[1])), None)

    def _reached(self, account: Account) -> None:
        limit, spent = account.limit, account.spent_usd
        if limit is None or limit.usd is None or account.alert_nano is None:
            return
        alert_at = from_nano(account.alert_nano)
        if alert_at < limit.usd:
            alert = self._alert("alert_at", account.scope, spent, alert_at, limit.usd)
            self._board.tell(alert, self._destinations)
        if spent >= limit.usd:
            alert = self._alert("cap", account.scope, spent, limit.usd, limit.usd)
            self._board.tell(alert, self._destinations)

    def _alert(
        self,
        level: Level,
        scope: str,
        spent: Decimal,
        threshold: Decimal,
        budget: Decimal,
        *,
        needed: Decimal | None = None,
        unit: str = "usd",
    ) -> Alert:
        return Alert(
            level=level,
            scope=scope,
            spent=spent,
            threshold=threshold,
            budget=budget,
            needed=needed,
            unit=unit,
            at=self._clock(),
            round=self._round if scope.startswith("session:") else 1,
        )

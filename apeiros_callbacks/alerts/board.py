"""Who is told of what in one ledger: its customers' periods, and once across all its processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from decimal import Decimal

from apeiros_callbacks.alerts.alert import Alert, Level
from apeiros_callbacks.alerts.destinations import Destination
from apeiros_callbacks.alerts.outbox import Letter, post
from apeiros_callbacks.caps import Cap, kind_of_period
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.recent import Recent

__all__ = ["Board", "board_of"]

_MOST = 100_000
"""Customers and alerts that are remembered; the longest unused are forgotten first."""


class Board:
    """Follows the periods of customers in one ledger, and sends each alert once.

    What was sent is remembered here so that the ledger need not be asked again, and claimed in the ledger
    so that no other process sends it.
    """

    def __init__(self, ledger: Ledger) -> None:
        # Not the ledger itself: it may be closed or dropped while there is something to tell.
        self._claim: Callable[[str], bool] = ledger.claim
        self._allowances: Allowances = ledger.allowances
        self._told: Recent[str, dict[str, Destination]] = Recent(_MOST)
        self._sent: Recent[str, bool] = Recent(_MOST)
        self._is_watching = False

    def follow(self, ledger: Ledger, base: str, destinations: Iterable[Destination]) -> None:
        """Tell somebody of a scope whose cap is shared, such as ``"customer:acme"``."""
        told = self._told.get_or_make(base, dict)
        for destination in destinations:
            told[destination.key] = destination
        if not self._is_watching:
            self._is_watching = True
            ledger.watch(self._heard)

    def tell(self, alert: Alert, destinations: Collection[Destination] = ()) -> None:
        """Send an alert to these, and to those who follow its scope. Waits for nothing."""
        everybody = {one.key: one for one in destinations}
        if alert.customer is not None:
            everybody.update(self._told.get(alert.scope.rpartition("/")[0]) or {})
        for key, destination in everybody.items():
            name = f"{alert.name}:{key}"
            if not self._sent.get(name) and post(Letter(alert, destination, self._claim)):
                self._sent.set(name, True)

    def refused(self, alert: Alert, destinations: Collection[Destination] = ()) -> None:
        """Send that a cap or budget is reached. What is told before that may not have been heard of yet."""
        base, _, period = alert.scope.rpartition("/")
        cap = self._allowances.caps.get(base) if alert.customer is not None else None
        if cap is not None and kind_of_period(period) == cap.period:
            for due in _reached(cap, alert.scope, alert.spent, alert.at):
                if due.level == "alert_at":
                    self.tell(due, destinations)
        self.tell(alert, destinations)

    def _heard(self, scope: str, spent: Decimal) -> None:
        """Note what a period has spent; called from the ledger's thread after each write."""
        base, _, period = scope.rpartition("/")
        cap = self._allowances.caps.get(base)
        if cap is not None and kind_of_period(period) == cap.period:
            for alert in _reached(cap, scope, spent, datetime.now(UTC)):
                self.tell(alert)


def _reached(cap: Cap, scope: str, spent: Decimal, now: datetime) -> Iterable[Alert]:
    """The alerts that are due when a period has spent so much."""
    thresholds: tuple[tuple[Level, Decimal | None], ...] = (("alert_at", cap.alert_at), ("cap", cap.usd))
    for level, threshold in thresholds:
        if threshold is not None and spent >= threshold:
            yield Alert(level=level, scope=scope, spent=spent, threshold=threshold, budget=cap.usd, at=now)


def board_of(ledger: Ledger) -> Board:
    """The board of a ledger: one for all in this process who share it."""
    # Beside what they share already: a table of boards here would keep ledgers alive for ever.
    shared = vars(ledger.allowances)
    found: Board | None = shared.get("board")
    if found is not None:
        return found
    made: Board = shared.setdefault("board", Board(ledger))
    return made

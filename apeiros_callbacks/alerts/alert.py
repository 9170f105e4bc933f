"""What is told when a budget or a cap is nearly reached, or is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from apeiros_callbacks.errors import show_amount

__all__ = ["Alert", "Level"]

Level: TypeAlias = Literal["alert_at", "cap"]
"""Which threshold: the one that was set to be told of, or the limit itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A threshold was reached.

    Example:
        >>> alert = Alert(
        ...     level="alert_at", scope="customer:acme/2026-11", spent=Decimal("201.5"),
        ...     threshold=Decimal(200), budget=Decimal(250), at=datetime(2026, 11, 25, tzinfo=UTC),
        ... )
        >>> alert.message
        'customer acme in 2026-11: $201.50 of a cap of $250.00 spent: the alert at $200.00 is reached.'
        >>> alert.customer, alert.period, alert.session
        ('acme', '2026-11', None)
    """

    level: Level
    scope: str
    """What has the budget: ``"customer:acme/2026-11"``, or ``"session:3f2a"`` and what is within it."""
    spent: Decimal
    threshold: Decimal
    """What is reached or passed, for this to be told."""
    budget: Decimal | None
    """The limit, if there is one."""
    at: datetime
    """When it was noticed."""
    needed: Decimal | None = None
    """What a call needed that did not fit any more; None where none was refused."""
    unit: str = "usd"
    """What the amounts are: US dollars, or ``"calls"`` or ``"tokens"`` of a budget of those."""
    round: int = 1
    """One more after each ``Session.reset``."""
    id: str = field(default_factory=lambda: str(uuid4()))
    """The same however often it is sent, so that who gets it twice can tell."""

    @property
    def name(self) -> str:
        """What is told once: the threshold of the scope. Raised, it is another one."""
        again = f":{self.round}" if self.round > 1 else ""
        return f"{self.scope}:{self.level}:{self.threshold.normalize():f} {self.unit}{again}"

    @property
    def customer(self) -> str | None:
        """The customer whose cap it is."""
        kind, _, name = self.scope.partition(":")
        return name.rpartition("/")[0] if kind == "customer" else None

    @property
    def period(self) -> str | None:
        """The day, week or month of the customer: ``2026-11-25``, ``2026-W48`` or ``2026-11``."""
        return self.scope.rpartition("/")[2] if self.customer is not None else None

    @property
    def session(self) -> str | None:
        """The session whose budget it is, or that the run, conversation or agent with it is part of."""
        kind, _, name = self.scope.partition(":")
        return name.partition("/")[0] if kind == "session" else None

    @property
    def whose(self) -> str:
        """The scope in words."""
        if self.customer is not None:
            return f"customer {self.customer} in {self.period}"
        kind, _, name = self.scope.partition(":")
        session, _, part = name.partition("/")
        return f"{part}, {kind} {session}" if part else f"{kind} {session}"

    @property
    def message(self) -> str:
        """One or two sentences for a person."""
        kind = "cap" if self.customer is not None else "budget"
        of = f" of a {kind} of {self._shown(self.budget)}" if self.budget is not None else ""
        spent = f"{self.whose}: {self._shown(self.spent)}{of} spent"
        if self.level == "alert_at":
            return f"{spent}: the alert at {self._shown(self.threshold)} is reached."
        if self.needed is None:
            return f"{spent}: it is reached."
        return f"{spent}: a call that needs {self._shown(self.needed)} does not fit."

    def _shown(self, amount: Decimal) -> str:
        return show_amount(amount, self.unit)

    def as_dict(self) -> dict[str, Any]:
        """Plain data that JSON takes, as `Webhook` sends it. Amounts are exact, as text.

        Returns:
            ``type``: ``"budget.alert_at"`` or ``"budget.cap"``; ``timestamp``: when it was noticed, in UTC;
            and ``data``, which has ``id``, the same however often it is sent, ``scope``, ``customer``,
            ``period``, ``session``, ``unit``, ``spent``, ``threshold``, ``budget``, ``needed`` and
            ``message``.
        """
        return {
            "type": f"budget.{self.level}",
            "timestamp": self.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "data": {
                "id": self.id,
                "scope": self.scope,
                "customer": self.customer,
                "period": self.period,
                "session": self.session,
                "unit": self.unit,
                "spent": f"{self.spent:f}",
                "threshold": f"{self.threshold:f}",
                "budget": None if self.budget is None else f"{self.budget:f}",
                "needed": None if self.needed is None else f"{self.needed:f}",
                "message": self.message,
            },
        }

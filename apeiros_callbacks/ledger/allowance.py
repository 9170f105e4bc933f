"""What this process may spend of one period of a cap: arithmetic in memory, and who waits for more.

The ledger has set `granted` nano-dollars aside for this process alone. Of those, open calls hold `held`,
and `unwritten` were spent by entries that the ledger does not have yet. The rest is idle, and a call that
fits into it asks nobody. See ``leases.py`` for how `granted` changes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from time import monotonic

from apeiros_callbacks.caps import customer_of, kind_of_period
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.guard import Guard
from apeiros_callbacks.money import from_nano, to_nano
from apeiros_callbacks.scopes import Account, Budget, Need

__all__ = ["GUARD", "Allowance", "Want"]

GUARD = Guard()
"""Allowances are changed under it, whatever session or ledger of this process they are of."""


_EACH = {"month": "monthly", "week": "weekly", "day": "daily"}


class Want:
    """Somebody waits until an allowance has `need` nano-dollars to spare."""

    __slots__ = ("allowance", "answer", "is_dropped", "is_heard", "is_told", "need")

    def __init__(self, allowance: Allowance, need: int) -> None:
        self.allowance = allowance
        self.need = need
        self.answer: Future[bool] = Future()
        """True when it is time to try again, False when it does not fit into what is left of the cap."""
        self.is_dropped = False
        self.is_told = False
        """The ledger was asked for it."""
        self.is_heard = False
        """It answered, and others had the money at that time."""

    def drop(self) -> None:
        """Wait no longer."""
        self.is_dropped = True


class Allowance(Account):
    """One period of one scope, as this process knows it. Changed under `GUARD` only.

    Args:
        scope: the period's scope, such as ``"customer:acme/2026-11"``.
        base: the scope whose cap it is, such as ``"customer:acme"``.
        stir: has the thread that asks the ledger look at this one; None where the ledger is of this process
            only, so that all of the cap is at hand.
    """

    __slots__ = (
        "base", "comfort", "elsewhere", "granted", "is_asked", "is_leased", "largest", "looked_at", "low",
        "queued_at", "rate", "recalled_until", "renew_at", "reported", "retry_at", "sent_at", "stir",
        "trusted_until", "unwritten", "used", "used_at", "wants",
    )  # fmt: skip

    def __init__(self, scope: str, base: str, stir: Callable[[Allowance, bool], None] | None) -> None:
        super().__init__(scope.replace(":", " ", 1).replace("/", " in "), None, scope)
        self.base = base
        self.stir = stir
        self.granted = 0
        self.unwritten = 0
        self.elsewhere = 0
        """Nano-dollars that others have set aside and need, when the ledger was last asked."""
        self.trusted_until = 0.0
        """By the monotonic clock: after that the lease may have expired, and others may have the money."""
        self.wants: deque[Want] = deque()
        # How much to have at hand beyond what is held: see ``leases.py``.
        self.comfort = 0
        self.low = 0
        self.is_asked = False
        self.is_leased = False
        """The ledger may have something set aside for this process."""
        self.largest = 0
        self.used = 0
        self.rate = 0.0
        self.looked_at = self.used_at = monotonic()
        self.recalled_until = self.renew_at = self.retry_at = -math.inf
        self.sent_at = 0.0
        self.queued_at = math.inf
        """When it is to be looked at again."""
        self.reported = 0
        """What the ledger was told to be idle: others are refused for the sake of the rest."""

    def limit_to(self, usd: Decimal | None) -> None:
        """Set the cap of the period; None for none."""
        if usd is None:
            self.set_limit(None)
        elif self.limit is None or self.limit.usd != usd:
            self.set_limit(_budget(usd))

    def drop_idle(self) -> None:
        """Keep only what is needed: the cap is lower than it was when the rest was lent."""
        self.granted = min(self.granted, self.held.nano + self.unwritten)
        self.is_asked = True
        self._ask()

    @property
    def idle(self) -> int:
        """Nano-dollars at hand that nothing needs yet; negative when more was spent than expected."""
        return self.granted - self.held.nano - self.unwritten

    @property
    def left_nano(self) -> int:
        """Nano-dollars of the cap that nobody has spent or needs, as far as is known."""
        return super().left_nano - self.elsewhere

    def lacks(self, need: Need, *, trusting: bool = False) -> str | None:
        """See `Account.lacks`. What does not fit may fit once the ledger was asked: see `want`."""
        if self.limit_nano is None or not need.nano:
            return None
        if self.stir is None or trusting:
            return "usd" if need.nano > self.left_nano else None
        at_hand = self.granted - self.held.nano - self.unwritten >= need.nano
        return None if at_hand and monotonic() < self.trusted_until else "usd"

    def want(self, need: int) -> Want:
        """Ask for more; the thread of the ledger answers."""
        want = Want(self, need)
        self.wants.append(want)
        self._ask()
        return want

    def _ask(self, *, urgent: bool = True) -> None:
        """Have the ledger asked, at once or with what is written next."""
        self.retry_at = -math.inf
        if self.stir is not None:
            self.stir(self, urgent)

    def refusal(self, need: Need, unit: str, model: str, *, mid_stream: bool) -> BudgetExceeded:
        """See `Account.refusal`."""
        refusal = super().refusal(need, unit, model, mid_stream=mid_stream)
        refusal.advice = f"Raise it with {self._remedy}."
        return refusal

    @property
    def _remedy(self) -> str:
        customer = customer_of(self.base)
        if customer is None:
            return f"ledger.set_cap(Cap({self.base!r}, usd=…))"
        each = _EACH[kind_of_period(self.scope.rpartition("/")[2])]
        return f"set_customer({customer!r}, {each}=…)"

    def take(self, need: Need) -> None:
        """See `Account.take`. More is asked for before it runs out."""
        super().take(need)
        nano = need.nano
        self.used += nano
        if nano > self.largest:
            self.largest = nano
        if (
            self.stir is not None
            and not self.is_asked
            and self.limit_nano is not None
            and self.granted - self.held.nano - self.unwritten < self.low
        ):
            self.is_asked = True
            self._ask()

    def give_back(self, need: Need) -> None:
        """See `Account.give_back`. Others are told of what nothing needs any more."""
        super().give_back(need)
        if self.has_untold and not self.is_asked:
            GUARD.later(self._tell)  # when it is known what of it was spent

    def _tell(self) -> None:
        with GUARD:
            if self.has_untold and not self.is_asked:
                self.is_asked = True
                self._ask(urgent=False)

    @property
    def has_untold(self) -> bool:
        """More is idle than the ledger knows."""
        return self.is_leased and self.granted - self.held.nano - self.unwritten > self.reported

    def book(self, spent: Need, usd: Decimal | None) -> None:
        """See `Account.book`."""
        nano = to_nano(usd) if usd else 0
        super().book(Need(nano, spent.calls, spent.tokens), usd)
        if self.stir is not None:
            self.unwritten += nano

    def written(self, nano: int) -> None:
        """Note that the ledger has what was spent, and no longer sets it aside."""
        if self.stir is not None:
            # Not below 0: an entry may have been appended that no call of this process was.
            self.unwritten = max(0, self.unwritten - nano)
            self.granted = max(0, self.granted - max(0, nano))

    def learn(self, spent: int, elsewhere: int) -> None:
        """Note what the ledger says: nano-dollars that all have spent, and that others need."""
        self.spent = Need(spent + self.unwritten, self.spent.calls, self.spent.tokens)
        self.spent_usd = from_nano(self.spent.nano)
        self.elsewhere = elsewhere

    @property
    def held_by_all(self) -> int:
        """See `Account.held_by_all`."""
        return self.held.nano + self.elsewhere

    @property
    def is_blank(self) -> bool:
        """Nothing is set aside, held or on its way."""
        return not (self.is_leased or self.held.nano or self.unwritten or self.wants)


def _budget(usd: Decimal) -> Budget:
    """The cap as a limit; a cap may be 0, which admits nothing, where a budget may not."""
    if usd:
        return Budget(usd=usd)
    nothing = object.__new__(Budget)
    for name, value in (("usd", usd), ("calls", None), ("tokens", None)):
        object.__setattr__(nothing, name, value)
    return nothing

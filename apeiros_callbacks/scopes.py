"""What a cap applies to, and the arithmetic that keeps it within one process.

An `Account` counts what a scope has spent and what open calls may yet spend. A `Hold` sets money
aside on several accounts at once, all or nothing; it is settled or released exactly once. All of it
is integer arithmetic under one lock that is never held across input or output.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from apeiros_callbacks.errors import BudgetExceeded, InvalidBudget
from apeiros_callbacks.guard import Guard
from apeiros_callbacks.money import Dollars, finite_usd, from_nano, to_nano

__all__ = ["Account", "Accounts", "Budget", "Hold", "Need"]


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """A limit in US dollars, LLM calls or tokens; any of them, whichever is reached first.

    A bare number means dollars wherever a budget is asked for.

    Raises:
        InvalidBudget: a limit is negative, zero, NaN, a bool or a string, or none is given.

    Example:
        >>> Budget(usd=0.50, calls=50)
        Budget(usd=Decimal('0.5'), calls=50, tokens=None)
    """

    usd: Decimal | None
    """US dollars."""
    calls: int | None
    """LLM calls that were sent; answers from a cache do not count."""
    tokens: int | None
    """Tokens read and written."""

    def __init__(
        self, usd: Dollars | None = None, *, calls: int | None = None, tokens: int | None = None
    ) -> None:
        if usd is None and calls is None and tokens is None:
            raise InvalidBudget("a Budget needs at least one limit, such as Budget(usd=0.50)")
        object.__setattr__(self, "usd", None if usd is None else _limit_usd(usd))
        object.__setattr__(self, "calls", _limit_count(calls, "calls"))
        object.__setattr__(self, "tokens", _limit_count(tokens, "tokens"))

    @classmethod
    def of(cls, value: Budget | Dollars | None) -> Budget | None:
        """Read a budget as a person may write it: a `Budget`, a number of dollars, or None for no limit."""
        if value is None or isinstance(value, Budget):
            return value
        return cls(usd=value)


def _limit_usd(value: object) -> Decimal:
    amount = finite_usd(value, "budget", InvalidBudget)
    if amount < 0 or to_nano(amount) == 0:
        raise InvalidBudget(
            f'budget must be more than 0 US dollars, such as Decimal("0.50"), got {value!r}; '
            "for no limit leave it out"
        )
    if to_nano(amount) > _MOST:
        raise InvalidBudget(f'budget must be below $9 billion, such as Decimal("0.50"), got {value!r}')
    return amount


def _limit_count(value: object, what: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise InvalidBudget(f"Budget({what}=…) must be a whole number above 0, got {value!r}")
    return min(value, _MOST)


_MOST: Final = 9_000_000_000 * 10**9  # counters are kept in 64 bits by the ledgers


class Need(NamedTuple):
    """What a call needs of every scope it is in."""

    nano: int
    """Nano-dollars."""
    calls: int = 0
    tokens: int = 0


class Account:
    """One scope's counters. Changed by `Accounts` only."""

    __slots__ = (
        "_alert_at", "alert_nano", "held", "limit", "limit_nano", "name", "scope", "spent", "spent_usd",
    )  # fmt: skip

    def __init__(
        self, name: str, limit: Budget | None, scope: str = "", alert_at: Decimal | None = None
    ) -> None:
        self.name = name
        """As a refusal names it: ``session 3f2a``."""
        self.scope = scope
        """As the ledger and alerts name it: ``session:3f2a``."""
        self._alert_at = alert_at
        self.spent = Need(0)
        self.held = Need(0)
        self.spent_usd = Decimal(0)
        """Exact, where `spent.nano` is rounded."""
        self.set_limit(limit)

    def set_limit(self, limit: Budget | None) -> None:
        """Set the cap; None for none."""
        self.limit = limit
        self.limit_nano = None if limit is None or limit.usd is None else to_nano(limit.usd)
        self.alert_nano = self.limit_nano
        """Nano-dollars at which somebody is told; None without a limit in dollars."""
        if self.limit_nano is not None:
            usual = self.limit_nano * 4 // 5
            asked = usual if self._alert_at is None else to_nano(self._alert_at)
            self.alert_nano = min(asked, self.limit_nano)

    @property
    def share(self) -> float:
        """How much of the limit in dollars is spent, 0 without one."""
        return self.spent.nano / self.limit_nano if self.limit_nano else 0.0

    @property
    def left_nano(self) -> int:
        """Nano-dollars neither spent nor held; a limit is needed."""
        return (self.limit_nano or 0) - self.spent.nano - self.held.nano

    @property
    def held_by_all(self) -> int:
        """Nano-dollars held by open calls, of whomever shares the limit."""
        return self.held.nano

    def take(self, need: Need) -> None:
        """Set the need aside."""
        self.held = _plus(self.held, need)

    def give_back(self, need: Need) -> None:
        """End what was set aside."""
        self.held = _minus(self.held, need)

    def book(self, spent: Need, usd: Decimal | None) -> None:
        """Count what was spent."""
        self.spent = _plus(self.spent, spent)
        if usd:
            self.spent_usd += usd

    def forget_spent(self) -> None:
        """Begin anew; what open calls hold stays held."""
        self.spent = Need(0)
        self.spent_usd = Decimal(0)

    def lacks(self, need: Need, *, trusting: bool = False) -> str | None:
        """The unit in which this scope cannot take the need, or None when it fits.

        Args:
            need: what to take.
            trusting: go by what this process knows, where others would have to be asked.
        """
        limit = self.limit
        if limit is None:
            return None
        if self.limit_nano is not None and self.spent.nano + self.held.nano + need.nano > self.limit_nano:
            return "usd"
        if limit.calls is not None and self.spent.calls + self.held.calls + need.calls > limit.calls:
            return "calls"
        if limit.tokens is not None and self.spent.tokens + self.held.tokens + need.tokens > limit.tokens:
            return "tokens"
        return None

    def refusal(self, need: Need, unit: str, model: str, *, mid_stream: bool) -> BudgetExceeded:
        """The error that says why, in the unit that is short."""
        limit = self.limit
        if limit is None:
            raise AssertionError("an account without a limit refuses nothing")
        if unit == "usd":
            top = limit.usd or Decimal(0)
            spent, held, needed = map(from_nano, (self.spent.nano, self.held_by_all, need.nano))
        else:
            top, spent, held, needed = (
                Decimal(getattr(part, unit)) for part in (limit, self.spent, self.held, need)
            )
        refusal = BudgetExceeded(
            self.name, unit, top, spent, held, needed, model=model, mid_stream=mid_stream
        )
        refusal.ledger_scope = self.scope
        return refusal


class Hold:
    """Money set aside for one call on all of its scopes. Settled or released at most once."""

    __slots__ = ("accounts", "need", "open")

    def __init__(self, accounts: tuple[Account, ...], need: Need) -> None:
        self.accounts = accounts
        self.need = need
        self.open = True


class Accounts:
    """Takes, extends, settles and releases holds. Safe across threads."""

    def __init__(self, guard: Guard | None = None) -> None:
        self.guard = guard or Guard()

    def hold(
        self,
        accounts: tuple[Account, ...],
        need: Need,
        *,
        model: str = "",
        force: bool = False,
        trusting: bool = False,
        instead_of: Hold | None = None,
    ) -> tuple[Hold | None, BudgetExceeded | None]:
        """Set the need aside on every account, or on none.

        Args:
            accounts: the scopes, in the order in which a refusal names them.
            need: what to set aside.
            model: for the refusal's sentence.
            force: hold although a scope cannot take it.
            trusting: see `Account.lacks`.
            instead_of: a hold that ends in the same moment.

        Returns:
            The hold, unless it is refused; the refusal, if a scope cannot take it.
        """
        with self.guard:
            if instead_of is not None and instead_of.open:
                instead_of.open = False
                for account in instead_of.accounts:
                    account.give_back(instead_of.need)
            refusal = _first_refusal(accounts, need, model, mid_stream=False, trusting=trusting)
            if refusal is not None and not force:
                return None, refusal
            for account in accounts:
                account.take(need)
            return Hold(accounts, need), refusal

    def lack(
        self, accounts: tuple[Account, ...], need: Need, *, model: str = "", trusting: bool = False
    ) -> BudgetExceeded | None:
        """What `hold` would refuse the need with now."""
        with self.guard:
            return _first_refusal(accounts, need, model, mid_stream=False, trusting=trusting)

    def extend(
        self,
        hold: Hold,
        to: Need,
        *,
        model: str = "",
        force: bool = False,
        trusting: bool = False,
        refusing: tuple[Account, ...] | None = None,
    ) -> BudgetExceeded | None:
        """Let a hold grow; it never shrinks.

        Args:
            hold: what grows.
            to: how far.
            model: for the refusal's sentence.
            force: grow although a scope cannot take it.
            trusting: see `Account.lacks`.
            refusing: those of its scopes that keep it from growing; all of them unless given.

        Returns:
            The refusal, if a scope cannot take the difference.
        """
        with self.guard:
            if not hold.open:
                return None
            had = hold.need
            more = Need(*(max(0, new - old) for new, old in zip(to, had, strict=True)))
            refusal = _first_refusal(hold.accounts, more, model, mid_stream=True, trusting=trusting)
            stops = refusal
            if refusal is not None and refusing is not None:
                stops = _first_refusal(refusing, more, model, mid_stream=True, trusting=trusting)
                refusal = stops or refusal
            if stops is None or force:
                for account in hold.accounts:
                    account.take(more)
                hold.need = _plus(had, more)
            return refusal

    def settle(self, hold: Hold, accounts: tuple[Account, ...], spent: Need, usd: Decimal | None) -> bool:
        """End a hold and book what was spent, on every scope of the call, capped or not.

        Returns:
            False when it was settled or released before; nothing is booked then.
        """
        with self.guard:
            if not hold.open:
                return False
            hold.open = False
            for account in hold.accounts:
                account.give_back(hold.need)
            for account in accounts:
                account.book(spent, usd)
            return True

    def release(self, hold: Hold) -> bool:
        """Give a hold back. False when it was settled or released before."""
        return self.settle(hold, (), _NOTHING, None)

    def correct(self, accounts: tuple[Account, ...], change: Need, usd: Decimal | None) -> None:
        """Book the difference that a correction found; it may be negative."""
        with self.guard:
            for account in accounts:
                account.book(change, usd)


def _first_refusal(
    accounts: tuple[Account, ...], need: Need, model: str, *, mid_stream: bool, trusting: bool = False
) -> BudgetExceeded | None:
    for account in accounts:
        unit = account.lacks(need, trusting=trusting)
        if unit is not None:
            return account.refusal(need, unit, model, mid_stream=mid_stream)
    return None


_NOTHING = Need(0)


def _plus(a: Need, b: Need) -> Need:
    return Need(a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _minus(a: Need, b: Need) -> Need:
    return Need(a[0] - b[0], a[1] - b[1], a[2] - b[2])

"""Which scopes a call belongs to: its session, its run or conversation, its agent, the sessions around.

Every call is charged to each of its scopes. The money for it is held on those that have a limit, all or
none, the narrowest first: that is the one which a refusal names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias, get_args

from apeiros_callbacks.call import Call
from apeiros_callbacks.caps import customer_scope
from apeiros_callbacks.checked import by_name
from apeiros_callbacks.errors import ConfigError, InvalidBudget
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.scopes import Account, Budget

__all__ = ["Per", "Scoping"]

Per: TypeAlias = Literal["handler", "run", "thread"]
"""What a session's budget is for: all its calls together, each root run, or each conversation."""

_MOST = 100_000
"""Runs and conversations whose spending is remembered; the longest idle is forgotten first."""


class Scoping:
    """The scopes of one session.

    Args:
        name: how a refusal calls the session.
        budget: the limit.
        per: what the limit is for.
        agents: limits of single agents, by name; within each run or conversation where `per` says so.
        around: the scopes of the session that this one is nested in.
        allowances: what may be spent of the caps of customers, which processes share.
        clock: gives the present time, which decides the period of a cap.
        alert_at: US dollars of the budget at which somebody is told; 80% of it unless given.

    Raises:
        ConfigError: `per` or a name of an agent is not valid.
        InvalidBudget: a budget is not valid.
    """

    def __init__(
        self,
        name: str,
        budget: Budget | None,
        *,
        per: Per = "handler",
        agents: Mapping[str, Budget | Dollars] | None = None,
        around: Scoping | None = None,
        allowances: Allowances,
        clock: Callable[[], datetime],
        alert_at: Decimal | None = None,
    ) -> None:
        if per not in get_args(Per):
            raise ConfigError(f'per must be "handler", "run" or "thread", got {per!r}')
        self._per: Per = per
        agents_named = by_name(agents, "agent_budgets", '{"researcher": 0.20}')
        self._budget = budget
        self._agents = {_name(agent): _limit(agent, limit) for agent, limit in agents_named.items()}
        self._around = around
        self._allowances = allowances
        self._clock = clock
        self._has_customers = False
        self._alert_at = alert_at
        self.own = Account(name, budget if per == "handler" else None, name.replace(" ", ":", 1), alert_at)
        """All calls of the session."""
        self._parts: Recent[tuple[str, ...], Account] = Recent(_MOST)
        self._is_plain = per == "handler" and not self._agents and around is None

    @property
    def budget(self) -> Budget | None:
        """The limit, of the whole session or of each of its parts."""
        return self._budget

    @property
    def is_limited(self) -> bool:
        """Whether any of its calls has a limit."""
        around = self._around
        return (
            self._budget is not None
            or bool(self._agents)
            or (around is not None and around.is_limited)
            or (self._has_customers and self._allowances.is_limiting)
        )

    def accounts(self, call: Call) -> tuple[Account, ...]:
        """The scopes that a call is charged to, the narrowest first.

        Of a customer that is the present period of its cap: it stays the call's to its end.
        """
        found = (self.own,) if self._is_plain else self._nested(call)
        if call.customer is None:
            return found
        self._has_customers = True
        return (*found, self._allowances.of(customer_scope(call.customer), self._clock()))

    def _nested(self, call: Call) -> tuple[Account, ...]:
        part = self._part(call)
        found: list[Account] = []
        if call.agent is not None and call.agent in self._agents:
            found.append(self._account((*part, "agent", call.agent), self._agents[call.agent]))
        if part:
            found.append(self._account(part, self._budget))
        found.append(self.own)
        if self._around is not None:
            found.extend(self._around._nested(call))
        return tuple(found)

    def raise_budget(self, to: Budget | Dollars, agent: str | None = None) -> None:
        """Set a new limit, for what there is and what comes.

        Raises:
            ConfigError: the agent has no budget.
            InvalidBudget: it is not valid, or it is dollars and the budget has no limit on those.
        """
        if agent is None:
            self._budget = limit = _raised(self._budget, to)
            if self._per == "handler":
                self.own.set_limit(limit)
        elif agent in self._agents:
            self._agents[agent] = _raised(self._agents[agent], to)
        else:
            raise ConfigError(f"agent {agent!r} has no budget; those with one: {sorted(self._agents)}")
        for key, account in self._parts.items():
            account.set_limit(self._agents[key[-1]] if "agent" in key[-2:-1] else self._budget)

    def reset(self) -> None:
        """Forget what was spent. What open calls hold stays held."""
        self.own.forget_spent()
        for account in self._parts.values():
            account.forget_spent()

    def _part(self, call: Call) -> tuple[str, ...]:
        if self._per == "thread" and call.thread is not None:
            return ("thread", call.thread)
        return () if self._per == "handler" else ("run", call.root)

    def _account(self, key: tuple[str, ...], limit: Budget | None) -> Account:
        def make() -> Account:
            name = _words(key, self.own.name)
            alert_at = None if "agent" in key[-2:-1] else self._alert_at
            return Account(name, limit, f"{self.own.scope}/{name}", alert_at)

        return self._parts.get_or_make(key, make)


def _words(key: tuple[str, ...], session: str) -> str:
    """A scope as a refusal names it: ``agent researcher in thread 7``."""
    named = [f"{kind} {name}" for kind, name in zip(key[::2], key[1::2], strict=True)]
    return " in ".join([*reversed(named), *([session] if len(named) == 1 and key[0] == "agent" else [])])


def _name(agent: object) -> str:
    if not isinstance(agent, str) or not agent:
        raise ConfigError(f"agent_budgets are by the agent's name, got {agent!r}")
    return agent


def _limit(agent: str, limit: Budget | Dollars) -> Budget:
    try:
        found = Budget.of(limit)
    except InvalidBudget as wrong:
        raise InvalidBudget(f"agent_budgets[{agent!r}]: {wrong}") from None
    if found is None:
        raise InvalidBudget(f"agent_budgets[{agent!r}] is None; leave it out for no limit")
    return found


def _raised(now: Budget | None, to: Budget | Dollars) -> Budget:
    limit = Budget.of(to)
    if limit is None:
        raise InvalidBudget('raise_budget(to=…) needs a budget, such as Decimal("0.50")')
    if now is None or isinstance(to, Budget):
        return limit
    if now.usd is None:
        raise InvalidBudget(
            f"the budget is {now} and has no limit in US dollars: say which limit to raise, such as "
            "raise_budget(to=Budget(calls=100))"
        )
    return Budget(limit.usd, calls=now.calls, tokens=now.tokens)

"""A session: one run or conversation that shares a budget, detectors, a policy and a ledger.

The way of one call: `open_call` estimates it, prices it and holds the money, or refuses it;
`grow_call` extends the hold while an answer streams in; `close_call` prices what was used, writes one
entry, settles the hold and lets the detectors look. Adapters call these three and nothing else.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import NoReturn, TypeAlias, get_args

from apeiros_callbacks.alerts import AlertTo
from apeiros_callbacks.alerts.notices import Notices
from apeiros_callbacks.call import NO_PROMPT, Call, OpenCall, Outcome
from apeiros_callbacks.calls import Calls
from apeiros_callbacks.caps import checked_alert, checked_customer
from apeiros_callbacks.checked import flag, instance
from apeiros_callbacks.current import session_around
from apeiros_callbacks.display import Findings, session_html, session_line, session_text
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.environment import enforced, in_event_loop
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.estimate import Estimator
from apeiros_callbacks.forked import in_forked_child
from apeiros_callbacks.gate import Gate
from apeiros_callbacks.ledger import Ledger, open_for
from apeiros_callbacks.ledger.allowance import GUARD
from apeiros_callbacks.money import Dollars, exact_usd
from apeiros_callbacks.noting import Notes
from apeiros_callbacks.policy import Action, Choice, Policy
from apeiros_callbacks.prices import Price, PriceBook, UnknownPricePolicy
from apeiros_callbacks.prices import warm as warm_prices
from apeiros_callbacks.prices.file import declared_prices
from apeiros_callbacks.recorder import Recorder
from apeiros_callbacks.report import Health
from apeiros_callbacks.reserving import Reservation
from apeiros_callbacks.scopes import Accounts, Budget
from apeiros_callbacks.scoping import Per, Scoping
from apeiros_callbacks.tokens import warm as warm_tokens
from apeiros_callbacks.waiting import LedgerDownPolicy, Lender
from apeiros_callbacks.watch import Watch

__all__ = ["Clock", "Session"]

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present time, with a time zone."""


def _alert(alert_at: Dollars | None, limit: Budget | None) -> Decimal | None:
    if alert_at is None:
        return None
    if limit is None or limit.usd is None:
        raise ConfigError("alert_at is US dollars of a budget: set budget= too")
    return checked_alert(exact_usd(alert_at, "alert_at"), limit.usd)


def utc_now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)


class Session:
    """Keeps one budget and one ledger scope for any number of calls, from any thread or task.

    Args:
        budget: US dollars, or a `Budget`; None records without a limit.
        per: what the budget is for: ``"handler"``, all calls of the session together; ``"run"``, each root
            run by itself; ``"thread"``, each conversation (LangGraph's ``thread_id``), or each run where
            there is none. What runs and conversations spent is remembered while the process lives.
        agent_budgets: budgets of single agents by name, for instance ``{"researcher": 0.20}``; within each
            run or conversation where `per` says so.
        parent: a session that this one is part of: its calls count against the parent's budget too, and are
            among the parent's entries. Prices, actions and the like are each session's own.
        id: a name of your own; a random one otherwise. What a session of that name spent before, as far as
            the ledger has it, counts against the budget: it goes on where it stopped.
        customer: whom its calls are for, where they do not say it themselves; that of `parent` unless given.
        ledger: an open ledger or its URL; that of `parent` otherwise, or ``APEIROS_LEDGER``, or ``memory:``.
            With a customer of its own, whose cap processes share, it is ``APEIROS_LEDGER`` or a file in this
            user's data folder.
        prices: prices of your own by model, in USD per million tokens; they win over the listed ones.
        models: other names of listed models, for instance ``{"my-deployment": "azure:gpt-4o"}``.
        unknown_price: what to do about a model without a price while a budget in dollars is set:
            ``"refuse"`` it, ``"assume"`` $3 and $15 per million tokens, or ``"allow"`` it uncounted.
        on: actions by finding, for instance ``{"retry_loop": "raise"}``; see `Choice` in
            ``apeiros_callbacks.policy``.
        on_exceeded: the action for ``budget_exceeded`` where `on` has none: ``"raise"`` or ``"warn"``. Caps
            of customers refuse also where it warns.
        strict: hold the most that a call can cost instead of what it is expected to: one token for each
            byte sent, the declared maximum for the answer, the dearest rates. The budget is never passed
            then, and fewer calls fit into it. A call that declares no maximum is refused.
        enforce: False watches only: what would be refused is logged and goes on. So does
            ``APEIROS_ENFORCE=0`` in the environment, for every session.
        on_ledger_down: what to do with a customer's call while the ledger that keeps its cap cannot be asked:
            ``"refuse"`` it, or ``"allow"`` it as far as this process knows the cap.
        ledger_timeout: the most that one call waits for the ledger, in seconds.
        alerts: whom to tell, once each, that the budget is nearly spent and that it is, and the same of the
            caps of customers: `Slack`, `Webhook`, functions of an `Alert`. Nothing waits for them.
        alert_at: US dollars of the budget at which they are told first; 80% of it unless given.
        clock: gives the present time; for tests.

    Raises:
        ConfigError: a budget, a price, a finding or an action is not valid.
        LedgerError: the ledger cannot be opened.

    Example:
        >>> session = Session(budget=0.50)
        >>> session.remaining
        Decimal('0.5')
    """

    def __init__(
        self,
        budget: Budget | Dollars | None = None,
        *,
        per: Per = "handler",
        agent_budgets: Mapping[str, Budget | Dollars] | None = None,
        parent: Session | None = None,
        id: str | None = None,  # noqa: A002 - the word of the ledger
        customer: str | None = None,
        ledger: Ledger | str | None = None,
        prices: Mapping[str, Price] | None = None,
        models: Mapping[str, str] | None = None,
        unknown_price: UnknownPricePolicy = "refuse",
        on: Mapping[str, Choice] | None = None,
        on_exceeded: Action = "raise",
        strict: bool = False,
        enforce: bool = True,
        on_ledger_down: LedgerDownPolicy = "refuse",
        ledger_timeout: float = 5.0,
        alerts: Collection[AlertTo] = (),
        alert_at: Dollars | None = None,
        clock: Clock = utc_now,
    ) -> None:
        limit = Budget.of(budget)
        if on_ledger_down not in get_args(LedgerDownPolicy):
            raise ConfigError(f'on_ledger_down must be "refuse" or "allow", got {on_ledger_down!r}')
        if isinstance(ledger_timeout, bool) or not 0 < ledger_timeout < math.inf:
            raise ConfigError(f"ledger_timeout must be seconds above 0, got {ledger_timeout!r}")
        parent = session_around() if parent is None else parent
        if id is not None and not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"id must be a str, got {id!r}: write str(id)")
        if id is not None and not id.strip():
            raise ConfigError("id must not be empty: leave it out for a random one")
        if parent is not None:
            instance(parent, Session, "parent")
        self.id = id or uuid.uuid4().hex[:12]
        self._policy = Policy(on, exceeded=on_exceeded)
        book = PriceBook(declared_prices(prices), models, unknown_price=unknown_price)
        self._enforce = enforced(enforce)
        estimator = Estimator(strict=flag(strict, "strict"))
        if parent is not None and (customer is None or customer == parent.customer):
            customer = parent.customer
            ledger = parent.ledger if ledger is None else ledger
        self.customer: str | None = customer if customer is None else checked_customer(customer)
        """Whom its calls are for, where they do not say it themselves."""
        self._ledger = open_for(customer, ledger)
        self._scoping: Scoping = Scoping(
            f"session {self.id}",
            limit,
            per=per,
            agents=agent_budgets,
            around=None if parent is None else parent._scoping,
            allowances=self._ledger.allowances,
            clock=clock,
            alert_at=_alert(alert_at, limit),
        )
        self._account = self._scoping.own
        self._notices: Notices = Notices(
            alerts, self._ledger, clock, None if parent is None else parent._notices
        )
        notes = Notes(self.id, self._ledger, clock)
        self._watch = Watch(self._policy, self._notices, notes, enforces=self._enforce)
        # Scopes that sessions share, and allowances of one ledger, are changed under one guard.
        self._accounts = Accounts(GUARD)
        around: tuple[str, ...] = () if parent is None else parent._ledger_scopes
        self._ledger_scopes: tuple[str, ...] = (f"session:{self.id}", *around)
        self._elsewhere: tuple[tuple[Ledger, tuple[str, ...]], ...] = ()
        """Ledgers of the sessions around, where they are others, with their scopes."""
        if parent is not None:
            outer_ledgers = ((parent._ledger, parent._ledger_scopes), *parent._elsewhere)
            self._elsewhere = tuple([one for one in outer_ledgers if one[0] is not self._ledger])
        recorder = Recorder(
            self.id,
            self._ledger_scopes,
            self._ledger,
            self._accounts,
            estimator,
            book,
            self._watch,
            self._notices,
            clock,
            self._elsewhere,
        )
        lender = Lender(self._ledger, ledger_timeout, on_ledger_down)
        self._gate = Gate(self._scoping, self._accounts, estimator, book, self._watch, lender, clock)
        outer = None if parent is None else parent._calls
        self._calls: Calls = Calls(
            self._scoping, self._accounts, self._gate, recorder, self._watch, clock, outer
        )
        in_forked_child(self._calls)
        if id:
            recorder.go_on(self._account)
        wait = not in_event_loop()
        warm_prices(wait=wait)
        warm_tokens(wait=wait)

    # The way of one call

    def open_call(self, call: Call) -> OpenCall:
        """Hold what a call is expected to cost. A second start while it is open is the same call.

        Returns:
            The open call, for `grow_call`.

        Raises:
            BudgetExceeded: it is expected to pass the budget.
            UnknownPrice: a budget is set and its price is not known.
            StoppedByFinding: a detector's finding is set to ``"raise"``.
            Unbounded: the session is strict and the call declares no maximum for its answer.
            GateFailed: the check itself failed and a budget is set.
        """
        return self._calls.open(self._mine(call))

    def gate_failed(self, bug: Exception) -> None:
        """Note that a call could not be checked before it is sent.

        Raises:
            GateFailed: a budget is set and enforced.
        """
        self._calls.check_failed(bug)

    def grow_call(self, open_call: OpenCall, text: str, *, can_cut: bool = True) -> None:
        """Note a piece of an answer that streams in, and hold more when it outgrows the estimate.

        Args:
            open_call: the call.
            text: the piece.
            can_cut: False where the framework cannot end the stream: that it passes the budget is then only
                noted, and its run is refused the next call.

        Raises:
            BudgetExceeded: the budget is reached; the stream must be cut. The caller closes the call.
        """
        self._calls.grow(open_call, text, can_cut=can_cut)

    def reservation(self, call: Call, wait: float) -> Reservation:
        """What a router keeps for a call while it waits for money that other calls hold, and then starts it.

        Args:
            call: the call as it will start.
            wait: the most to wait, in seconds.
        """
        return Reservation(partial(self._gate.reserve, self._mine(call)), self._accounts.release, wait)

    def affordable_output(self, call: Call) -> int | None:
        """Tokens that a call may write, each choice, before it passes a budget; may be negative.

        None without a budget in dollars, or a price for what the model writes.
        """
        return self._gate.affordable_output(self._mine(call))

    def close_call(self, call_id: str, outcome: Outcome) -> Entry | None:
        """Settle a call and write its entry. Never raises; a second end of one call does nothing.

        Returns:
            The entry, or None when there was nothing to write.
        """
        return self._calls.close(call_id, outcome)

    def record(self, call: Call, outcome: Outcome) -> Entry | None:
        """Write the entry of a call that was made elsewhere: it is paid for, so nothing refuses it.

        Never raises. The detectors look at it as at every other call.

        Returns:
            The entry, or None when there was nothing to write.
        """
        return self._calls.record(self._mine(call), outcome)

    def note_call(self, call: Call) -> None:
        """Open a call that was made elsewhere, and that `close_call` writes the entry of. Nothing refuses it.

        Never raises. Of several sessions that are told of one call, each is to note it before one closes it:
        what they are part of is charged for it once.
        """
        self._calls.note(self._mine(call))

    def _mine(self, call: Call) -> Call:
        """The call with the session's customer, where it names none."""
        if self.customer is None or call.customer is not None:
            return call
        return replace(call, customer=self.customer)

    def open_tool(
        self,
        call_id: str,
        name: str,
        *,
        agent: str | None = None,
        thread: str | None = None,
        customer: str | None = None,
        root: str = "",
        step: int | None = None,
    ) -> OpenCall:
        """Note that a tool starts. One without a price is never refused.

        Returns:
            The open call.

        Raises:
            BudgetExceeded: the tool has a price, and it is expected to pass the budget.
        """
        return self.open_call(
            Call(
                id=call_id,
                kind="tool",
                provider="",
                model=name,
                prompt=NO_PROMPT,
                agent=agent,
                thread=thread,
                customer=customer,
                root=root,
                step=step,
            )
        )

    def close_tool(self, call_id: str, error: str | None = None) -> Entry | None:
        """Note that a tool ended, with the type of its error where it failed."""
        return self.close_call(call_id, Outcome(ending="answered", error=error))

    # What a person asks

    @property
    def spent(self) -> Decimal:
        """US dollars spent so far, exact: the sum of the entries' amounts."""
        return self._account.spent_usd

    @property
    def budget(self) -> Budget | None:
        """The limit, if there is one: of the session, or of each run or conversation in it."""
        return self._scoping.budget

    @property
    def is_limited(self) -> bool:
        """Whether any of its calls has a limit: the session's, or an agent's, or a customer's cap."""
        return self._scoping.is_limited

    @property
    def enforces(self) -> bool:
        """Whether budgets are enforced, or only watched."""
        return self._enforce

    @property
    def remaining(self) -> Decimal | None:
        """US dollars left of the session's budget, what open calls hold not deducted.

        None without a budget in dollars, and where each run or conversation has one of its own.
        """
        limit = self._account.limit
        return None if limit is None or limit.usd is None else limit.usd - self.spent

    @property
    def open_holds(self) -> int:
        """How many calls and tools are open now."""
        return len(self._calls)

    @property
    def findings(self) -> Findings:
        """What the detectors saw, one line for each pattern, in the order of first sight."""
        return Findings(self._watch.findings)

    @property
    def health(self) -> Health:
        """What could not be known or recorded."""
        failure, notices = self._ledger.failure, self._notices
        return replace(
            self._watch.health,
            open=len(self._calls),
            ledger_failure=None if failure is None else str(failure),
            alerts_waiting=notices.waiting,
            alert_failure=notices.failure,
        )

    @property
    def ledger(self) -> Ledger:
        """Where the entries are."""
        return self._ledger

    def entries(self) -> list[Entry]:
        """The session's ledger lines, oldest first.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return self._ledger.entries(self._ledger_scopes[0])

    def state(self) -> dict[str, object]:
        """Where the session stands, as plain data that JSON takes.

        Money is a float here, as in the guide; `spent` and `remaining` are exact.

        Returns:
            ``session_id``, ``total_cost``, ``budget`` and ``remaining`` in US dollars (None without a
            budget), ``calls``, ``tokens``, and ``warnings``, the findings as plain data.
        """
        limit, spent, remaining = self._scoping.budget, self._account.spent, self.remaining
        return {
            "session_id": self.id,
            "total_cost": float(self.spent),
            "budget": None if limit is None or limit.usd is None else float(limit.usd),
            "remaining": None if remaining is None else float(remaining),
            "calls": spent.calls,
            "tokens": spent.tokens,
            "warnings": [finding.as_dict() for finding in self.findings],
        }

    def raise_budget(self, to: Budget | Dollars, *, agent: str | None = None) -> None:
        """Set a new budget; what was refused before is judged afresh.

        Args:
            to: a `Budget`, which replaces the one there is, or a number of US dollars, which leaves its
                limits on calls and tokens as they are.
            agent: the agent whose budget it is; the session's otherwise.

        Raises:
            ConfigError: the agent has no budget.
            InvalidBudget: it is not a valid budget, or it is dollars and the budget has no limit on those.
        """
        self._scoping.raise_budget(to, agent)
        self._watch.memory.forget_refusals()

    def reset(self) -> None:
        """Begin anew: nothing is spent and nothing was refused or found. The ledger keeps its entries."""
        with self._accounts.guard:
            self._scoping.reset()
        self._watch.forget()
        self._notices.forget()

    def flush(self, timeout: float = 5.0) -> None:
        """Wait until everything recorded so far is in the ledger.

        Raises:
            LedgerUnavailable: it was not written within `timeout` seconds; it is kept and tried again.
        """
        self._ledger.flush(timeout)

    def action_on(self, finding_type: str) -> Action:
        """What the session does about findings of a type, where no function says otherwise."""
        return self._policy.action(finding_type)

    def forgive(self, root: str) -> None:
        """Let a run go on that was stopped by a finding or refused for its budget."""
        self._watch.forgive(root)

    def went_wrong(self, doing: str, bug: Exception) -> None:
        """Count a failure of this package's own, and log the first."""
        self._watch.went_wrong(doing, bug)

    def __copy__(self) -> Session:
        return self  # a copy would have the same budget to spend once more

    def __deepcopy__(self, memo: object) -> Session:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a session cannot be pickled: its budget would be spent twice. Give each process one of its own; "
            "a cap that processes share is a customer's (customer=…, set_customer) on a ledger they share"
        )

    def _repr_html_(self) -> str:
        return session_html(self)

    def __str__(self) -> str:
        return session_text(self)

    def __repr__(self) -> str:
        return f"<Session {session_line(self)}>"

"""A session: one run or conversation that shares a budget, detectors, a policy and a ledger.

The way of one call: `open_call` estimates it, prices it and holds the money, or refuses it;
`grow_call` extends the hold while an answer streams in; `close_call` prices what was used, writes one
entry, settles the hold and lets the detectors look. Adapters call these three and nothing else.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple, TypeAlias

from apeiros_callbacks.call import Call, OpenCall, Outcome, Piece, Prompt
from apeiros_callbacks.detectors import BudgetExceededDetector, Detector, Finding, Lanes, built_in_detectors
from apeiros_callbacks.display import Findings, session_html, session_line, session_text
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import (
    BudgetExceeded,
    ConfigError,
    GateFailed,
    ModelDowngrade,
    Refused,
    StoppedByFinding,
    Unbounded,
    UnknownPrice,
)
from apeiros_callbacks.estimate import Estimate, Estimator, count_answer
from apeiros_callbacks.guard import Guard
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.money import Dollars, to_nano
from apeiros_callbacks.policy import Action, Choice, Policy
from apeiros_callbacks.prices import Price, PriceBook, Rates, UnknownPricePolicy
from apeiros_callbacks.prices import warm as warm_prices
from apeiros_callbacks.prices.file import declared_prices
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.report import Health, total
from apeiros_callbacks.routing import Rung
from apeiros_callbacks.scopes import Account, Accounts, Budget, Hold, Need
from apeiros_callbacks.scoping import Per, Scoping
from apeiros_callbacks.settle import Settled, correction, settle, unresolved
from apeiros_callbacks.tokens import warm as warm_tokens
from apeiros_callbacks.usage import Usage

__all__ = ["Clock", "Session"]

logger = logging.getLogger("apeiros_callbacks")

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present time, with a time zone."""

_NO_PROMPT = Prompt((), lambda _: Piece(""))
_NO_USAGE = Usage()
_NOTHING = Need(0)
_COUNT_ONLY = {"llm": Need(0, 1)}
_ROOTS = 10_000
_CLOSED = 50_000
_STEP_TOKENS = 256
"""A stream's hold grows by a quarter of its output, and by at least this many tokens."""


_ADVICE = {
    "usd": "Raise it with session.raise_budget(to=…).",
    "calls": "Raise it with session.raise_budget(to=Budget(calls=…)).",
    "tokens": "Raise it with session.raise_budget(to=Budget(tokens=…)).",
}


class _Refused(NamedTuple):
    """What was refused last in a root run."""

    refusal: BudgetExceeded
    need: Need
    model: str
    prompt: int


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
            among the parent's entries.
        id: a name of your own; a random one otherwise. What a session of that name spent before, as far as
            the ledger has it, counts against the budget: it goes on where it stopped.
        ledger: an open ledger or its URL; ``APEIROS_LEDGER`` or ``memory:`` otherwise.
        prices: prices of your own by model, in USD per million tokens; they win over the listed ones.
        models: other names of listed models, for instance ``{"my-deployment": "azure:gpt-4o"}``.
        unknown_price: what to do about a model without a price while a budget in dollars is set:
            ``"refuse"`` it, ``"assume"`` $3 and $15 per million tokens, or ``"allow"`` it uncounted.
        on: actions by finding, for instance ``{"retry_loop": "raise"}``; see `Choice` in
            ``apeiros_callbacks.policy``.
        on_exceeded: the action for ``budget_exceeded`` where `on` has none: ``"raise"`` or ``"warn"``.
        strict: hold the most that a call can cost instead of what it is expected to: one token for each
            byte sent, the declared maximum for the answer, the dearest rates. The budget is never passed
            then, and fewer calls fit into it. A call that declares no maximum is refused.
        enforce: False watches only: what would be refused is logged and goes on. So does
            ``APEIROS_ENFORCE=0`` in the environment, for every session.
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
        ledger: Ledger | str | None = None,
        prices: Mapping[str, Price] | None = None,
        models: Mapping[str, str] | None = None,
        unknown_price: UnknownPricePolicy = "refuse",
        on: Mapping[str, Choice] | None = None,
        on_exceeded: Action = "raise",
        strict: bool = False,
        enforce: bool = True,
        clock: Clock = utc_now,
    ) -> None:
        limit = Budget.of(budget)
        if id is not None and not isinstance(id, str):
            raise ConfigError(f"id must be a str, got {id!r}: write str(id)")
        self.id = id or uuid.uuid4().hex[:12]
        self._policy = Policy(on, exceeded=on_exceeded)
        self._book = PriceBook(declared_prices(prices), models, unknown_price=unknown_price)
        self._unknown_price = unknown_price
        self._enforce = _enforced(enforce)
        stops: tuple[Action, ...] = ("raise", "pause", "downgrade")
        self._raises = self._enforce and self._policy.action("budget_exceeded") in stops
        self._clock = clock
        self._estimator = Estimator(strict=strict)
        self._scoping: Scoping = Scoping(
            f"session {self.id}",
            limit,
            per=per,
            agents=agent_budgets,
            around=None if parent is None else parent._scoping,
        )
        self._account = self._scoping.own
        self._guard = Guard()
        # Scopes that sessions share are changed under one guard.
        self._accounts: Accounts = Accounts(self._guard) if parent is None else parent._accounts
        around: tuple[str, ...] = () if parent is None else parent._ledger_scopes
        self._ledger_scopes: tuple[str, ...] = (f"session:{self.id}", *around)
        self._exceeded = BudgetExceededDetector()
        self._detectors: tuple[Detector, ...] = (self._exceeded, *built_in_detectors())
        self._lanes = Lanes()
        self._findings: dict[object, Finding] = {}
        self._open: dict[str, OpenCall] = {}
        self._attempts: Recent[str, int] = Recent(_CLOSED)
        self._provisional: Recent[str, OpenCall] = Recent()
        self._refused: Recent[str, _Refused] = Recent(_ROOTS)
        self._stopped: Recent[str, Finding] = Recent(_ROOTS)
        self._routed: Recent[tuple[str, str], str] = Recent(_ROOTS)
        self._stepped: Recent[str, int] = Recent(_ROOTS)
        self._health = Health()
        self._ledger = (
            open_ledger(_ledger_url(ledger)) if ledger is None or isinstance(ledger, str) else ledger
        )
        _all.add(self)
        if id:
            self._go_on()
        wait = not _in_event_loop()
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
        again = self._open.get(call.id)
        if again is not None:
            return again
        try:
            return self._check_and_hold(call)
        except Refused:
            raise
        except Exception as bug:  # noqa: BLE001 - refused while a budget is set, noted while none is
            self.gate_failed(bug)
            return self._admit(call, Hold((), _NOTHING), None, None, self._scoping.accounts(call))

    def gate_failed(self, bug: Exception) -> None:
        """Note that a call could not be checked before it is sent.

        Raises:
            GateFailed: a budget is set and enforced.
        """
        self.went_wrong("checking a call before it is sent", bug)
        if self._scoping.is_limited and self._enforce:
            raise GateFailed(bug) from bug

    def grow_call(self, open_call: OpenCall, text: str) -> None:
        """Note a piece of an answer that streams in, and hold more when it outgrows the estimate.

        Raises:
            BudgetExceeded: the budget is reached; the stream must be cut. The caller closes the call.
        """
        open_call.take_text(text)
        if open_call.estimate is not None and open_call.may_exceed_hold():
            self._extend(open_call, open_call.estimate)

    def would_refuse(self, call: Call) -> BudgetExceeded | None:
        """What `open_call` would refuse a call with now, for want of money. Nothing is held or noted."""
        scopes = tuple([account for account in self._scoping.accounts(call) if account.limit is not None])
        if not scopes:
            return None
        need = self._need(call, self._estimator.estimate(call), self._rates(call, scopes))
        return self._accounts.lack(scopes, need, model=call.model)

    def affordable_output(self, call: Call) -> int | None:
        """Tokens that a call may write, each choice, before it passes a budget; may be negative.

        None without a budget in dollars, or a price for what the model writes.
        """
        scopes = [account for account in self._scoping.accounts(call) if account.limit_nano is not None]
        if not scopes:
            return None
        rates = self._rates(call, tuple(scopes))
        if rates is None:
            return None
        tokens = self._estimator.estimate(call).input_tokens
        cost = rates.bound_nano if self._estimator.strict else _expected(rates)
        read = cost(tokens, 0)
        million = cost(tokens, 1_000_000) - read
        if not million:
            return None
        left = min(scope.left_nano for scope in scopes) - read
        return left * 1_000_000 // million // call.choices

    def close_call(self, call_id: str, outcome: Outcome) -> Entry | None:
        """Settle a call and write its entry. Never raises; a second end of one call does nothing.

        Returns:
            The entry, or None when there was nothing to write.
        """
        busy = next((guard for guard in (self._guard, self._accounts.guard) if guard.is_mine), None)
        if busy is not None:  # the garbage collector closes an abandoned stream in the middle of a change
            busy.later(partial(self.close_call, call_id, outcome))
            return None
        open_call = self._open.pop(call_id, None)
        try:
            if open_call is None:
                return self._close_late(call_id, outcome)
            return self._close(open_call, outcome)
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            self.went_wrong("recording a call", bug)
            return None

    def record(self, call: Call, outcome: Outcome) -> Entry | None:
        """Write the entry of a call that was made elsewhere: it is paid for, so nothing refuses it.

        Never raises. The detectors look at it as at every other call.

        Returns:
            The entry, or None when there was nothing to write.
        """
        try:
            self._admit(call, Hold((), _NOTHING), None, None, self._scoping.accounts(call))
        except Exception as bug:  # noqa: BLE001 - the call was made, whatever goes wrong here
            self.went_wrong("recording a call", bug)
            return None
        return self.close_call(call.id, outcome)

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
                prompt=_NO_PROMPT,
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
        return len(self._open)

    @property
    def findings(self) -> Findings:
        """What the detectors saw, one line for each pattern, in the order of first sight."""
        with self._guard:
            return Findings(self._findings.values())

    @property
    def health(self) -> Health:
        """What could not be known or recorded."""
        with self._guard:
            health = replace(self._health, open=len(self._open))
        failure = self._ledger.failure
        return health if failure is None else replace(health, ledger_failure=str(failure))

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
        self._refused.clear()

    def reset(self) -> None:
        """Begin anew: nothing is spent and nothing was refused or found. The ledger keeps its entries."""
        with self._accounts.guard:
            self._scoping.reset()
        self._refused.clear()
        self._stopped.clear()
        with self._guard:
            self._findings.clear()

    def flush(self, timeout: float = 5.0) -> None:
        """Wait until everything recorded so far is in the ledger.

        Raises:
            LedgerUnavailable: it was not written within `timeout` seconds; it is kept and tried again.
        """
        self._ledger.flush(timeout)

    def __copy__(self) -> Session:
        return self  # a copy would have the same budget to spend once more

    def __deepcopy__(self, memo: object) -> Session:
        return self

    def _repr_html_(self) -> str:
        return session_html(self)

    def __str__(self) -> str:
        return session_text(self)

    def __repr__(self) -> str:
        return f"<Session {session_line(self)}>"

    def _start_afresh(self) -> None:
        """Hold nothing: in a forked child, whose parent's calls are the parent's to close."""
        self._guard.start_afresh()
        self._accounts.guard.start_afresh()
        for open_call in list(self._open.values()):
            self._accounts.release(open_call.hold)
        self._open = {}
        self._provisional.clear()

    # Opening

    def _go_on(self) -> None:
        """Take up what a session of this name has in the ledger."""
        lines = self._ledger.entries(self._ledger_scopes[0])
        if lines:
            sums = total(lines)
            tokens = sums.input_tokens + sums.output_tokens
            self._accounts.correct((self._account,), Need(to_nano(sums.cost), sums.calls, tokens), sums.cost)
            for line in lines:
                self._attempts.set(line.id, line.attempt)

    def _check_and_hold(self, call: Call) -> OpenCall:
        accounts = self._scoping.accounts(call)
        scopes = tuple([account for account in accounts if account.limit is not None])
        rates = estimate = None
        need = _COUNT_ONLY.get(call.kind, _NOTHING)
        if scopes:
            rates = self._rates(call, scopes)
            if call.kind == "tool":
                need = Need(rates.cost_nano(_NO_USAGE) if rates else 0)
                scopes = scopes if need.nano else ()  # a tool without a price is never refused
            else:
                estimate = self._estimator.estimate(call)
                need = self._need(call, estimate, rates)
        if call.rung is not None:
            self._step_down(call, call.rung, scopes, need, estimate, rates)
        self._judge_again(call, need)
        hold, over = self._accounts.hold(scopes, need, model=call.model, force=not self._raises)
        if over is not None and self._refuses(call, over, need):
            raise over
        if hold is None:  # a function of the user's lets it pass
            hold, _ = self._accounts.hold(scopes, need, force=True)
        if hold is None:
            raise AssertionError("a forced hold is given")
        try:
            finding = self._look_before(call)
            if finding is None:
                opened = self._admit(call, hold, estimate, rates, accounts)
        except BaseException:  # also of a person who interrupts
            self._accounts.release(hold)
            raise
        if finding is not None:
            self._accounts.release(hold)
            raise StoppedByFinding(finding)
        opened.watched = over is not None
        if call.rung is not None:
            opened.routed_why = self._routed.pop(_route_of(call, call.rung)) or ""
        return opened

    def _step_down(
        self,
        call: Call,
        rung: Rung,
        scopes: tuple[Account, ...],
        need: Need,
        estimate: Estimate | None,
        rates: Rates | None,
    ) -> None:
        """Let a router take a cheaper model, where this one is not to be taken and there is one."""
        if rung.is_last:
            return
        why = self._why_not(call, rung, scopes, need, estimate, rates)
        if why:
            route = _route_of(call, rung)
            self._routed.set(route, self._routed.get(route) or why)
            raise ModelDowngrade(call.model, why)

    def _why_not(
        self,
        call: Call,
        rung: Rung,
        scopes: tuple[Account, ...],
        need: Need,
        estimate: Estimate | None,
        rates: Rates | None,
    ) -> str:
        if (self._stepped.get(call.root) or 0) > rung.place:
            return "a finding of this run asks for a cheaper model"
        for scope in scopes:
            share = scope.share
            if rung.is_left_at(share):
                return f"{share:.0%} of the budget of {scope.name} is spent"
        if scopes and rates is None:
            return f"no price is known for {call.model}"
        window = self._book.context_window(call.provider, call.model) if estimate is not None else None
        if window is not None and estimate is not None and estimate.input_tokens > window:
            return f"about {estimate.input_tokens:,} tokens do not fit into the {window:,} of {call.model}"
        before = self._refused.get(call.root) if call.root else None
        if before is not None and need.nano >= before.need.nano:
            return f"a call as dear was refused in this run: {before.refusal}"
        over = self._accounts.lack(scopes, need, model=call.model)
        return str(over) if over is not None and self._raises else ""

    def _need(self, call: Call, estimate: Estimate, rates: Rates | None) -> Need:
        """What to hold for a call: what it is expected to cost, or under ``strict`` the most it can."""
        tokens = estimate.input_tokens, estimate.output_tokens
        if rates is None:
            nano = 0
        elif not self._estimator.strict:
            nano = rates.cost_nano(Usage(input_tokens=tokens[0], output_tokens=tokens[1]))
        elif call.most_output is None and self._enforce:
            raise Unbounded(call.model)
        elif call.prompt.beyond and self._enforce:
            raise Unbounded(call.model, ", ".join(call.prompt.beyond))
        else:
            nano = rates.bound_nano(*tokens)
        return Need(nano, 1 if call.kind == "llm" else 0, sum(tokens))

    def _admit(
        self,
        call: Call,
        hold: Hold,
        estimate: Estimate | None,
        rates: Rates | None,
        accounts: tuple[Account, ...],
    ) -> OpenCall:
        attempt = (self._attempts.get(call.id) or 0) + 1
        opened = OpenCall(call, attempt, hold, estimate, rates, self._clock(), accounts)
        first = self._open.setdefault(call.id, opened)
        if first is not opened:  # another thread has just opened a call of this id
            self._accounts.release(hold)
        return first

    def _rates(self, call: Call, scopes: tuple[Account, ...]) -> Rates | None:
        if call.kind == "tool":
            return self._book.tool(call.model)
        context = {"service_tier": call.service_tier} if call.service_tier else None
        rates = self._book.rates(call.provider, call.model, self._clock(), context)
        in_dollars = any(scope.limit_nano is not None for scope in scopes)
        if rates is None and in_dollars and self._unknown_price == "refuse":
            unknown = UnknownPrice(call.provider, call.model, self._book.suggest(call.provider, call.model))
            if self._enforce:
                raise unknown
            self._watched(unknown, call)
        return rates

    def _judge_again(self, call: Call, need: Need) -> None:
        """Refuse what was refused before in the same root run, so that a swallowed refusal costs nothing."""
        before = self._refused.get(call.root) if call.root else None
        if before is None or not self._raises:
            return
        same = before.model == call.model and before.prompt == hash(call.prompt.marks)
        now, then = (_in_unit(one, before.refusal.unit) for one in (need, before.need))
        if now and (same or now >= then):
            again = copy.copy(before.refusal)
            if self._refuses(call, again, before.need):
                raise again

    def _refuses(self, call: Call, refusal: BudgetExceeded, need: Need) -> bool:
        """Note that a call passes a budget: its finding, its root run. True when it is refused for that."""
        refusal.advice = _ADVICE.get(refusal.unit, "")
        refusal.was_sent = not self._raises
        finding = self._exceeded.refused(refusal, call.agent, call.step)
        with self._guard:
            self._note(finding)
        action = self._follow(finding, call)
        if not self._enforce:
            logger.warning("not enforced: %s", refusal)
        if not self._raises or action in {"warn", "ignore"}:
            return False
        if call.root:
            # A copy: the one that is raised holds on to the frames it goes through, and to their streams.
            kept = copy.copy(refusal)
            self._refused.set(call.root, _Refused(kept, need, call.model, hash(call.prompt.marks)))
        return True

    def _follow(self, finding: Finding, call: Call) -> Action:
        """Do what the policy says about a finding, and say what that is. Not under the guard: it may take."""
        try:
            action = self._policy.decide(finding)
        except Exception as bug:  # noqa: BLE001 - a function of the user's
            self.went_wrong(f"telling of {finding.type}", bug)
            action = self._policy.action(finding.type)
        if action == "downgrade" and call.root:
            self._stepped.set(call.root, (self._stepped.get(call.root) or 0) + 1)
        return action

    def _watched(self, refusal: Refused, call: Call) -> None:
        """Note what would have been refused, where budgets are only watched."""
        refusal.was_sent = True
        logger.warning("not enforced: %s", refusal)
        finding = Finding(
            type="budget_exceeded",
            severity="warning",
            message=str(refusal),
            numbers={"model": call.model},
            agent=call.agent,
            step=call.step,
        )
        with self._guard:
            self._note(finding)

    def _look_before(self, call: Call) -> Finding | None:
        """Let the detectors look at a call before it is sent; a finding that refuses it is given back."""
        if call.kind == "tool":
            return None
        found: list[Finding] = []
        with self._guard:
            attempt = self._lanes.opened(call.lane, hash(call.prompt.marks), call.step)
            for detector in self._detectors:
                finding = detector.opened(attempt)
                if finding is not None:
                    self._note(finding)
                    found.append(finding)
            stopped = self._stopped.get(call.root) if call.root else None
        for finding in found:
            if self._policy.refuses(self._follow(finding, call)) and self._enforce:
                stopped = finding
        return stopped

    def _note(self, finding: Finding) -> None:
        """List a finding; called under the guard."""
        action = self._policy.action(finding.type)
        if action == "ignore":
            return
        line = self._findings.get(finding.line)
        self._findings[finding.line] = finding if line is None else line.again(finding)
        if line is None and action == "warn":
            level = logging.INFO if finding.severity == "notice" else logging.WARNING
            logger.log(level, "%s: %s", finding.type, finding.message)

    # Growing

    def _extend(self, open_call: OpenCall, estimate: Estimate) -> None:
        call = open_call.call
        output = open_call.count_output(partial(count_answer, call))
        step = max(_STEP_TOKENS, output // 4)
        if open_call.held_output - output >= step // 4:
            return  # there were fewer tokens than bytes, and plenty is left
        over = None
        for target in (output + step, output):
            if target <= open_call.held_output:
                return
            grown = estimate._replace(output_tokens=target)
            need = self._need(call, grown, open_call.rates)
            over = self._accounts.extend(open_call.hold, need, model=call.model, force=not self._raises)
            if over is None or not self._raises:
                open_call.held_output = target
                break
        if over is None:
            return
        if self._refuses(call, over, open_call.hold.need):
            raise over
        if open_call.held_output < output:  # a function of the user's lets it pass
            self._accounts.extend(open_call.hold, need, force=True)
            open_call.held_output = output

    # Closing

    def _close(self, open_call: OpenCall, outcome: Outcome) -> Entry | None:
        call = open_call.call
        if outcome.ending == "unsent":
            self._accounts.release(open_call.hold)
            if outcome.provisional:
                open_call.state = "provisional"
                self._provisional.set(call.id, open_call)
            return None
        settled = self._settled(open_call, outcome)
        entry = settled.entry
        open_call.entry = entry
        self._accounts.settle(open_call.hold, open_call.accounts, settled.need, entry.amount)
        self._attempts.set(call.id, open_call.attempt)
        if outcome.provisional:
            open_call.state = "provisional"
            self._provisional.set(call.id, open_call)
        else:
            open_call.state = "closed"
        self._record(open_call, outcome, entry)
        return entry

    def _settled(self, open_call: OpenCall, outcome: Outcome) -> Settled:
        try:
            return settle(open_call, outcome, self._book, self._estimator, self.id, self._clock())
        except Exception as bug:  # noqa: BLE001 - a call that was sent is in the ledger, come what may
            self.went_wrong("pricing a call", bug)
            return unresolved(open_call, outcome, self.id, self._clock())

    def _close_late(self, call_id: str, outcome: Outcome) -> Entry | None:
        """A real end after an inferred one corrects it; any other second end does nothing."""
        if outcome.provisional:
            return None
        open_call = self._provisional.pop(call_id)
        if open_call is None or outcome.ending == "unsent":
            return None
        settled = self._settled(open_call, outcome)
        entry, need = settled
        if open_call.entry is not None:
            entry, need = correction(open_call.entry, settled)
        else:
            self._attempts.set(call_id, open_call.attempt)
        self._accounts.correct(open_call.accounts, need, entry.amount)
        open_call.state = "closed"
        self._record(open_call, outcome, entry)
        return entry

    def _record(self, open_call: OpenCall, outcome: Outcome, entry: Entry) -> None:
        call = open_call.call
        scopes = self._ledger_scopes
        self._ledger.append(entry, (*scopes, f"customer:{call.customer}") if call.customer else scopes)
        whole = outcome.ending == "answered" and not outcome.cached
        if whole and entry.kind != "tool" and outcome.usage is not None:
            self._estimator.learn(call, open_call.estimate, outcome.usage)
        found: list[Finding] = []
        with self._guard:
            if entry.kind == "correction":
                if open_call.entry is not None:
                    self._health = self._health.correcting(open_call.entry, entry)
                return
            self._health = self._health.counting(entry)
            if outcome.provisional and outcome.ending != "lost":
                self._health = replace(self._health, end_inferred=self._health.end_inferred + 1)
            step = self._lanes.closed(call.lane, hash(call.prompt.marks), entry, open_call.accounts)
            for detector in self._detectors:
                finding = detector.closed(step)
                if finding is None or (detector is self._exceeded and open_call.watched):
                    continue  # that it passes the budget was noted before it was sent
                self._note(finding)
                found.append(finding)
        for finding in found:
            stops = self._policy.refuses(self._follow(finding, call)) and self._enforce
            if stops and finding.type != "budget_exceeded":
                self._stopped.set(call.root, finding)

    def action_on(self, finding_type: str) -> Action:
        """What the session does about findings of a type, where no function says otherwise."""
        return self._policy.action(finding_type)

    def forgive(self, root: str) -> None:
        """Let a run go on that was stopped by a finding or refused for its budget."""
        self._stopped.pop(root)
        self._refused.pop(root)
        with self._guard:
            self._lanes = Lanes()

    def went_wrong(self, doing: str, bug: Exception) -> None:
        """Count a failure of this package's own, and log the first."""
        with self._guard:
            first = not self._health.failures
            self._health = replace(self._health, failures=self._health.failures + 1)
        if first:
            logger.error("%s went wrong; it is counted in session.health", doing, exc_info=bug)


def _ledger_url(given: str | None) -> str:
    return given if given is not None else os.environ.get("APEIROS_LEDGER") or "memory:"


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _expected(rates: Rates) -> Callable[[int, int], int]:
    return lambda read, written: rates.cost_nano(Usage(input_tokens=read, output_tokens=written))


def _route_of(call: Call, rung: Rung) -> tuple[str, str]:
    return (call.root, f"{rung.preferred} {rung.at}")


def _in_unit(need: Need, unit: str) -> int:
    return {"usd": need.nano, "calls": need.calls, "tokens": need.tokens}[unit]


_NO = frozenset({"0", "false", "no", "off"})
_YES = frozenset({"", "1", "true", "yes", "on"})


def _enforced(enforce: bool) -> bool:
    """Whether budgets are enforced; ``APEIROS_ENFORCE=0`` ends it for every session."""
    said = os.environ.get("APEIROS_ENFORCE", "").strip().lower()
    if said in _NO:
        logger.warning("APEIROS_ENFORCE=%s: budgets are watched, not enforced", said)
        return False
    if said not in _YES:
        raise ConfigError(f"APEIROS_ENFORCE must be 0 or 1, got {said!r}")
    return enforce


_all: weakref.WeakSet[Session] = weakref.WeakSet()


def _in_the_child() -> None:
    for session in list(_all):
        session._start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)

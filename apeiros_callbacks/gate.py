"""What may be sent: a call is estimated, priced and held on its scopes, or refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from apeiros_callbacks.call import Call, OpenCall
from apeiros_callbacks.detectors import Finding
from apeiros_callbacks.errors import (
    BudgetExceeded,
    ModelDowngrade,
    Refused,
    StoppedByFinding,
    Unbounded,
    UnknownPrice,
)
from apeiros_callbacks.estimate import Estimate, Estimator, count_answer
from apeiros_callbacks.holding import Holder
from apeiros_callbacks.money import from_nano
from apeiros_callbacks.prices import PriceBook, Rates
from apeiros_callbacks.reserving import kept_here, kept_of
from apeiros_callbacks.routing import Rung
from apeiros_callbacks.scopes import Account, Accounts, Hold, Need
from apeiros_callbacks.scoping import Scoping
from apeiros_callbacks.waiting import Lender
from apeiros_callbacks.watch import Watch

__all__ = ["Gate", "Passed"]

logger = logging.getLogger("apeiros_callbacks")

_NOTHING = Need(0)
_COUNT_ONLY = {"llm": Need(0, 1)}
_STEP_TOKENS = 256
"""A stream's hold grows by a quarter of its output, and by at least this many tokens."""

_PLENTY = 1_000
"""Calls that a budget has room for when what one of them needs must not be known well."""

_ADVICE = {
    "usd": "Raise it with session.raise_budget(to=…).",
    "calls": "Raise it with session.raise_budget(to=Budget(calls=…)).",
    "tokens": "Raise it with session.raise_budget(to=Budget(tokens=…)).",
}


class Passed(NamedTuple):
    """What is held for a call that may be sent, and what is known of it."""

    hold: Hold
    accounts: tuple[Account, ...]
    """The scopes that it is charged to."""
    estimate: Estimate | None = None
    """None where no scope has a limit."""
    rates: Rates | None = None
    over_budget: bool = False
    """It is expected to pass a budget all the same; that was noted."""
    routed_why: str = ""
    """Why a router took this model, which is a cheaper one."""


class Gate:
    """Holds the money of a session's calls, or refuses them.

    Args:
        scoping: which scopes a call is in.
        accounts: what changes them.
        estimator: what a call will need.
        book: what a token costs.
        watch: lists what is refused, remembers it, and lets the detectors look.
        lender: waits for what a call needs of caps that processes share.
        clock: gives the present time.
    """

    def __init__(
        self,
        scoping: Scoping,
        accounts: Accounts,
        estimator: Estimator,
        book: PriceBook,
        watch: Watch,
        lender: Lender,
        clock: Callable[[], datetime],
    ) -> None:
        self._scoping = scoping
        self._accounts = accounts
        self._estimator = estimator
        self._book = book
        self._watch = watch
        self._memory = watch.memory
        self._enforces = watch.enforces
        self._raises = watch.refuses_over_budget
        self._holder = Holder(accounts, lender, raises=self._raises, enforces=self._enforces)
        self._clock = clock
        self._is_tight = False
        """A call was seen that its budgets do not have plenty for; from then on prompts are counted."""

    def check(self, call: Call, charged: tuple[Account, ...] = ()) -> Passed:
        """Hold what a call is expected to cost.

        Args:
            call: the call.
            charged: scopes that are charged for it already.

        Raises:
            BudgetExceeded: it is expected to pass the budget.
            UnknownPrice: a budget is set and its price is not known.
            StoppedByFinding: a finding stops it.
            Unbounded: nothing bounds what it may cost, and the session is strict.
            ModelDowngrade: a router is to take a cheaper model.
            LedgerDown: a shared cap applies, and the ledger cannot be asked.
        """
        attempt = self._holder.attempt(call)
        accounts = self._accounts_of(call, charged)
        scopes = tuple([account for account in accounts if account.limit is not None])
        rates = estimate = None
        need = _COUNT_ONLY.get(call.kind, _NOTHING)
        if scopes and call.kind == "tool":
            rates = self._book.tool(call.model)
            need = Need(rates.plain_nano(0, 0) if rates else 0)
            scopes = scopes if need.nano else ()  # a tool without a price is never refused
        elif scopes:
            rough = None if self._is_tight or call.rung is not None else self._estimator.rough(call)
            estimate = rough or self._estimator.estimate(call)
            try:
                rates = self._rates(call, scopes)
            except UnknownPrice:
                if call.rung is not None:
                    why = f"no price is known for {call.model}"
                    self._step_down(call, call.rung, why, scopes, estimate)
                raise
            need = self._need(call, estimate, rates)
            if estimate.is_rough and not _have_plenty(scopes, need):
                self._is_tight = True
                estimate = self._estimator.estimate(call)
                need = self._need(call, estimate, rates)
        self._holder.lend(scopes, need, attempt)
        if call.rung is not None and not call.rung.is_last:
            if (kept := kept_here.get()) is not None:
                self._accounts.release(kept)  # a cheaper model is judged by what is left without it
            why = self._why_not(call, call.rung, scopes, need, estimate, rates)
            self._step_down(call, call.rung, why, scopes, estimate)
        self._judge_again(call, need)
        hold, over = self._holder.hold(scopes, need, call, attempt)
        if over is not None:
            hint = self._hint(call, over, estimate, rates)
            if self._refuses(call, over, need, warns=hold is not None, hint=hint):
                raise over
        if hold is None:  # a function of the user's lets it pass
            hold, _ = self._accounts.hold(scopes, need, force=True)
        if hold is None:
            raise AssertionError("a forced hold is given")
        try:
            finding = self._watch.look_before(call)
        except BaseException:  # also of a person who interrupts
            self._accounts.release(hold)
            raise
        if finding is not None:
            self._accounts.release(hold)
            raise StoppedByFinding(finding)
        why = "" if call.rung is None else self._memory.take_route(call)
        return Passed(hold, accounts, estimate, rates, over is not None, why)

    def unchecked(self, call: Call, charged: tuple[Account, ...] = ()) -> Passed:
        """Nothing held for a call that goes on unjudged; what it costs is charged all the same."""
        return Passed(Hold((), _NOTHING), self._accounts_of(call, charged))

    def _accounts_of(self, call: Call, charged: tuple[Account, ...]) -> tuple[Account, ...]:
        accounts = self._scoping.accounts(call)
        return tuple([one for one in accounts if one not in charged]) if charged else accounts

    def extend(self, open_call: OpenCall, estimate: Estimate, *, can_cut: bool = True) -> None:
        """Hold more for an answer that outgrows its estimate.

        Raises:
            BudgetExceeded: the budget is reached, and the stream can be cut.
        """
        call = open_call.call
        output = open_call.count_output(partial(count_answer, call))
        step = max(_STEP_TOKENS, output // 4)
        if open_call.held_output - output >= step // 4:
            return  # there were fewer tokens than bytes, and plenty is left
        if estimate.is_rough:
            estimate = open_call.estimate = self._estimator.estimate(call)
        over = None
        for target in (output + step, output):
            if target <= open_call.held_output:
                return
            grown = estimate._replace(output_tokens=target)
            need = self._need(call, grown, open_call.rates)
            has_grown, over = self._holder.extend(open_call, need)
            if has_grown:
                open_call.held_output = target
                break
        if over is None:
            return
        if can_cut and self._refuses(call, over, open_call.hold.need, warns=has_grown):
            open_call.is_noted = True
            raise over
        if not can_cut and not open_call.is_noted:
            self._refuses(call, over, open_call.hold.need, goes_on=True, warns=has_grown)
            open_call.is_noted = True
        if open_call.held_output < output:  # nothing cuts it, or a function of the user's lets it pass
            self._accounts.extend(open_call.hold, need, force=True)
            open_call.held_output = output

    def reserve(self, call: Call) -> tuple[Hold | None, BudgetExceeded | None]:
        """Hold what a call will need that is about to start; or say what would refuse it, which is not noted.

        Neither where nothing is limited, and where it would be refused for another reason.
        """
        limited = [account for account in self._scoping.accounts(call) if account.limit is not None]
        scopes = self._holder.refusing(tuple(limited))
        if not scopes:
            return None, None
        try:
            need = self._need(call, self._estimator.estimate(call), self._listed(call))
        except Unbounded:
            return None, None
        return self._accounts.hold(scopes, need, model=call.model, trusting=True)

    def affordable_output(self, call: Call) -> int | None:
        """Tokens that a call may write, each choice, before it passes a budget; may be negative.

        None without a budget in dollars, or a price for what the model writes.
        """
        scopes = [account for account in self._scoping.accounts(call) if account.limit_nano is not None]
        if not scopes:
            return None
        rates = self._listed(call)
        if rates is None:
            return None
        tokens = self._estimator.estimate(call).input_tokens
        cost = rates.bound_nano if self._estimator.strict else rates.plain_nano
        read = cost(tokens, 0)
        million = cost(tokens, 1_000_000) - read
        if not million:
            return None
        left = min(scope.left_nano + kept_of(scope) for scope in scopes) - read
        return left * 1_000_000 // million // call.choices

    # What a call needs

    def _need(self, call: Call, estimate: Estimate, rates: Rates | None) -> Need:
        """What to hold for a call: what it is expected to cost, or under ``strict`` the most it can."""
        tokens = estimate.input_tokens, estimate.output_tokens
        if rates is None:
            nano = 0
        elif not self._estimator.strict:
            nano = rates.plain_nano(*tokens)
        elif call.most_output is None and self._enforces:
            raise Unbounded(call.model)
        elif self._enforces and (beyond := call.prompt.find_beyond()):
            raise Unbounded(call.model, ", ".join(beyond))
        else:
            nano = rates.bound_nano(*tokens)
        return Need(nano, 1 if call.kind == "llm" else 0, sum(tokens))

    def _listed(self, call: Call) -> Rates | None:
        context = {"service_tier": call.service_tier} if call.service_tier else None
        return self._book.rates(call.provider, call.model, self._clock(), context)

    def _rates(self, call: Call, scopes: tuple[Account, ...]) -> Rates | None:
        rates = self._listed(call)
        if rates is not None or not self._book.refuses_unknown:
            return rates
        if any(scope.limit_nano is not None for scope in scopes):
            unknown = UnknownPrice(call.provider, call.model, self._book.suggest(call.provider, call.model))
            if self._enforces:
                raise unknown
            self._note_unenforced(unknown, call)
        return rates

    # Refusing

    def _step_down(
        self, call: Call, rung: Rung, why: str, scopes: tuple[Account, ...], estimate: Estimate | None
    ) -> None:
        """Let a router take a cheaper model, where there is a reason and one that can take the call over."""
        if why and not rung.is_last and self._has_successor(call, rung, scopes, estimate):
            self._memory.route(call, why)
            raise ModelDowngrade(call.model, why)

    def _has_successor(
        self, call: Call, rung: Rung, scopes: tuple[Account, ...], estimate: Estimate | None
    ) -> bool:
        """Whether a cheaper model has a price, room for the prompt, and takes tools where there are some."""
        must_be_priced = self._book.refuses_unknown and any(scope.limit_nano is not None for scope in scopes)
        for other in rung.below:
            if call.prompt.has_tools and not other.takes_tools:
                continue
            if must_be_priced and self._book.rates(other.provider, other.model, self._clock()) is None:
                continue
            window = self._book.context_window(other.provider, other.model)
            if window is None or estimate is None or estimate.input_tokens <= window:
                return True
        return not rung.below

    def _why_not(
        self,
        call: Call,
        rung: Rung,
        scopes: tuple[Account, ...],
        need: Need,
        estimate: Estimate | None,
        rates: Rates | None,
    ) -> str:
        if self._memory.steps_down(call) > rung.place:
            return "a finding of this run asks for a cheaper model"
        for scope in scopes:
            share = scope.share
            if rung.is_left_at(share):
                return f"{share:.0%} of the budget of {scope.name} is spent"
        if call.prompt.has_tools and not rung.takes_tools:
            return f"{call.model} cannot call tools"
        if scopes and rates is None:
            return f"no price is known for {call.model}"
        window = self._book.context_window(call.provider, call.model) if estimate is not None else None
        if window is not None and estimate is not None and estimate.input_tokens > window:
            return f"about {estimate.input_tokens:,} tokens do not fit into the {window:,} of {call.model}"
        before = self._memory.refused(call)
        if before is not None and need.nano >= before.need.nano:
            return f"a call as dear was refused in this run: {before.refusal}"
        over = self._accounts.lack(scopes, need, model=call.model)
        return str(over) if over is not None and self._raises else ""

    def _judge_again(self, call: Call, need: Need) -> None:
        """Refuse what was refused before in the same root run, so that a swallowed refusal costs nothing."""
        again = self._memory.refused_again(call, need) if self._raises else None
        if again is not None and self._refuses(call, again.refusal, again.need):
            raise again.refusal

    def _refuses(
        self,
        call: Call,
        refusal: BudgetExceeded,
        need: Need,
        *,
        goes_on: bool = False,
        warns: bool = False,
        hint: str = "",
    ) -> bool:
        """Note that a call passes a budget: its finding, its root run. True when it is refused for that.

        Args:
            call: the call.
            refusal: what says so.
            need: what it needs.
            goes_on: it is under way, and nothing can cut it.
            warns: the budget only warns, or nothing is enforced.
            hint: what could be done beside raising the budget.
        """
        advice = refusal.advice or _ADVICE.get(refusal.unit, "")
        refusal.advice = f"{hint} {advice}" if hint else advice
        refusal.was_sent = goes_on or warns
        action = self._watch.budget_exceeded(refusal, call)
        if not self._enforces:
            logger.warning("not enforced: %s", refusal)
        # Where budgets only warn, what refuses is a cap that others share: no policy of ours waives that.
        if warns or (self._raises and action in {"warn", "ignore"}):
            return False
        self._memory.refuse(call, refusal, need)
        return True

    def _hint(self, call: Call, over: BudgetExceeded, estimate: Estimate | None, rates: Rates | None) -> str:
        """Where it is a guess that the answer is long, and without that the call would fit, say so."""
        if estimate is None or over.unit == "calls" or not self._estimator.is_cold(call):
            return ""
        read = self._need(call, estimate._replace(output_tokens=0), rates)
        needed = from_nano(read.nano) if over.unit == "usd" else Decimal(read.tokens)
        if not estimate.output_tokens or over.spent + over.held + needed > over.limit:
            return ""
        return (
            f"An answer of {estimate.output_tokens:,} tokens is assumed, since {call.model} has not answered "
            "here yet; with a smaller max_tokens it needs less."
        )

    def _note_unenforced(self, refusal: Refused, call: Call) -> None:
        """Note what would have been refused, where budgets are only watched."""
        refusal.was_sent = True
        logger.warning("not enforced: %s", refusal)
        self._watch.note(
            Finding(
                type="budget_exceeded",
                severity="warning",
                message=str(refusal),
                numbers={"model": call.model},
                agent=call.agent,
                step=call.step,
            )
        )


def _have_plenty(scopes: tuple[Account, ...], need: Need) -> bool:
    """Whether there is so much left on every scope that a rough estimate of a call refuses no other."""
    for scope in scopes:
        limit = scope.limit
        if limit is None:
            continue
        if limit.usd is not None and scope.left_nano < _PLENTY * need.nano:
            return False
        if limit.tokens is not None:
            used = scope.spent.tokens + scope.held.tokens
            if limit.tokens - used < _PLENTY * need.tokens:
                return False
    return True

"""From the end of a call to its ledger line: usage → charge → entry."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from apeiros_callbacks.call import OpenCall, Outcome
from apeiros_callbacks.entry import Entry, UsageCertainty
from apeiros_callbacks.estimate import Estimator, count_answer
from apeiros_callbacks.money import to_nano
from apeiros_callbacks.prices import Charge, PriceBook, Rates
from apeiros_callbacks.scopes import Need
from apeiros_callbacks.usage import Usage

__all__ = ["Settled", "correction", "settle", "unresolved"]

_NOTHING = Usage()
_BUCKETS = frozenset({"cache_write_1h", "input_audio", "output_audio"})
"""What costs as much as the rest of its side where it has no rate of its own."""
_FREE = Charge(amount=Decimal(0), certainty="free", unit_prices={}, source="", missing=())
_UNPRICED = Charge(amount=None, certainty="unpriced", unit_prices={}, source="", missing=())


class Settled(NamedTuple):
    """A line for the ledger, and what it takes from the scopes."""

    entry: Entry
    need: Need


def settle(
    open_call: OpenCall,
    outcome: Outcome,
    book: PriceBook,
    estimator: Estimator,
    session_id: str,
    now: datetime,
) -> Settled:
    """Price what a call used and write its line.

    Nothing is billed for a call that failed, and for an answer from a cache. A call without reported
    usage is counted: its prompt as estimated before sending, its answer from the text that came.
    """
    call = open_call.call
    usage, certainty = _usage(open_call, outcome, estimator)
    model = outcome.model or call.model
    charge = _charge(open_call, outcome, usage, model, book)
    entry = _line(open_call, outcome, session_id, now, model, usage, certainty, charge)
    sent_calls = 1 if call.kind == "llm" and not outcome.cached else 0
    nano = 0 if charge.amount is None else to_nano(charge.amount)
    return Settled(entry, Need(nano, sent_calls, usage.input_tokens + usage.output_tokens))


def _line(
    open_call: OpenCall,
    outcome: Outcome,
    session_id: str,
    now: datetime,
    model: str,
    usage: Usage,
    certainty: UsageCertainty,
    charge: Charge,
) -> Entry:
    call = open_call.call
    route = _Route.of(open_call)
    return Entry(
        id=call.id,
        attempt=open_call.attempt,
        kind=call.kind,
        session_id=session_id,
        customer_id=call.customer,
        agent=call.agent,
        step=call.step,
        provider=call.provider,
        model=model,
        requested_model=call.model,
        usage=usage,
        amount=charge.amount,
        usage_certainty=certainty,
        price_certainty=charge.certainty,
        cached=outcome.cached,
        unit_prices=charge.unit_prices,
        price_source=_source(charge) if charge.missing else charge.source,
        started_at=open_call.started_at,
        ended_at=now,
        error=outcome.error,
        routed_from=route.came_from,
        routed_to=route.went_to,
        routed_why=route.why,
    )


class _Route(NamedTuple):
    """Where a router sent a call instead of where its agent prefers it."""

    came_from: str | None = None
    went_to: str | None = None
    why: str | None = None

    @classmethod
    def of(cls, open_call: OpenCall) -> _Route:
        rung = open_call.call.rung
        if rung is None or not rung.place:
            return _STRAIGHT
        return cls(rung.preferred, open_call.call.model, open_call.routed_why or None)


_STRAIGHT = _Route()


def _usage(open_call: OpenCall, outcome: Outcome, estimator: Estimator) -> tuple[Usage, UsageCertainty]:
    if open_call.call.kind == "tool" or outcome.cached:
        return _NOTHING, "reported"
    if outcome.usage is not None:
        # Of an answer that was not read to its end, the last report that came may not be the last there is.
        return outcome.usage, "estimated" if outcome.ending == "cut" else "reported"
    if outcome.ending == "failed":
        return _NOTHING, "assumed"
    certainty: UsageCertainty = "unresolved" if outcome.ending == "lost" else "estimated"
    return _counted(open_call, outcome, estimator), certainty


def _counted(open_call: OpenCall, outcome: Outcome, estimator: Estimator) -> Usage:
    call = open_call.call
    estimate = open_call.estimate
    if estimate is None or estimate.is_rough:
        estimate = estimator.estimate(call)
    if outcome.output_tokens is not None:
        output = outcome.output_tokens
    elif open_call.has_streamed:
        output = open_call.count_output(partial(count_answer, call))
    elif outcome.text is not None:
        output = count_answer(call, outcome.text)
    elif outcome.ending == "answered":
        output = 0
    else:
        # Sent, and nothing came back that could be counted: the provider goes on writing, and bills it.
        output = estimate.output_tokens
    read = estimate.input_tokens if outcome.input_tokens is None else outcome.input_tokens
    return Usage(input_tokens=read, output_tokens=output)


def _charge(open_call: OpenCall, outcome: Outcome, usage: Usage, model: str, book: PriceBook) -> Charge:
    call = open_call.call
    if outcome.cached or outcome.ending == "failed":
        return _FREE
    if outcome.cost is not None:
        source = f"reported by {call.provider or 'the provider'}"
        return Charge(amount=outcome.cost, certainty="listed", unit_prices={}, source=source)
    rates = outcome.charged_at or _rates(open_call, outcome, model, book)
    if outcome.assumed is not None and (rates is None or rates.certainty == "assumed"):
        rates = outcome.assumed
    if rates is not None:
        charge = rates.charge(usage)
        return _without(charge, outcome.lost) if outcome.lost else charge
    return _FREE if call.kind == "tool" else _UNPRICED


def _without(charge: Charge, lost: tuple[str, ...]) -> Charge:
    """The charge of a call of which something that changes its price is not known."""
    lost = tuple(name for name in lost if name in charge.unit_prices or name not in _BUCKETS)
    if not lost or charge.certainty == "free":
        return charge
    sound = charge.certainty in {"listed", "override"}
    missing = tuple(dict.fromkeys((*charge.missing, *lost)))
    return replace(charge, certainty="partial" if sound else charge.certainty, missing=missing)


def _source(charge: Charge) -> str:
    """What the prices are from, and what is not in them: ``genai-prices 0.2.3 openai/gpt-4o, no …``."""
    return f"{charge.source}, no {', '.join(charge.missing)}"


def _rates(open_call: OpenCall, outcome: Outcome, model: str, book: PriceBook) -> Rates | None:
    """The unit prices of the model and the tier that answered."""
    call = open_call.call
    if call.kind == "tool":
        return book.tool(call.model)
    tier = outcome.service_tier or call.service_tier
    context = {"service_tier": tier} if tier else {}
    if outcome.speed:
        context["speed"] = outcome.speed
    return book.answered(call.provider, call.model, model, open_call.started_at, context)


def unresolved(open_call: OpenCall, outcome: Outcome, session_id: str, now: datetime) -> Settled:
    """The line of a call that was sent and cannot be priced because pricing itself failed.

    What was held for it counts as spent, so that the budget stays safe; the amount is not known.
    """
    model, usage = open_call.call.model, outcome.usage or _NOTHING
    entry = _line(open_call, outcome, session_id, now, model, usage, "unresolved", _UNPRICED)
    return Settled(entry, open_call.hold.need)


def correction(wrong: Entry, right: Settled) -> Settled:
    """The line that makes an inferred one right: the right usage in full, the difference in dollars."""
    amount = right.entry.amount
    change = None if amount is None else amount - (wrong.amount or 0)
    tokens = right.entry.usage.total_tokens - wrong.usage.total_tokens
    entry = replace(
        right.entry,
        id=f"{wrong.key}/correction",
        attempt=1,
        kind="correction",
        corrects=wrong.key,
        amount=change,
    )
    return Settled(entry, Need(0 if change is None else to_nano(change), 0, tokens))

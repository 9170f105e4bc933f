"""Rates against genai-prices itself, and against arithmetic that shares no code with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import Usage as GenaiUsage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apeiros_callbacks.money import to_nano_up
from apeiros_callbacks.prices import Price, PriceBook, Rates
from apeiros_callbacks.usage import Usage

BOOK = PriceBook()
ORACLE = DataSnapshot(providers=providers, from_auto_update=False)
BUCKETS = ["input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output_audio"]
TIMES = [
    datetime(2024, 6, 1, 3, tzinfo=UTC),
    datetime(2026, 11, 23, 2, tzinfo=UTC),
    datetime(2026, 11, 23, 12, tzinfo=UTC),
]
CONTEXTS: list[dict[str, str] | None] = [
    None,
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"processing": "batch"},
    {"speed": "fast"},
]
THRESHOLDS = [32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000]

seeded = settings(
    max_examples=500, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
sizes = st.one_of(
    st.integers(0, 3_000),
    st.sampled_from(THRESHOLDS).flatmap(lambda size: st.integers(size - 1, size + 1)),
    st.integers(0, 2_000_000),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    read_in = draw(sizes)
    written = draw(st.integers(0, 100_000))
    if draw(st.booleans()):
        return Usage(input_tokens=read_in, output_tokens=written)
    read = draw(st.integers(0, read_in))
    write = draw(st.integers(0, read_in - read))
    return Usage(
        input_tokens=read_in,
        output_tokens=written,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=draw(st.integers(0, write)),
        reasoning_tokens=draw(st.integers(0, written)),
        input_audio_tokens=draw(st.sampled_from([0, draw(st.integers(0, read_in))])),
        output_audio_tokens=draw(st.sampled_from([0, draw(st.integers(0, written))])),
        web_searches=draw(st.sampled_from([0, 0, 3])),
        file_searches=draw(st.sampled_from([0, 0, 7])),
    )


def texts(clause: Any) -> Iterator[str]:
    """The texts that a clause of the price data looks for."""
    for value in vars(clause).values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for part in value:
                yield from texts(part)


def named_rows() -> list[tuple[str, str]]:
    """A name for each row of the price data that can be found by name: its id, or a text it is matched by."""
    named: list[tuple[str, str]] = []
    for provider in providers:
        for model in provider.models:
            found = [name for name in (model.id, *texts(model.match)) if provider.find_model(name) is model]
            named += [(provider.id, name) for name in found[:1]]
    return named


MODELS = named_rows()


def genai_amount(
    provider: str, model: str, usage: Usage, at: datetime, context: Mapping[str, str] | None
) -> Decimal | None:
    """What genai-prices makes of it; None when it cannot price it."""
    theirs = GenaiUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        output_audio_tokens=usage.output_audio_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        web_searches=usage.web_searches,
        storage_searches=usage.file_searches,
    )
    try:
        return ORACLE.calc(theirs, model, provider, None, at, context).total_price
    except ValueError:
        return None


def plain_amount(usage: Usage, prices: Mapping[str, Decimal]) -> Decimal:
    """The same amount, bucket by bucket, from the unit prices that a charge states."""
    zero = Decimal(0)
    into = prices.get("input", zero)
    out = prices.get("output", zero)
    write = prices.get("cache_write", into)
    audio = usage.input_audio_tokens if "input_audio" in prices else 0
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    both = max(0, cached + audio - usage.input_tokens)  # audio that must have been in the cache
    both_read = min(both, usage.cache_read_tokens)
    written = usage.cache_write_tokens - (both - both_read)
    hour = min(usage.cache_write_1h_tokens, written)
    thought = usage.reasoning_tokens if "reasoning" in prices else 0
    spoken = min(usage.output_audio_tokens, usage.output_tokens - thought) if "output_audio" in prices else 0
    lines = [
        (usage.input_tokens - cached - audio + both, into),
        (usage.cache_read_tokens - both_read, prices.get("cache_read", into)),
        (written - hour, write),
        (hour, prices.get("cache_write_1h", write)),
        (audio - both_read, prices.get("input_audio", into)),
        (both_read, prices.get("cache_read_audio", prices.get("input_audio", into))),
        (usage.output_tokens - thought - spoken, out),
        (thought, prices.get("reasoning", out)),
        (spoken, prices.get("output_audio", out)),
    ]
    with localcontext() as exact:
        exact.prec = 60
        searches = usage.web_searches * prices.get("web_search", zero)
        searches += usage.file_searches * prices.get("file_search", zero)
        tokens = sum((tokens * rate for tokens, rate in lines), zero) / 1_000_000
        return tokens + searches + prices.get("call", zero)


LISTENING = [
    ("azure", "phi-4-multimodal-instruct"),
    ("aws", "amazon.nova-sonic-v1:0"),
    ("openai", "gpt-realtime"),
]
"""Audio and cache together: with no rate for the cache, and with one for each."""


def check(rates: Rates, usage: Usage) -> None:
    charge = rates.charge(usage)
    assert charge.amount is not None
    assert charge.amount >= 0
    assert charge.amount == plain_amount(usage, charge.unit_prices)
    assert rates.cost_nano(usage) == to_nano_up(charge.amount)
    tokens = replace(usage, web_searches=0, file_searches=0)  # how often it will search no bound can tell
    assert rates.bound_nano(usage.input_tokens, usage.output_tokens) >= rates.cost_nano(tokens)
    plain = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assert rates.plain_nano(usage.input_tokens, usage.output_tokens) == rates.cost_nano(plain)


@seeded
@given(st.sampled_from(MODELS), usages(), st.sampled_from(TIMES), st.sampled_from(CONTEXTS))
def test_every_listed_model_costs_what_its_list_says(
    model: tuple[str, str], usage: Usage, at: datetime, context: dict[str, str] | None
) -> None:
    rates = BOOK.rates(*model, at, context)
    theirs = genai_amount(*model, usage, at, context)

    if rates is None:
        assert not theirs  # no price, or nothing but zeros: unknown, not free
        return
    check(rates, usage)
    if theirs is not None:
        assert rates.charge(usage).amount == theirs


@pytest.mark.parametrize("at", TIMES, ids=str)
def test_the_whole_list(at: datetime) -> None:
    usage = Usage(
        input_tokens=210_007,
        output_tokens=3_001,
        cache_read_tokens=100_003,
        cache_write_tokens=50_001,
        cache_write_1h_tokens=20_011,
        reasoning_tokens=1_009,
    )
    priced = 0
    for model in MODELS:
        theirs = genai_amount(*model, usage, at, None)
        rates = BOOK.rates(*model, at)
        if rates is None:
            assert not theirs, model
        else:
            priced += 1
            check(rates, usage)
            assert rates.charge(usage).amount == theirs, model
    assert priced > 2_000


@seeded
@given(st.sampled_from(LISTENING), usages(), st.sampled_from(TIMES))
def test_models_that_listen(model: tuple[str, str], usage: Usage, at: datetime) -> None:
    rates = BOOK.rates(*model, at)
    assert rates is not None
    check(rates, usage)
    theirs = genai_amount(*model, usage, at, None)
    assert theirs in {None, rates.charge(usage).amount}


def test_nearly_every_row_is_named() -> None:
    assert len(MODELS) > 0.99 * sum(len(provider.models) for provider in providers)


@seeded
@given(
    st.sampled_from(MODELS),
    usages(),
    st.integers(0, 50_000),
    st.integers(0, 50_000),
    st.sampled_from(TIMES),
)
def test_more_tokens_never_cost_less(
    model: tuple[str, str], usage: Usage, more_in: int, more_out: int, at: datetime
) -> None:
    rates = BOOK.rates(*model, at)
    if rates is None:
        return
    more = replace(
        usage, input_tokens=usage.input_tokens + more_in, output_tokens=usage.output_tokens + more_out
    )
    less_charge, more_charge = rates.charge(usage), rates.charge(more)

    if less_charge.unit_prices == more_charge.unit_prices:  # a tier may be cheaper than the one below it
        assert rates.cost_nano(more) >= rates.cost_nano(usage)


@seeded
@given(st.sampled_from(MODELS), usages(), st.sampled_from(TIMES))
def test_the_bound_for_text_holds_for_text(model: tuple[str, str], usage: Usage, at: datetime) -> None:
    rates = BOOK.rates(*model, at)
    if rates is None:
        return
    text = replace(usage, input_audio_tokens=0, output_audio_tokens=0, web_searches=0, file_searches=0)
    bound = rates.bound_nano(text.input_tokens, text.output_tokens, audio=False)
    assert rates.cost_nano(text) <= bound <= rates.bound_nano(text.input_tokens, text.output_tokens)


money = st.decimals(0, 1_000, places=7)


@seeded
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys([*BUCKETS, "call", "web_search", "file_search"], money)
    ).filter(bool),
    usages(),
)
def test_a_declared_price_is_kept_to_the_last_digit(given_rates: dict[str, Decimal], usage: Usage) -> None:
    rates = PriceBook({"m": Price(**given_rates)}).rates("", "m", TIMES[0])
    assert rates is not None
    check(rates, usage)
    assert rates.charge(usage).unit_prices == given_rates

"""Usage, what it costs beside its tokens, and what a call's end says of both."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import Usage as GenaiUsage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apeiros_callbacks import Entry, Price, Session, Usage
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.errors import InvalidUsage
from apeiros_callbacks.prices import PriceBook, provider_at

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
MILLION = 1_000_000


def charge(provider: str, model: str, book: PriceBook | None = None, **usage: int) -> Any:
    rates = (book or PriceBook()).rates(provider, model, AT)
    assert rates is not None
    return rates.charge(Usage(**usage))


# Searches


def test_searches_are_no_tokens() -> None:
    usage = Usage(input_tokens=10, output_tokens=5, web_searches=3, file_searches=2)
    assert usage.total_tokens == 15
    assert usage.as_dict() == {
        "input_tokens": 10, "output_tokens": 5, "web_searches": 3, "file_searches": 2,
    }  # fmt: skip


@pytest.mark.parametrize("count", [-1, 1.5, True, "3", None])
def test_a_count_of_searches_that_cannot_be_is_refused(count: Any) -> None:
    with pytest.raises(InvalidUsage, match="web_searches must be a whole number of searches, 0 or more"):
        Usage(web_searches=count)


@pytest.mark.parametrize(
    ("provider", "model", "searches", "dollars"),
    [
        ("anthropic", "claude-sonnet-4-6", {"web_searches": 3}, "0.03"),
        ("openai", "gpt-5", {"web_searches": 2}, "0.02"),
        ("openai", "gpt-4.1", {"web_searches": 2, "file_searches": 4}, "0.03"),
        ("google_genai", "gemini-2.5-pro", {"web_searches": 1}, "0.035"),
        ("google_genai", "gemini-3-pro-preview", {"web_searches": 2}, "0.028"),
    ],
)
def test_searches_are_priced_by_the_list(
    provider: str, model: str, searches: dict[str, int], dollars: str
) -> None:
    without = charge(provider, model, input_tokens=1000, output_tokens=100)
    found = charge(provider, model, input_tokens=1000, output_tokens=100, **searches)
    assert found.amount - without.amount == Decimal(dollars)
    assert (found.certainty, found.missing) == ("listed", ())


def test_a_search_without_a_rate_is_named() -> None:
    found = charge("groq", "llama-3.3-70b-versatile", input_tokens=9, output_tokens=9, web_searches=1)
    assert (found.certainty, found.missing) == ("partial", ("web_search",))
    own = PriceBook({"m": Price(input=1, output=1)})
    found = charge("x", "m", own, input_tokens=9, output_tokens=9, file_searches=1)
    assert (found.certainty, found.missing) == ("partial", ("file_search",))


def test_a_person_s_own_rate_for_searches_holds() -> None:
    own = PriceBook({"m": Price(input=1, output=1, web_search=0.02, file_search=0.5)})
    found = charge("x", "m", own, input_tokens=9, output_tokens=1, web_searches=2, file_searches=1)
    assert (found.amount, found.certainty) == (Decimal("0.54001"), "override")


def test_a_price_for_searches_alone_does_not_make_a_model_free() -> None:
    listed = [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        if (price := model.get_prices(AT))
        and vars(price).get("web_searches_kcount")
        and not any(rate for name, rate in vars(price).items() if name.endswith(("_mtok", "requests_kcount")))
    ]
    for provider_id, model_id in listed:
        assert PriceBook().rates(provider_id, model_id, AT) is None


# Any usage of any listed model


ORACLE = DataSnapshot(providers=providers, from_auto_update=False)
LISTED = sorted(
    (provider.id, model.id)
    for provider in providers
    for model in provider.models
    if PriceBook().rates(provider.id, model.id, AT) is not None
)
FEES = ("call", "web_search", "file_search")
WHOLES = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "cache_read_audio": "input_audio",
    "output_audio": "output",
    "reasoning": "output",
}

seeded = settings(
    max_examples=500, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
sizes = st.integers(0, 3_000) | st.integers(0, 2_000_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    read, written = draw(sizes), draw(st.integers(0, 100_000))
    from_cache = draw(st.sampled_from([0, draw(st.integers(0, read))]))
    into_cache = draw(st.sampled_from([0, draw(st.integers(0, read - from_cache))]))
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cache_read_tokens=from_cache,
        cache_write_tokens=into_cache,
        cache_write_1h_tokens=draw(st.integers(0, into_cache)),
        reasoning_tokens=draw(st.integers(0, written)),
        web_searches=draw(st.sampled_from([0, 0, 1, 7])),
        file_searches=draw(st.sampled_from([0, 0, 1, 7])),
    )


def by_hand(usage: Usage, prices: dict[str, Decimal]) -> Decimal:
    """The sum over the unit prices that the charge itself names."""

    def rate(bucket: str) -> Decimal:
        while bucket not in prices and bucket in WHOLES:
            bucket = WHOLES[bucket]
        return prices.get(bucket, Decimal(0))

    plain_in = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    plain_out = usage.output_tokens - usage.reasoning_tokens
    tokens = (
        plain_in * rate("input")
        + usage.cache_read_tokens * rate("cache_read")
        + (usage.cache_write_tokens - usage.cache_write_1h_tokens) * rate("cache_write")
        + usage.cache_write_1h_tokens * rate("cache_write_1h")
        + plain_out * rate("output")
        + usage.reasoning_tokens * rate("reasoning")
    )
    fees = (
        prices.get("call", Decimal(0))
        + usage.web_searches * prices.get("web_search", Decimal(0))
        + usage.file_searches * prices.get("file_search", Decimal(0))
    )
    return tokens / MILLION + fees


@seeded
@given(st.sampled_from(LISTED), usages())
def test_an_amount_is_the_sum_over_the_unit_prices(row: tuple[str, str], usage: Usage) -> None:
    rates = PriceBook().rates(*row, AT)
    assert rates is not None
    found = rates.charge(usage)
    assert found.amount is not None
    assert found.amount >= 0
    assert found.amount == by_hand(usage, dict(found.unit_prices))


@seeded
@given(st.sampled_from(LISTED), usages())
def test_searches_cost_what_the_price_data_says(row: tuple[str, str], usage: Usage) -> None:
    rates = PriceBook().rates(*row, AT)
    assert rates is not None
    found = rates.charge(usage)
    plain = rates.charge(replace(usage, web_searches=0, file_searches=0))
    _, model = ORACLE.find_provider_model(row[1], None, row[0], None)
    listed = vars(model.get_prices(AT))
    web, files = listed.get("web_searches_kcount"), listed.get("storage_searches_kcount")
    true = (usage.web_searches * (web or 0) + usage.file_searches * (files or 0)) / Decimal(1000)
    assert found.amount is not None
    assert plain.amount is not None
    assert found.amount - plain.amount == true
    named = {name for name in found.missing if name.endswith("_search")}
    assert named == ({"web_search"} if usage.web_searches and web is None else set()) | (
        {"file_search"} if usage.file_searches and files is None else set()
    )


GROWS = ["output_tokens", "web_searches", "file_searches"]


@seeded
@given(st.sampled_from(LISTED), usages(), st.sampled_from(GROWS), st.integers(1, 1000))
def test_more_of_anything_never_costs_less(row: tuple[str, str], usage: Usage, what: str, more: int) -> None:
    rates = PriceBook().rates(*row, AT)
    assert rates is not None
    bigger = replace(usage, **{what: getattr(usage, what) + more})
    before, after = rates.charge(usage).amount, rates.charge(bigger).amount
    assert before is not None
    assert after is not None
    assert after >= before


def test_the_oracle_knows_what_a_search_costs() -> None:
    _, model = ORACLE.find_provider_model("claude-sonnet-4-6", None, "anthropic", None)
    usage = GenaiUsage(input_tokens=1000, output_tokens=100, web_searches=3)
    priced = model.get_prices(AT).calc_price(usage)
    ours = charge("anthropic", "claude-sonnet-4-6", input_tokens=1000, output_tokens=100, web_searches=3)
    assert ours.amount == priced["total_price"]


# Whose address


ADDRESSES = [
    ("https://api.groq.com/openai/v1", "groq"),
    ("https://openrouter.ai/api/v1", "openrouter"),
    ("https://api.deepseek.com", "deepseek"),
    ("https://api.together.xyz/v1", "together"),
    ("https://api.together.ai/v1", "together"),
    ("https://api.fireworks.ai/inference/v1", "fireworks"),
    ("https://api.mistral.ai/v1", "mistral"),
    ("https://api.x.ai/v1", "x-ai"),
    ("https://api.perplexity.ai", "perplexity"),
    ("https://api.cerebras.ai/v1", "cerebras"),
    ("https://mine.openai.azure.com/openai/deployments/d", "azure"),
    ("https://mine.services.ai.azure.com/openai/v1", "azure"),
    ("https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
    ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "aws"),
    ("https://bedrock-mantle.us-east-1.api.aws/v1", "aws"),
    ("https://api.moonshot.cn/v1", "moonshotai"),
    ("https://api.z.ai/api/paas/v4", "zai"),
    ("http://localhost:11434/v1", "ollama"),
    ("http://127.0.0.1:11434", "ollama"),
]


@pytest.mark.parametrize(("url", "name"), ADDRESSES)
def test_well_known_addresses_name_their_provider(url: str, name: str) -> None:
    assert provider_at("openai", "gpt-4o", url) == name


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://[", "https://x:99999999/", "https://api.groq.com.evil.example/v1x", "\0"]
)
def test_any_other_address_leaves_the_provider(url: str) -> None:
    assert provider_at("openai", "gpt-4o", url) in {"openai", "groq"}
    assert provider_at("vllm", "gpt-4o", url) in {"vllm", "groq"}


def test_the_framework_s_own_name_of_the_same_provider_is_kept() -> None:
    assert provider_at("azure_openai", "d", "https://mine.openai.azure.com/") == "azure_openai"
    assert (
        provider_at("google_genai", "gemini-2.5-pro", "https://generativelanguage.googleapis.com")
        == "google_genai"
    )


def test_an_address_of_nobody_s_names_a_maker_only_where_the_name_is_one_s_own() -> None:
    url = "https://gateway.example:8443/v1"
    assert provider_at("openai", "claude-sonnet-4-6", url) == "openai@gateway.example"
    assert provider_at("openai", "anthropic/claude-sonnet-4-6", url) == "openai@gateway.example"
    assert provider_at("openai", "llama-3.3-70b-versatile", url) == "openai"  # many sell it, at many prices
    assert provider_at("openai", "gpt-4o", url) == "openai"
    rates = PriceBook().rates("openai@gateway.example", "claude-sonnet-4-6", AT)
    assert rates is not None
    assert rates.certainty == "assumed"


# The end of a call


def settled(outcome: Outcome, provider: str = "openai", model: str = "gpt-4o", **options: Any) -> Entry:
    session = Session(**options)
    prompt = Prompt((1,), lambda _: Piece("word " * 100))
    session.open_call(Call(id="1", provider=provider, model=model, prompt=prompt))
    entry = session.close_call("1", outcome)
    assert entry is not None
    assert session.health.failures == 0
    return entry


USED = Usage(input_tokens=1000, output_tokens=100)


def test_what_the_provider_says_it_costs_wins() -> None:
    entry = settled(
        Outcome(ending="answered", usage=USED, cost=Decimal("0.123")), "openrouter", "openai/gpt-4o"
    )
    assert (entry.amount, entry.price_certainty) == (Decimal("0.123"), "listed")
    assert (entry.price_source, dict(entry.unit_prices)) == ("reported by openrouter", {})


def test_a_reported_cost_wins_over_a_price_of_one_s_own_and_over_none() -> None:
    told = Outcome(ending="answered", usage=USED, cost=Decimal("0.123"))
    assert settled(told, prices={"*": Price(input=1, output=1)}).amount == Decimal("0.123")
    assert settled(told, model="nobody-knows").amount == Decimal("0.123")


def test_nothing_is_billed_for_a_cached_or_failed_call_whatever_it_says() -> None:
    assert settled(Outcome(ending="answered", cached=True, cost=Decimal(1))).amount == 0
    assert settled(Outcome(ending="failed", cost=Decimal(1))).amount == 0


def test_what_was_lost_makes_an_amount_partial_and_is_named() -> None:
    entry = settled(
        Outcome(ending="answered", usage=USED, lost=("cache_write_1h",)), "anthropic", "claude-sonnet-4-6"
    )
    assert entry.price_certainty == "partial"
    assert entry.price_source.endswith("anthropic/claude-sonnet-4-6, no cache_write_1h")


def test_what_has_no_rate_of_its_own_is_no_loss() -> None:
    entry = settled(Outcome(ending="answered", usage=USED, lost=("cache_write_1h", "input_audio")))
    assert entry.price_certainty == "listed"


def test_the_bucket_without_a_rate_is_named_on_the_entry() -> None:
    usage = replace(USED, web_searches=1)
    entry = settled(Outcome(ending="answered", usage=usage), "groq", "llama-3.3-70b-versatile")
    assert entry.price_certainty == "partial"
    assert entry.price_source.endswith("groq/llama-3.3-70b-versatile, no web_search")


def test_a_side_that_is_certain_is_kept_when_the_other_is_counted() -> None:
    entry = settled(Outcome(ending="answered", input_tokens=5000, text="one two three"))
    assert entry.usage_certainty == "estimated"
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (5000, 3)
    entry = settled(Outcome(ending="answered", output_tokens=77, text="one two three"))
    assert entry.usage.output_tokens == 77
    assert entry.usage.input_tokens >= 100


def test_a_cut_call_s_report_is_an_estimate() -> None:
    entry = settled(Outcome(ending="cut", usage=USED, error="GeneratorExit"))
    assert (entry.usage, entry.usage_certainty) == (USED, "estimated")


def test_a_speed_that_is_sold_apart_has_its_price() -> None:
    fast = settled(Outcome(ending="answered", usage=USED, speed="fast"), "anthropic", "claude-opus-4-8")
    plain = settled(Outcome(ending="answered", usage=USED), "anthropic", "claude-opus-4-8")
    assert fast.amount is not None
    assert plain.amount is not None
    assert fast.amount > plain.amount

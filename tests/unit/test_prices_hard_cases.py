"""The names and usages that price libraries get wrong, one row each.

`true` is what the provider bills, worked out by hand from its price page. Where the price data is known
to be wrong, `ours` is what we answer instead and `certainty` says that it is not to be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import pytest

from apeiros_callbacks.prices import PriceBook
from apeiros_callbacks.usage import Usage

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = PriceBook()


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    provider: str
    model: str
    true: str | None
    """USD; None when nobody can know."""
    ours: str | None = ""
    """USD when it is not the true amount; None when we say that we do not know."""
    certainty: str = "listed"
    missing: tuple[str, ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)
    context: dict[str, str] | None = None
    wrong_data: bool = False
    """What we answer rests on an error of the price data of 0.2.3, and may be mended by a later one."""

    @property
    def usage(self) -> Usage:
        return Usage(**({"input_tokens": 10_000, "output_tokens": 1_000} | self.tokens))

    @property
    def expected(self) -> str | None:
        return self.true if self.ours == "" else self.ours


def _case(name: str, provider: str, model: str, true: str | None, **more: Any) -> Case:
    return Case(name=name, provider=provider, model=model, true=true, **more)


_AUDIO = {"input_audio_tokens": 2_000, "output_audio_tokens": 500}
_UNKNOWN: dict[str, Any] = {"ours": None}
CASES = [
    _case("plain", "openai", "gpt-4o", "0.035"),
    _case("dated", "openai", "gpt-4o-2024-08-06", "0.035"),
    _case("cached", "openai", "gpt-4o", "0.025", tokens={"cache_read_tokens": 8_000}),
    _case("batch", "openai", "gpt-4o-mini", "0.00105", context={"processing": "batch"}),
    _case("standard tier", "openai", "gpt-5", "0.0225"),
    _case("default tier", "openai", "gpt-5", "0.0225", context={"service_tier": "default"}),
    _case("flex tier", "openai", "gpt-5", "0.01125", context={"service_tier": "flex"}),
    _case("priority tier", "openai", "gpt-5", "0.045", context={"service_tier": "priority"}),
    _case("reasoning", "openai", "gpt-5", "0.0225", tokens={"reasoning_tokens": 800}),
    _case("long context", "openai", "gpt-5.4", "1.5225", tokens={"input_tokens": 300_000}),
    _case(
        "cached for 5 minutes and for an hour",
        "anthropic",
        "claude-sonnet-4-5",
        "0.0387",
        tokens={"cache_read_tokens": 4_000, "cache_write_tokens": 3_000, "cache_write_1h_tokens": 1_000},
    ),
    _case(
        # The one-million window, and its tier, was withdrawn on 2026-04-30: no such call is answered now.
        "withdrawn long context",
        "anthropic",
        "claude-sonnet-4-5",
        None,
        ours="1.8225",
        tokens={"input_tokens": 300_000},
    ),
    _case("withdrawn model", "anthropic", "claude-3-5-sonnet-20241022", "0.045"),
    _case("haiku", "anthropic", "claude-3-haiku", "0.00375"),
    _case("dated haiku", "anthropic", "claude-3-haiku-20240307", "0.00375"),
    _case("opus 4.1", "anthropic", "claude-opus-4-1-20250805", "0.225"),
    _case("opus 4.5", "anthropic", "claude-opus-4-5", "0.075"),
    _case("opus 4.6", "anthropic", "claude-opus-4-6", "0.075"),
    _case("opus 4.8", "anthropic", "claude-opus-4-8", "0.075"),
    _case("bedrock, a region", "amazon_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.0495"),
    _case("bedrock, global", "amazon_bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.045"),
    _case(
        # In-region ids are not 10% dearer; the data prices them with the regional profiles.
        "bedrock, no prefix",
        "amazon_bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "0.045",
        ours="0.0495",
        wrong_data=True,
    ),
    _case(
        "bedrock, inference profile",
        "bedrock_converse",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "0.0495",
    ),
    _case(
        "bedrock, application profile",
        "amazon_bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcd1234",
        None,
    ),
    _case(
        "bedrock, custom model",
        "amazon_bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/anthropic.claude-3-haiku-20240307-v1:0/x",
        None,
    ),
    _case("vertex", "google_vertexai", "claude-sonnet-4-5@20250929", "0.045"),
    _case("azure", "azure", "gpt-4o", "0.035"),
    _case("gemini, long", "google_genai", "gemini-2.5-pro", "0.64", tokens={"input_tokens": 250_000}),
    _case(
        "gemini, audio", "google_genai", "gemini-2.5-flash", "0.0069", tokens={"input_audio_tokens": 2_000}
    ),
    _case("gemini preview", "google_genai", "gemini-3-pro-preview", "0.032"),
    _case("models/", "google_genai", "models/gemini-2.5-flash", "0.0055"),
    _case("publishers/", "google_vertexai", "publishers/google/models/gemini-2.5-flash", "0.0055"),
    _case(
        # $40 and $80 per million audio tokens; the data has the rates of text only.
        "audio preview",
        "openai",
        "gpt-4o-audio-preview",
        "0.145",
        ours="0.035",
        certainty="partial",
        missing=("input_audio", "output_audio"),
        tokens=_AUDIO,
        wrong_data=True,
    ),
    _case("audio preview, text only", "openai", "gpt-4o-audio-preview", "0.035"),
    _case("gpt-audio", "openai", "gpt-audio", "0.121", tokens=_AUDIO),
    _case(
        # The name has moved from V3 to V3.2 and on.
        "deepseek-chat",
        "deepseek",
        "deepseek-chat",
        "0.001204",
        ours="0.0022",
        certainty="assumed",
        tokens={"cache_read_tokens": 8_000},
        wrong_data=True,
    ),
    _case(
        # The name has moved from Large 2 to Large 3.
        "mistral-large-latest",
        "mistralai",
        "mistral-large-latest",
        "0.0065",
        ours="0.026",
        certainty="assumed",
        wrong_data=True,
    ),
    _case("groq", "groq", "llama-3.3-70b-versatile", "0.00669"),
    _case("groq tier", "groq", "llama-3.3-70b-versatile", "0.00669", context={"service_tier": "on_demand"}),
    _case("fine-tuned", "openai", "ft:gpt-4o-mini-2024-07-18:org::id", "0.0042"),
    _case("fine-tuned, no date", "openai", "ft:gpt-4o-mini:org::id", "0.0042"),
    _case("fine-tuned, no row", "openai", "ft:gpt-4.1-mini-2025-04-14:org::id", "0.0112", **_UNKNOWN),
    _case("fine-tuned, listed as its base", "openai", "ft:gpt-4-0613:org::id", None),
    _case("embedding", "openai", "text-embedding-3-small", "0.0002", tokens={"output_tokens": 0}),
    _case("old embedding", "openai", "text-embedding-ada-002", "0.001", tokens={"output_tokens": 0}),
    _case(
        # Azure borrows OpenAI's standard prices, and has tiers of its own.
        "priority tier at azure",
        "azure",
        "gpt-5",
        None,
        ours="0.0225",
        certainty="partial",
        missing=("service_tier:priority",),
        context={"service_tier": "priority"},
        wrong_data=True,
    ),
    _case("unknown", "openai", "my-model-x", None),
    _case("a number that is not there", "openai", "gpt-99", None),
    _case("a model to come", "anthropic", "claude-opus-9", None),
    _case("a date to come", "openai", "gpt-4o-2031-01-01", None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers(case: Case) -> None:
    if case.wrong_data and version("genai-prices") != "0.2.3":
        pytest.skip("the error that this row is about is one of genai-prices 0.2.3")

    rates = BOOK.rates(case.provider, case.model, AT, case.context)

    if case.expected is None:
        assert rates is None
        return
    assert rates is not None
    charge = rates.charge(case.usage)
    assert charge.amount == Decimal(case.expected)
    assert (charge.certainty, charge.missing) == (case.certainty, case.missing)
    assert charge.source.startswith("genai-prices ")


def test_no_row_is_a_silent_zero() -> None:
    for case in CASES:
        rates = BOOK.rates(case.provider, case.model, AT, case.context)
        assert rates is None or rates.cost_nano(case.usage) > 0


@pytest.mark.parametrize("case", [case for case in CASES if case.ours], ids=lambda case: case.name)
def test_where_the_data_is_wrong_and_too_low_the_charge_says_so(case: Case) -> None:
    if case.true is not None and Decimal(case.true) > Decimal(case.ours or 0):
        assert case.certainty == "partial"

"""The price book: prices by time, of what answered, of what is unknown, and its cache."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.prices import ASSUMED_PRICE, UNPRICED, Charge, Price, PriceBook
from apeiros_callbacks.usage import Usage

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
CALL = Usage(input_tokens=10_000, output_tokens=1_000)


def charge(
    book: PriceBook, provider: str, model: str, usage: Usage = CALL, at: datetime = AT, **context: str
) -> Charge:
    rates = book.rates(provider, model, at, context)
    return UNPRICED if rates is None else rates.charge(usage)


def amount(
    book: PriceBook, provider: str, model: str, usage: Usage = CALL, at: datetime = AT, **context: str
) -> str:
    return str(charge(book, provider, model, usage, at, **context).amount)


class TestTime:
    def test_a_price_holds_from_its_day_in_utc(self) -> None:
        book = PriceBook()
        before = datetime(2026, 7, 29, 23, 59, 59, tzinfo=UTC)
        after = before + timedelta(seconds=1)
        west = timezone(timedelta(hours=-8))
        assert amount(book, "openai", "gpt-5.6-luna", at=before) == "0.016"
        assert amount(book, "openai", "gpt-5.6-luna", at=after) == "0.0032"
        assert amount(book, "openai", "gpt-5.6-luna", at=before.astimezone(west)) == "0.016"
        assert amount(book, "openai", "gpt-5.6-luna", at=after.astimezone(west)) == "0.0032"
        assert amount(book, "openai", "gpt-5.6-luna", at=before.replace(tzinfo=None)) == "0.016"

    @pytest.mark.parametrize(
        ("time", "expected"),
        [
            ("00:59:59", "0.0021"),
            ("01:00:00", "0.0042"),
            ("03:59:59", "0.0042"),
            ("04:00:00", "0.0021"),
            ("06:00:00", "0.0042"),
            ("10:00:00", "0.0021"),
        ],
    )
    def test_a_price_may_change_within_the_day(self, time: str, expected: str) -> None:
        at = datetime.fromisoformat(f"2026-11-23T{time}+00:00")
        east = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert amount(PriceBook(), "deepseek", "deepseek-v4-flash", at=at) == expected
        assert amount(PriceBook(), "deepseek", "deepseek-v4-flash", at=east) == expected
        book = PriceBook()
        book.rates("deepseek", "deepseek-v4-flash", at - timedelta(hours=2))
        assert amount(book, "deepseek", "deepseek-v4-flash", at=at) == expected


class TestAnswered:
    def test_the_answering_model_is_what_is_paid(self) -> None:
        rates = PriceBook().answered("openai", "gpt-4o", "gpt-4o-mini-2024-07-18", AT)
        assert rates is not None
        assert rates.charge(CALL).amount == Decimal("0.0021")
        assert rates.certainty == "listed"

    @pytest.mark.parametrize("answered", ["", "gpt-4o"])
    def test_an_answer_that_does_not_say_is_the_requested_model(self, answered: str) -> None:
        rates = PriceBook().answered("openai", "gpt-4o", answered, AT, {"service_tier": "default"})
        assert rates is not None
        assert (rates.charge(CALL).amount, rates.certainty) == (Decimal("0.035"), "listed")

    def test_an_unknown_one_is_assumed_to_be_the_requested_one(self) -> None:
        book = PriceBook()
        rates = book.answered("openai", "gpt-4o", "gpt-99", AT)
        assert rates is not None
        found = rates.charge(Usage(input_tokens=10_000, output_tokens=1_000, input_audio_tokens=1))
        assert (found.amount, found.certainty, found.missing) == (
            Decimal("0.035"),
            "assumed",
            ("input_audio",),
        )
        assert charge(book, "openai", "gpt-4o").certainty == "listed"  # the requested one is as it was
        assert book.answered("openai", "gpt-98", "gpt-99", AT) is None

    def test_what_was_declared_for_the_requested_name_holds(self) -> None:
        priced = PriceBook({"gpt-4o": Price(input=1, output=1)})
        named = PriceBook(models={"gpt-4o": "openai:gpt-5"})
        for book, expected in ((priced, "0.011"), (named, "0.0225")):
            rates = book.answered("openai", "gpt-4o", "gpt-4o-mini", AT)
            assert rates is not None
            assert rates.charge(CALL).amount == Decimal(expected)
        rates = PriceBook({"gpt-4o-mini": Price(input=1, output=1)}).answered(
            "openai", "gpt-4o", "gpt-4o-mini", AT
        )
        assert rates is not None
        assert rates.certainty == "override"


class TestUnknownPrice:
    def test_is_none_unless_assumed(self) -> None:
        assert PriceBook(unknown_price="refuse").rates("openai", "gpt-99", AT) is None
        assert PriceBook(unknown_price="allow").rates("openai", "gpt-99", AT) is None
        assert (UNPRICED.amount, UNPRICED.certainty) == (None, "unpriced")

    @pytest.mark.parametrize("model", ["gpt-99", "", "x" * 10_000])
    def test_the_assumed_price_is_the_guide_s_eight_dollars_at_seven_to_five(self, model: str) -> None:
        book = PriceBook(unknown_price="assume")
        found = charge(book, "openai", model, Usage(input_tokens=700_000, output_tokens=500_000))
        assert found.amount == Decimal(8) * Decimal("1.2")
        assert found.certainty == "assumed"
        assert found.unit_prices == ASSUMED_PRICE.given() == {"input": 3, "output": 15}

    def test_an_answer_of_an_unknown_model_is_assumed_too(self) -> None:
        rates = PriceBook(unknown_price="assume").answered("openai", "gpt-98", "gpt-99", AT)
        assert rates is not None
        assert (rates.charge(CALL).amount, rates.certainty) == (Decimal("0.045"), "assumed")

    def test_assuming_changes_nothing_else(self) -> None:
        book = PriceBook(unknown_price="assume")
        assert charge(book, "openai", "gpt-4o").certainty == "listed"
        assert charge(book, "ollama", "llama3").certainty == "free"
        rates = book.answered("openai", "gpt-4o", "gpt-99", AT)
        assert rates is not None
        assert rates.charge(CALL).amount == Decimal("0.035")

    def test_the_policy_is_checked(self) -> None:
        with pytest.raises(ConfigError, match='"refuse", "assume" or "allow", got \'deny\''):
            PriceBook(unknown_price="deny")  # type: ignore[arg-type]


class TestCache:
    def test_a_name_is_looked_up_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from genai_prices.types import ModelInfo, Provider

        book = PriceBook()
        first = [
            book.rates(provider, model, AT)
            for provider, model in (("openai", "gpt-4o"), ("openai", "gpt-99"))
        ]
        monkeypatch.setattr(Provider, "find_model", None)
        monkeypatch.setattr(ModelInfo, "get_prices", None)
        later = AT + timedelta(hours=3)
        again = [
            book.rates(provider, model, later)
            for provider, model in (("openai", "gpt-4o"), ("openai", "gpt-99"))
        ]
        assert first == again
        assert first[0] is again[0]

    def test_rates_of_one_price_are_one_object_at_any_time_of_day(self) -> None:
        book = PriceBook()
        peak = book.rates("deepseek", "deepseek-v4-flash", AT.replace(hour=2))
        assert peak is not book.rates("deepseek", "deepseek-v4-flash", AT)
        assert peak is book.rates("deepseek", "deepseek-v4-flash", AT.replace(hour=3))

    def test_it_is_bounded_and_right_for_many_names_in_many_threads(self) -> None:
        book = PriceBook({"big-*": Price(input=1, output=1)})
        wrong: list[object] = []

        def look(offset: int) -> None:
            for number in range(offset, offset + 800):
                found = book.rates("openai", f"big-{number}", AT)
                if found is None or found.cost_nano(CALL) != 11_000_000:
                    wrong.append(found)
                if amount(book, "openai", "gpt-4o") != "0.035" or book.rates("openai", f"no-{number}", AT):
                    wrong.append(number)

        threads = [threading.Thread(target=look, args=(1_000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(book._recent) + len(book._older) <= 2 * 1024 + 8


def test_importing_does_not_load_the_price_data() -> None:
    code = (
        "import sys; import apeiros_callbacks.prices as prices; assert 'genai_prices' not in sys.modules;"
        "book = prices.PriceBook({'a': prices.Price(input=1)}, {'b': 'azure:c'}); book.tool('x');"
        "assert 'genai_prices' not in sys.modules; prices.warm(); assert 'genai_prices.data' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

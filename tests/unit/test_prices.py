"""A declared price, and what it and a listed one make of a usage."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import pytest
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Provider, Tier, TieredPrices

from apeiros_callbacks.errors import InvalidPrice
from apeiros_callbacks.prices import UNPRICED, Charge, Price, PriceBook, Rates
from apeiros_callbacks.prices.catalog import Catalog
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


class TestPrice:
    def test_is_money_whatever_it_was_written_as(self) -> None:
        assert (
            Price(2.5, 10) == Price(input=Decimal("2.5"), output=Decimal(10)) == Price(input=2.5, output=10.0)
        )
        assert Price(input=0.1).input == Decimal("0.1")

    def test_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Price(input=1).input = Decimal(0)  # type: ignore[misc]

    def test_reads_as_it_was_written(self) -> None:
        assert repr(Price(input=2.5, output=10, call=0.01)) == "Price(input=2.5, output=10, call=0.01)"

    def test_survives_pickling(self) -> None:
        assert pickle.loads(pickle.dumps(Price(input=1, call=2))) == Price(input=1, call=2)  # noqa: S301

    @pytest.mark.parametrize(
        "wrong",
        [
            *(True, "2.5", math.nan, math.inf, -1, -0.01, [2.5], (2.5, 10), 1e-99, 10**5000),
            *(Decimal("NaN"), Decimal("sNaN"), Decimal("1E+99")),
        ],
        ids=lambda wrong: type(wrong).__name__,
    )
    @pytest.mark.parametrize("bucket", ["input", "output", "cache_write_1h", "output_audio", "call"])
    def test_a_wrong_rate_is_named_with_an_example(self, bucket: str, wrong: object) -> None:
        with pytest.raises(InvalidPrice, match=rf"^'{bucket}' of a Price \(USD per .*0\.50"):
            Price(**{bucket: wrong})  # type: ignore[arg-type]

    def test_nothing_in_it_is_an_error(self) -> None:
        with pytest.raises(InvalidPrice, match=r"Price\(input=2\.5, output=10\)"):
            Price()

    def test_what_was_charged_can_be_declared(self) -> None:
        listed = charge(PriceBook(), "openai", "gpt-4o")
        again = charge(PriceBook({"gpt-4o": Price(**listed.unit_prices)}), "openai", "gpt-4o")
        assert again.amount == listed.amount


class TestDeclaredRates:
    def rates(self, price: Price) -> Rates:
        found = PriceBook({"m": price}).rates("", "m", AT)
        assert found is not None
        return found

    def test_missing_rates_fall_back(self) -> None:
        usage = Usage(
            input_tokens=1_000_000,
            cache_read_tokens=100_000,
            cache_write_tokens=300_000,
            cache_write_1h_tokens=200_000,
        )
        for price, expected in [
            (Price(input=2, output=9), "2"),
            (Price(input=2, output=9, cache_read=1), "1.9"),
            (Price(input=2, output=9, cache_write=4), "2.6"),
            (Price(input=2, output=9, cache_write=4, cache_write_1h=8), "3.4"),
        ]:
            found = self.rates(price).charge(usage)
            assert (found.amount, found.certainty, found.missing) == (Decimal(expected), "override", ())

    def test_audio_without_a_rate_costs_as_text_and_says_so(self) -> None:
        usage = Usage(input_tokens=1_000, output_tokens=1_000, input_audio_tokens=1, output_audio_tokens=1)
        found = self.rates(Price(input=2, output=9)).charge(usage)
        assert (found.amount, found.certainty) == (Decimal("0.011"), "partial")
        assert found.missing == ("input_audio", "output_audio")
        both = Price(input=2, output=9, input_audio=100, output_audio=200)
        heard = self.rates(both).charge(usage)
        assert (heard.amount, heard.certainty) == (Decimal("0.011289"), "override")

    def test_audio_that_was_written_into_the_cache_costs_as_audio(self) -> None:
        price = Price(input=1, output=1, cache_write=2, cache_write_1h=3, input_audio=100)
        usage = Usage(
            input_tokens=10, cache_write_tokens=8, cache_write_1h_tokens=6, input_audio_tokens=6
        )  # at least 4 of the 6 audio tokens were written
        assert self.rates(price).charge(usage).amount == Decimal("0.000612")  # 6 audio, 4 for an hour

    def test_a_whole_side_without_a_rate_says_so(self) -> None:
        assert self.rates(Price(input=2)).charge(Usage(input_tokens=5)).certainty == "override"
        assert self.rates(Price(input=2)).charge(CALL).missing == ("output",)
        assert self.rates(Price(output=2)).charge(CALL).missing == ("input",)

    def test_a_fee_per_call(self) -> None:
        assert self.rates(Price(call=0.01)).charge(CALL).amount == Decimal("0.01")
        assert self.rates(Price(call=0.01)).charge(CALL).certainty == "override"
        assert self.rates(Price(input=1, output=1, call=0.01)).charge(CALL).amount == Decimal("0.021")
        assert self.rates(Price(input=1, output=1, call=0.01)).bound_nano(0, 0) == 10_000_000

    def test_zero_declares_a_model_free(self) -> None:
        found = self.rates(Price(input=0, output=0)).charge(CALL)
        assert (found.amount, found.certainty, found.source) == (Decimal(0), "free", "override")
        assert self.rates(Price(input=0)).charge(CALL).certainty == "partial"  # the output is not declared

    def test_a_hold_is_rounded_up_and_a_charge_is_exact(self) -> None:
        rates = self.rates(Price(input=Decimal("0.003625"), output=0.001))
        assert rates.charge(Usage(input_tokens=1)).amount == Decimal("0.000000003625")
        assert rates.cost_nano(Usage(input_tokens=1)) == 4
        assert rates.cost_nano(Usage()) == 0

    def test_the_program_s_decimal_context_changes_nothing(self) -> None:
        with localcontext() as narrow:
            narrow.prec = 2
            found = self.rates(Price(input=Decimal("1.23456789"), output=10)).charge(CALL)
        assert found.amount == Decimal("0.0223456789")

    @pytest.mark.parametrize(
        ("tokens", "shown"), [(0, "0"), (35_000, "0.035"), (20_000_000, "20"), (30_000_001, "30.000001")]
    )
    def test_amounts_print_plainly(self, tokens: int, shown: str) -> None:
        assert str(self.rates(Price(input=1, output=1)).charge(Usage(input_tokens=tokens)).amount) == shown

    def test_a_charge_is_its_own(self) -> None:
        rates = self.rates(Price(input=1, output=1))
        rates.charge(CALL).unit_prices.clear()  # type: ignore[attr-defined]
        assert rates.charge(CALL).unit_prices == {"input": 1, "output": 1}


class TestListedRates:
    def test_the_tier_that_applied_is_the_one_that_is_stated(self) -> None:
        book = PriceBook()
        at, above = Usage(input_tokens=200_000), Usage(input_tokens=200_001)
        assert charge(book, "google", "gemini-2.5-pro", at).unit_prices["input"] == Decimal("1.25")
        assert charge(book, "google", "gemini-2.5-pro", above).unit_prices["input"] == Decimal("2.5")
        assert amount(book, "google", "gemini-2.5-pro", at) == "0.25"
        assert amount(book, "google", "gemini-2.5-pro", above) == "0.5000025"

    def test_the_bound_counts_only_tiers_within_reach(self) -> None:
        rates = PriceBook().rates("google", "gemini-2.5-pro", AT)
        assert rates is not None
        assert rates.bound_nano(200_000, 0) == 250_000_000
        assert rates.bound_nano(200_001, 0) == 500_002_500

    def test_the_bound_is_the_dearest_way_to_read(self) -> None:
        rates = PriceBook().rates("anthropic", "claude-opus-4-5", AT)
        assert rates is not None
        hour = Usage(
            input_tokens=1_000, cache_write_tokens=1_000, cache_write_1h_tokens=1_000, output_tokens=10
        )
        assert rates.bound_nano(1_000, 10) == rates.cost_nano(hour) == 10_250_000

    def test_the_bound_counts_audio_and_images_unless_told(self) -> None:
        book = PriceBook()
        audio = book.rates("google", "gemini-2.5-flash", AT)
        image = book.rates("google", "gemini-2.5-flash-image", AT)
        assert audio is not None
        assert image is not None
        assert (audio.bound_nano(1_000, 0), audio.bound_nano(1_000, 0, audio=False)) == (1_000_000, 300_000)
        assert (image.bound_nano(0, 1_000), image.bound_nano(0, 1_000, audio=False)) == (
            30_000_000,
            2_500_000,
        )

    def test_tokens_that_a_usage_cannot_tell_apart_make_it_partial(self) -> None:
        found = charge(PriceBook(), "google", "gemini-2.5-flash-image")
        assert (found.certainty, found.missing) == ("partial", ("output_image",))

    def test_reasoning_has_a_rate_of_its_own_where_one_is_listed(self) -> None:
        usage = Usage(output_tokens=1_000, reasoning_tokens=400)
        found = charge(PriceBook(), "perplexity", "sonar-deep-research", usage)
        assert (found.amount, found.unit_prices["reasoning"]) == (Decimal("0.006"), Decimal(3))

    def test_the_bound_of_a_tier_holds_for_a_dearer_one_below(self) -> None:
        cheap, dear = {"input": Decimal(1), "output": Decimal(1)}, {"input": Decimal(2), "output": Decimal(2)}
        rates = Rates(dear, [(100, cheap)], certainty="listed", source="test")
        assert rates.cost_nano(Usage(input_tokens=100, output_tokens=50)) == 300_000
        assert rates.cost_nano(Usage(input_tokens=101, output_tokens=50)) == 151_000
        assert rates.bound_nano(101, 50) == rates.bound_nano(101, 50, audio=False) == 302_000

    def test_how_much_audio_was_cached_is_not_told(self) -> None:
        usage = Usage(input_tokens=10_000, cache_read_tokens=6_000, input_audio_tokens=3_000)
        found = charge(PriceBook(), "google", "gemini-2.5-flash", usage)
        assert (found.amount, found.missing) == (Decimal("0.00348"), ("cache_read_audio",))  # none of it was
        more = Usage(input_tokens=10_000, cache_read_tokens=9_000, input_audio_tokens=3_000)
        found = charge(PriceBook(), "google", "gemini-2.5-flash", more)
        assert found.amount == Decimal("0.00141")  # 7,000 text and 2,000 audio from the cache, 1,000 audio
        assert found.certainty == "partial"

    def test_cache_writes_need_a_rate_and_cached_reads_do_not(self) -> None:
        book = PriceBook()
        read = Usage(input_tokens=10_000, cache_read_tokens=8_000)
        write = Usage(input_tokens=10_000, cache_write_tokens=8_000, cache_write_1h_tokens=10)
        assert charge(book, "groq", "llama-3.3-70b-versatile", read).certainty == "listed"
        assert charge(book, "groq", "llama-3.3-70b-versatile", write).missing == (
            "cache_write",
            "cache_write_1h",
        )
        assert charge(book, "openai", "gpt-6-sol", write).missing == ("cache_write_1h",)
        assert charge(book, "anthropic", "claude-opus-4-5", write).certainty == "listed"

    def test_an_embedding_model_has_no_price_for_output(self) -> None:
        found = charge(PriceBook(), "openai", "text-embedding-3-small")
        assert (found.certainty, found.missing) == ("partial", ("output",))

    def test_a_fee_per_request_is_part_of_the_price(self) -> None:
        found = charge(PriceBook(), "perplexity", "sonar", Usage())
        assert found.amount == found.unit_prices["call"] > 0

    def test_the_source_names_the_data_and_the_row(self) -> None:
        words = charge(PriceBook(), "openai", "gpt-4o-2024-08-06").source.split()
        assert (words[0], words[2]) == ("genai-prices", "openai/gpt-4o")

    def test_only_zeros_are_no_price(self) -> None:
        book = PriceBook()
        assert book.rates("openrouter", "mistralai/mistral-nemo:free", AT) is None
        assert book.rates("openai", "whisper-1", AT) is None  # listed by the hour, and a usage counts tokens
        free = PriceBook({"*:free": Price(input=0, output=0)})
        assert charge(free, "openrouter", "mistralai/mistral-nemo:free").certainty == "free"

    def test_zeros_that_are_written_down_are_no_price_either(self) -> None:
        none = Decimal(0)
        zeros = ModelPrice(
            input_mtok=none, output_mtok=TieredPrices(none, [Tier(9, none)]), web_searches_kcount=Decimal(10)
        )
        model = ModelInfo(id="promoted", match=ClauseEquals("promoted"), prices=zeros)
        data = Catalog([Provider(id="p", name="P", api_pattern="p", models=[model])], "0")
        row = data.find("p", "promoted")
        assert row is not None
        assert data.rates(row, AT, ()) is None


class TestServiceTiers:
    @pytest.mark.parametrize("name", ["default", "standard", "auto", "on_demand", "ON_DEMAND", ""])
    def test_the_standard_tier_has_many_names(self, name: str) -> None:
        found = charge(PriceBook(), "openai", "gpt-5", service_tier=name)
        assert (found.amount, found.certainty) == (Decimal("0.0225"), "listed")

    def test_one_that_the_data_lacks_is_named(self) -> None:
        book = PriceBook()
        for asked in [("anthropic", "claude-opus-4-5", "priority"), ("openai", "gpt-4o", "scale")]:
            provider, model, tier = asked
            found = charge(book, provider, model, service_tier=tier)
            assert (found.certainty, found.missing) == ("partial", (f"service_tier:{tier}",))
            assert found.amount == charge(book, provider, model).amount

    def test_one_that_is_not_there_yet_is_named(self) -> None:
        found = charge(
            PriceBook(), "openai", "gpt-5", at=datetime(2026, 1, 1, tzinfo=UTC), service_tier="flex"
        )
        assert (found.amount, found.certainty) == (Decimal("0.0225"), "partial")

    def test_vertex_names_its_traffic(self) -> None:
        book = PriceBook()
        asked = charge(book, "google", "gemini-3.8-flash-tts", service_tier="priority")
        assert charge(book, "google", "gemini-3.8-flash-tts", service_tier="ON_DEMAND_PRIORITY") == asked
        assert asked.certainty == "listed"

    def test_a_batch_by_either_name(self) -> None:
        book = PriceBook()
        assert amount(book, "anthropic", "claude-opus-4-5", processing="batch") == "0.0375"
        assert amount(book, "anthropic", "claude-opus-4-5", service_tier="batch") == "0.0375"

    def test_fast(self) -> None:
        assert charge(PriceBook(), "anthropic", "claude-opus-4-8", speed="fast").certainty == "listed"
        assert amount(PriceBook(), "anthropic", "claude-opus-4-8", speed="fast") == "0.15"

    def test_a_declared_price_is_the_price_in_every_tier(self) -> None:
        found = charge(
            PriceBook({"gpt-5": Price(input=1, output=1)}), "openai", "gpt-5", service_tier="priority"
        )
        assert (found.amount, found.certainty) == (Decimal("0.011"), "override")

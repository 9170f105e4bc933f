"""Which price a name gets: declared, of another name, listed, free or none."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from apeiros_callbacks.errors import ConfigError, InvalidPrice
from apeiros_callbacks.prices import UNPRICED, Charge, Price, PriceBook
from apeiros_callbacks.prices.names import known_provider
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


class TestOverrides:
    def test_the_most_specific_one_applies(self) -> None:
        prices = {
            "*": Price(input=1, output=0),
            "gpt-*": Price(input=2, output=0),
            "gpt-4o*": Price(input=3, output=0),
            "gpt-4o": Price(input=4, output=0),
            "azure:gpt-4o": Price(input=5, output=0),
            "azure:gpt-4o-*": Price(input=6, output=0),
        }
        for book in (PriceBook(prices), PriceBook(dict(reversed(prices.items())))):
            assert amount(book, "openai", "llama") == "0.01"
            assert amount(book, "openai", "gpt-5") == "0.02"
            assert amount(book, "openai", "gpt-4o-mini") == "0.03"
            assert amount(book, "openai", "gpt-4o") == "0.04"
            assert amount(book, "azure", "gpt-4o") == "0.05"
            assert amount(book, "azure_openai", "gpt-4o") == "0.05"
            assert amount(book, "litellm", "azure/gpt-4o") == "0.05"
            assert amount(book, "litellm", "openai/gpt-4o") == "0.04"
            assert amount(book, "azure", "gpt-4o-mini") == "0.06"

    @pytest.mark.parametrize("spelled", ["azure", "azure_openai", "AzureOpenAI"])
    @pytest.mark.parametrize("declared", ["azure:My-GPT", "azure_openai:my-gpt", "AZURE:my-*"])
    def test_a_provider_and_case_may_be_spelled_either_way(self, spelled: str, declared: str) -> None:
        assert amount(PriceBook({declared: Price(input=1, output=1)}), spelled, "my-gpt") == "0.011"

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("google", "models/gemini-2.5-flash"),
            ("litellm", "gemini/gemini-2.5-flash"),
            ("", "google:gemini-2.5-flash"),
        ],
    )
    def test_it_holds_for_the_name_without_its_wrapping(self, provider: str, model: str) -> None:
        book = PriceBook({"google:gemini-2.5-flash": Price(input=1, output=1)})
        assert amount(book, provider, model) == "0.011"

    def test_a_name_with_a_colon_is_a_name(self) -> None:
        book = PriceBook(
            {"gemini:tuned": Price(input=1, output=1), "ft:gpt-4o:org::id": Price(input=2, output=2)}
        )
        assert amount(book, "my-gateway", "gemini:tuned") == "0.011"
        assert amount(book, "openai", "ft:gpt-4o:org::id") == "0.022"

    def test_it_holds_for_its_provider_s_client_at_another_address(self) -> None:
        book = PriceBook({"openai:claude-opus-4-5": Price(input=1, output=1)})
        assert amount(book, "openai@gateway.example", "claude-opus-4-5") == "0.011"
        assert amount(book, "other@gateway.example", "claude-opus-4-5") == "0.075"

    def test_it_beats_the_list_and_free(self) -> None:
        book = PriceBook({"gpt-4o": Price(input=1, output=1), "llama3": Price(input=1, output=1)})
        assert charge(book, "openai", "gpt-4o").certainty == "override"
        assert amount(book, "ollama", "llama3") == "0.011"

    def test_tools_have_prices_of_their_own(self) -> None:
        book = PriceBook({"tool:search": Price(call=0.01), "tool:web_*": Price(call=0), "*": Price(input=1)})
        search, fetch = book.tool("search"), book.tool("Web_fetch")
        assert search is not None
        assert fetch is not None
        assert (search.charge(Usage()).amount, search.certainty) == (Decimal("0.01"), "override")
        assert (fetch.charge(Usage()).amount, fetch.certainty) == (Decimal(0), "free")
        assert search.cost_nano(Usage()) == 10_000_000
        assert book.tool("calculator") is None
        assert charge(book, "", "search").certainty == "partial"  # a model named search is not the tool

    def test_a_tool_s_price_is_one_per_call(self) -> None:
        with pytest.raises(InvalidPrice, match=r"Price\(call=0\.01\)"):
            PriceBook({"tool:search": Price(input=1)})

    @pytest.mark.parametrize("wrong", [(2.5, 10), 2.5, {"input": 2.5}, None, "free"])
    def test_what_is_no_price_is_refused_with_the_line_to_write(self, wrong: object) -> None:
        with pytest.raises(
            InvalidPrice, match=r'my-gpt.*prices=\{"my-model": Price\(input=2\.5, output=10\)\}'
        ):
            PriceBook({"my-gpt": wrong})  # type: ignore[dict-item]

    @pytest.mark.parametrize(
        "wrong", [{"": Price(input=1)}, {" ": Price(input=1)}, {3: Price(input=1)}, [Price(input=1)]]
    )
    def test_what_is_no_name_is_refused(self, wrong: object) -> None:
        with pytest.raises(InvalidPrice, match="prices"):
            PriceBook(wrong)  # type: ignore[arg-type]


class TestAliases:
    def test_a_deployment_is_its_model(self) -> None:
        book = PriceBook(
            models={"my-gpt": "azure:gpt-4o", "chained": "my-gpt", "openai:other": "gpt-4o-mini"}
        )
        assert amount(book, "azure", "my-gpt") == "0.035"
        assert charge(book, "azure", "MY-GPT").source.endswith("azure/gpt-4o")
        assert amount(book, "azure", "chained") == "0.035"
        assert amount(book, "openai", "other") == "0.0021"
        assert book.rates("azure", "other", AT) is None

    def test_a_declared_price_of_either_name_holds(self) -> None:
        models = {"my-gpt": "azure:gpt-4o"}
        target = PriceBook({"azure:gpt-4o": Price(input=1, output=1)}, models)
        name = PriceBook({"my-gpt": Price(input=2, output=2), "gpt-4o": Price(input=1, output=1)}, models)
        assert amount(target, "azure", "my-gpt") == "0.011"
        assert amount(name, "azure", "my-gpt") == "0.022"

    def test_a_name_is_known_without_its_wrapping(self) -> None:
        book = PriceBook(models={"mine": "openai:gpt-4o"})
        assert amount(book, "litellm", "azure/mine") == "0.035"
        assert amount(book, "google", "models/mine") == "0.035"

    def test_a_name_may_stand_for_itself_at_a_provider(self) -> None:
        assert charge(PriceBook(models={"gpt-4o": "azure:gpt-4o"}), "", "gpt-4o").source.endswith(
            "azure/gpt-4o"
        )

    def test_a_name_may_stand_for_a_local_model(self) -> None:
        assert charge(PriceBook(models={"mine": "ollama:llama3"}), "openai", "mine").certainty == "free"

    def test_a_fine_tuned_name_is_no_provider(self) -> None:
        book = PriceBook(models={"mine": "ft:gpt-4o-mini-2024-07-18:org::id"})
        assert amount(book, "openai", "mine") == "0.0042"

    @pytest.mark.parametrize(
        "models",
        [
            {"a": "a"},
            {"a": "b", "b": "a"},
            {"a": "b", "b": "azure:c", "c": "openai:a"},
            {"openai:a": "openai:a"},
        ],
    )
    def test_a_circle_is_an_error(self, models: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="circle"):
            PriceBook(models=models)

    @pytest.mark.parametrize(
        "models", [{"a": ""}, {"a": " : "}, {"": "gpt-4o"}, {"a": 3}, {"a": Price(input=1)}, ["a"]]
    )
    def test_what_is_no_name_is_refused_with_the_line_to_write(self, models: object) -> None:
        with pytest.raises(ConfigError, match=r'models=\{"my-deployment": "azure:gpt-4o"\}'):
            PriceBook(models=models)  # type: ignore[arg-type]


class TestNames:
    @pytest.mark.parametrize(
        ("provider", "model", "row"),
        [
            ("openai", "gpt-4o", "openai/gpt-4o"),
            ("openai_llm", "gpt-4o", "openai/gpt-4o"),
            ("OpenAIEmbedding", "text-embedding-3-small", "openai/text-embedding-3-small"),
            ("azure", "gpt-4o", "azure/gpt-4o"),
            ("azure_openai", "gpt-4o", "azure/gpt-4o"),
            ("azure_openai_llm", "gpt-4o", "azure/gpt-4o"),
            ("anthropic", "claude-opus-4-5", "anthropic/claude-opus-4-5"),
            ("Anthropic_LLM", "claude-opus-4-5", "anthropic/claude-opus-4-5"),
            ("google_genai", "gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("google_vertexai", "gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("GenAI", "gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("vertex", "gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("amazon_bedrock", "amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
            ("anthropic-bedrock", "us.amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
            ("anthropic_bedrock", "us.amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
            ("Bedrock_Converse_LLM", "us.amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
            ("mistralai", "mistral-large-2512", "mistral/mistral-large-2512"),
            ("mistral", "mistral-large-2512", "mistral/mistral-large-2512"),
            ("xai", "grok-4.3", "x-ai/grok-4.3"),
            ("groq", "llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),
            ("deepseek", "deepseek-v4-flash", "deepseek/deepseek-v4-flash"),
            (
                "together",
                "meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "together/meta-llama/Llama-3.3-70B-Instruct-Turbo",
            ),
            ("fireworks", "accounts/fireworks/models/deepseek-v3p2", "fireworks/deepseek-v3p2"),
            ("cohere", "command-r-plus", "cohere/command-r-plus"),
            ("perplexity", "sonar", "perplexity/sonar"),
            ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
            ("google_vertexai", "google/gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("litellm", "openai/gpt-4o", "openai/gpt-4o"),
            ("litellm", "azure/gpt-4o", "azure/gpt-4o"),
            (
                "litellm",
                "bedrock/converse/anthropic.claude-sonnet-4-5-20250929-v1:0",
                "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ),
            ("litellm", "gpt-4o", "openai/gpt-4o"),
            ("", "gpt-4o", "openai/gpt-4o"),
            ("", "anthropic:claude-opus-4-5", "anthropic/claude-opus-4-5"),
            ("", "text-embedding-3-small", "openai/text-embedding-3-small"),
            (
                "",
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
                "aws/amazon.nova-pro-v1:0",
            ),
        ],
    )
    def test_as_the_frameworks_spell_them(self, provider: str, model: str, row: str) -> None:
        found = charge(PriceBook(), provider, model)
        assert found.source.split()[-1] == row
        assert found.certainty in {"listed", "partial"}

    def test_every_provider_of_the_data_has_a_spelling(self) -> None:
        from genai_prices.data import providers

        assert [p.id for p in providers if known_provider(p.id) != p.id] == []

    def test_a_gateway_s_own_name_leaves_the_maker_s_price_as_assumed(self) -> None:
        found = charge(PriceBook(), "my-gateway", "gpt-4o", service_tier="flex")
        assert (found.amount, found.certainty) == (Decimal("0.035"), "assumed")
        assert found.missing == ("service_tier:flex",)

    def test_a_known_provider_that_does_not_list_the_model_leaves_it_unknown(self) -> None:
        assert PriceBook().rates("openai", "claude-opus-4-5", AT) is None

    @pytest.mark.parametrize(
        "provider",
        [
            *("ollama", "Ollama_llm", "llama.cpp", "llama_cpp", "LlamaCPP", "chatllamacpp", "gpt4all", "mlx"),
            *("HuggingFacePipeline", "huggingface_pipeline", "HuggingFaceLLM", "HuggingFaceEmbedding"),
        ],
    )
    def test_the_own_machine_is_free(self, provider: str) -> None:
        for model in ("llama3:8b", ""):
            found = charge(PriceBook(), provider, model)
            assert (found.amount, found.certainty, found.missing) == (Decimal(0), "free", ())

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("ollama", "gpt-oss:120b-cloud"),
            ("ollama", "glm-4.6:cloud"),
            ("huggingface", "zephyr-7b"),
            ("HuggingFaceInferenceAPI", "zephyr-7b"),
        ],
    )
    def test_somebody_else_s_machine_is_not(self, provider: str, model: str) -> None:
        assert PriceBook().rates(provider, model, AT) is None

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            " ",
            "x" * 10_000,
            "gpt-4o\x00",
            "gpt\n-4o",
            "\ud800",
            "☃",
            "[",
            "(",
            "*",
            ":",
            "/",
            "ft:",
            "models/",
            "arn:",
        ],
        ids=lambda wrong: repr(wrong)[:12],
    )
    @pytest.mark.parametrize("provider", ["", "openai", "amazon_bedrock", "litellm", "x" * 10_000, "\x00"])
    def test_what_is_no_name_has_no_price(self, provider: str, wrong: str) -> None:
        for book in (PriceBook(), PriceBook({"[a-*": Price(input=1)}, {"a": "b"})):
            assert book.rates(provider, wrong, AT) is None
            assert book.answered(provider, wrong, wrong, AT) is None
            assert book.context_window(provider, wrong) is None
            assert isinstance(book.suggest(provider, wrong), str)

    @pytest.mark.parametrize(
        "wrong", ["x" * 10_000, "gpt-4o\x00", "gpt\n-4o", "\ud800"], ids=["long", "nul", "line", "half"]
    )
    def test_what_cannot_be_a_name_is_not_even_matched(self, wrong: str) -> None:
        book = PriceBook({"*": Price(input=1)})
        assert book.rates("openai", wrong, AT) is None
        assert book.rates(wrong, "gpt-4o", AT) is None

    @pytest.mark.parametrize("wrong", [None, 3, ["gpt-4o"], {"a": 1}, b"gpt-4o"])
    def test_what_is_no_text_has_no_price(self, wrong: object) -> None:
        assert PriceBook().rates("openai", wrong, AT) is None  # type: ignore[arg-type]
        assert PriceBook().rates(wrong, "no-such-model", AT) is None  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("provider", "model", "said"),
        [
            ("openai", "gpt4o", "did you mean gpt-4o?"),
            ("", "claude-opus4-5", "did you mean claude-opus-4-5?"),
            ("openai", "gpt-99", ""),
            ("anthropic", "claude-opus-9", ""),
            ("openai", "gpt-4o-2031-01-01", ""),
            ("openai", "deepseek-v4-flash", "did you mean deepseek:deepseek-v4-flash?"),
            ("openai", "", "the call does not name its model"),
            (
                "openai",
                "ft:gpt-4.1-mini-2025-04-14:org::id",
                "a fine-tuned model has a price of its own, and none is listed",
            ),
        ],
    )
    def test_what_may_have_been_meant(self, provider: str, model: str, said: str) -> None:
        assert PriceBook().suggest(provider, model) == said

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            ("azure:nosuch", "models= says it is 'azure:nosuch', which has no price"),
            ("openai:gpt4o", "models= says it is 'openai:gpt4o', which has no price: did you mean gpt-4o?"),
            ("middle", "models= says it is 'azure:nosuch', which has no price"),
        ],
    )
    def test_what_stands_for_a_name_without_a_price(self, target: str, said: str) -> None:
        book = PriceBook(models={"my-deployment": target, "middle": "azure:nosuch"})
        assert book.suggest("azure", "my-deployment") == said

    def test_the_context_window(self) -> None:
        book = PriceBook({"gpt-4o": Price(input=1, output=1)}, {"mine": "openai:gpt-4o"})
        assert book.context_window("openai", "gpt-4o") == book.context_window("azure", "mine") == 128_000
        assert book.context_window("openai", "no-such-model") is None

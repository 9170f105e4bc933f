"""Counting text: the estimate, the counter and its bounds. No encoding's file is needed."""

import asyncio
import socket
import threading

import pytest
from blockbuster import BlockBuster

from apeiros_callbacks.tokens import (
    TokenCounter,
    approximate_tokens,
    byte_bound,
    text_counter,
    warm,
)
from apeiros_callbacks.tokens import counter as counter_module
from apeiros_callbacks.tokens.encodings import EncodingShelf
from apeiros_callbacks.tokens.families import Family, claude_version, family_of

PROSE = """\
By the time the train pulled into the little station it was already dark outside. The passengers
reached for their suitcases, and nobody was waiting on the platform except an old man with a lamp.
"""

SAMPLES = (PROSE, '{"city":"Zürich"}', "小模型并不总是更差。", "for i in range(10):\n    print(i)\n", "🚀 ok")

NOWHERE = EncodingShelf(known=())
"""A shelf that stays empty: what counts is the estimate."""


@pytest.fixture
def estimating() -> TokenCounter:
    return TokenCounter(Family("o200k_base", 1.0, own=True), NOWHERE)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class TestEstimate:
    @pytest.mark.parametrize(
        "unit", ["a", " ", "(", "😀", "\n", " \n", "_", "\t ", "中", "aA", "a1", ".a", "\x00", "-."]
    )
    def test_grows_with_the_length(self, unit: str) -> None:
        small, large = approximate_tokens(unit * 4_000), approximate_tokens(unit * 40_000)
        assert large == pytest.approx(10 * small, rel=0.05, abs=2)

    @pytest.mark.parametrize("unit", ["a", " ", "(", "😀", "\n"])
    def test_takes_a_million_characters(self, unit: str) -> None:
        assert 1_000 < approximate_tokens(unit * 1_000_000) < 4_000_000


class TestCounter:
    def test_names_what_counts(self, estimating: TokenCounter) -> None:
        assert (estimating.name, estimating.exact, estimating.encoding) == (
            "approximate",
            False,
            "o200k_base",
        )

    def test_leaves_the_scale_to_its_caller(self) -> None:
        text = PROSE
        own = TokenCounter(Family("o200k_base", 1.0, own=True), NOWHERE)
        other = TokenCounter(Family("o200k_base", 1.5, own=False), NOWHERE)
        assert own.count(text) == other.count(text)
        assert (own.scale, other.scale) == (1.0, 1.5)

    def test_nothing_is_no_token_and_anything_is_one(self, estimating: TokenCounter) -> None:
        assert estimating.count("") == 0
        assert [estimating.count(text) for text in ("a", " ", ".", "\x00", "\ud800", "7", "é", "\u0e01")] == [
            1
        ] * 8

    @pytest.mark.parametrize(
        "text",
        [
            "\ud800",
            "a\udfffb",
            "\x00" * 9,
            "<|endoftext|><|im_start|>",
            "\ufeff",
            "\u200d" * 50,
            "\U0010ffff" * 40,
        ],
    )
    def test_counts_any_text(self, estimating: TokenCounter, text: str) -> None:
        assert 1 <= estimating.count(text) <= byte_bound(text)

    def test_is_the_same_for_the_same_names(self) -> None:
        assert text_counter("openai", "gpt-4o") is text_counter("openai", "gpt-4o")
        assert text_counter("openai", "gpt-4o") is text_counter("", "gpt-5")  # one for a family
        assert text_counter("openai", "gpt-4o") is not text_counter("openai", "gpt-4")

    def test_a_long_text_is_counted_by_slices_of_a_bounded_size(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []

        def measure(text: str) -> float:
            sizes.append(len(text))
            return len(text) / 4

        monkeypatch.setattr(counter_module, "approximate_tokens", measure)
        counter = TokenCounter(Family("o200k_base", 1.0, own=True), NOWHERE)
        for length in (100_001, 250_000, 5_000_000):
            sizes.clear()
            assert counter.count("x" * length) == round(length / 4)
            assert sum(sizes) <= 60_000
        sizes.clear()
        counter.count("x" * 100_000)
        assert sizes == [100_000]

    def test_slices_see_the_whole_text(self, estimating: TokenCounter) -> None:
        prose, chinese = PROSE + "\n", "小模型并不总是比大模型差。"
        mixed = prose * 400 + chinese * 9_000
        whole = approximate_tokens(prose) * 400 + approximate_tokens(chinese) * 9_000
        assert estimating.count(mixed) == pytest.approx(whole, rel=0.03)

    def test_counts_in_many_threads(self, estimating: TokenCounter) -> None:
        expected = [estimating.count(text) for text in SAMPLES]
        seen: list[list[int]] = []

        def count() -> None:
            seen.extend([estimating.count(text) for text in SAMPLES] for _ in range(5))

        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [expected] * 40

    def test_an_event_loop_may_warm_and_count(self) -> None:
        async def run() -> int:
            warm(wait=False)
            return text_counter("openai", "gpt-4o").count(PROSE)

        blocking = BlockBuster()
        blocking.activate()
        try:
            assert asyncio.run(run()) == pytest.approx(38, rel=0.2)
        finally:
            blocking.deactivate()
        warm(wait=True)


class TestByteBound:
    def test_counts_the_bytes(self) -> None:
        assert [byte_bound(text) for text in ("", "abc", "é", "中", "😀", "a😀")] == [0, 3, 2, 3, 4, 5]

    def test_a_surrogate_is_three(self) -> None:
        assert byte_bound("\ud800") == 3


class TestFamilies:
    @pytest.mark.parametrize(
        ("model", "encoding"),
        [
            ("gpt-4o", "o200k_base"),
            ("gpt-4o-mini-2024-07-18", "o200k_base"),
            ("gpt-4.1-nano", "o200k_base"),
            ("gpt-5.4", "o200k_base"),
            ("gpt-6-astra", "o200k_base"),
            ("gpt-oss-120b", "o200k_base"),
            ("o1", "o200k_base"),
            ("o3-mini", "o200k_base"),
            ("chatgpt-4o-latest", "o200k_base"),
            ("ft:gpt-4o-mini-2024-07-18:org::id", "o200k_base"),
            ("openai/gpt-5-mini", "o200k_base"),
            ("openai.gpt-oss-20b-1:0", "o200k_base"),
            ("gpt-4", "cl100k_base"),
            ("gpt-4-turbo-2024-04-09", "cl100k_base"),
            ("gpt-4-32k", "cl100k_base"),
            ("gpt-3.5-turbo", "cl100k_base"),
            ("gpt-35-turbo", "cl100k_base"),
            ("ft:gpt-3.5-turbo-0125:org::id", "cl100k_base"),
            ("text-embedding-3-small", "cl100k_base"),
            ("text-embedding-ada-002", "cl100k_base"),
        ],
    )
    def test_openai_models_have_an_encoding_of_their_own(self, model: str, encoding: str) -> None:
        assert family_of("openai", model) == Family(encoding, 1.0, own=True)
        assert family_of("", model) == Family(encoding, 1.0, own=True)

    @pytest.mark.parametrize(
        ("provider", "model", "scale"),
        [
            ("anthropic", "claude-3-5-sonnet-20241022", 1.2),
            ("anthropic", "claude-sonnet-4-20250514", 1.2),
            ("anthropic", "claude-sonnet-4-6", 1.2),
            ("amazon_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 1.2),
            ("openrouter", "anthropic/claude-sonnet-4.5", 1.2),
            ("amazon_bedrock", "anthropic.claude-v2", 1.2),
            ("anthropic", "claude-opus-4-7", 1.5),
            ("anthropic", "claude-opus-4-8", 1.5),
            ("anthropic", "claude-sonnet-5", 1.5),
            ("anthropic", "claude-opus-latest", 1.5),
            ("anthropic", "my-alias", 1.5),
            ("google_genai", "models/gemini-2.5-flash", 1.05),
            ("google_vertexai", "text-embedding-005", 1.05),
            ("mistralai", "mistral-large-latest", 1.15),
            ("", "codestral-2501", 1.15),
            ("groq", "llama-3.3-70b-versatile", 1.1),
            ("deepseek", "deepseek-chat", 1.1),
            ("xai", "grok-4", 1.15),
            ("", "qwen/qwen3-32b", 1.15),
            ("openai", "my-deployment", 1.0),
            ("", "fake-model", 1.0),
            ("", "", 1.0),
        ],
    )
    def test_others_are_scaled(self, provider: str, model: str, scale: float) -> None:
        assert family_of(provider, model) == Family("o200k_base", scale, own=False)

    @pytest.mark.parametrize(
        ("name", "version"),
        [
            ("claude-3-opus-20240229", (3, 0)),
            ("claude-4-sonnet-20250514", (4, 0)),
            ("claude-opus-4-20250514", (4, 0)),
            ("claude-opus-4-1@20250805", (4, 1)),
            ("claude-haiku-4-10", (4, 10)),
            ("claude-4.5-sonnet", (4, 5)),
            ("claude-instant-1.2", (1, 2)),
            ("claude-2.1", (2, 1)),
            ("claude", None),
        ],
    )
    def test_reads_the_version_of_a_claude(self, name: str, version: tuple[int, int] | None) -> None:
        assert claude_version(name) == version

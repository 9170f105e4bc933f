"""``BudgetedEmbeddings``: an embedding model within the budget and the ledger of a handler."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import AzureOpenAIEmbeddings, OpenAIEmbeddings

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Price, UnknownPrice
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_apeiros import ApeirosHandler, BudgetedEmbeddings
from tests.langchain.clients import openai

TEXTS = ["Paris is a city.", "Rome is another one."]
DOLLAR = Price(input=1_000_000, output=1_000_000)


def client(server: ScriptedServer, **options: Any) -> OpenAIEmbeddings:
    settings: dict[str, Any] = {
        "model": "text-embedding-3-small",
        "base_url": server.openai_url,
        "api_key": "test",
        "max_retries": 0,
        "check_embedding_ctx_length": False,  # else it counts with a tokenizer that it downloads
        **options,
    }
    return OpenAIEmbeddings(**settings)


def embed(embeddings: Embeddings, how: str, texts: list[str] = TEXTS) -> Any:
    if how == "documents":
        return embeddings.embed_documents(texts)
    if how == "query":
        return embeddings.embed_query(texts[0])
    if how == "async documents":
        return asyncio.run(embeddings.aembed_documents(texts))
    return asyncio.run(embeddings.aembed_query(texts[0]))


WAYS = pytest.mark.parametrize("how", ["documents", "query", "async documents", "async query"])


@WAYS
def test_a_call_is_one_entry_at_the_rate_of_its_model(serve: Any, how: str) -> None:
    server, handler = serve(), ApeirosHandler(budget=0.50)
    vectors = embed(BudgetedEmbeddings(client(server), handler), how)
    assert vectors == embed(client(server), how)
    (entry,) = handler.session.entries()
    tokens = entry.usage.input_tokens
    assert (entry.kind, entry.provider, entry.model) == ("embedding", "openai", "text-embedding-3-small")
    assert (entry.usage_certainty, entry.price_certainty) == ("estimated", "listed")
    # By OpenAI's tokenizer 5 and 5; without its files the count is an estimate.
    assert tokens == pytest.approx(10 if "documents" in how else 5, abs=2)
    assert (entry.amount, entry.usage.output_tokens) == (tokens * Decimal("0.02") / 1_000_000, 0)
    assert (handler.session.spent, handler.session.open_holds) == (entry.amount, 0)


@WAYS
@pytest.mark.parametrize("strict", [False, True])
def test_a_call_is_refused_before_it_is_sent(serve: Any, how: str, strict: bool) -> None:
    server, handler = serve(), ApeirosHandler(budget=4_000, prices={"*": DOLLAR}, strict=strict)
    embeddings = BudgetedEmbeddings(client(server), handler)
    embed(embeddings, how)
    handler.session.raise_budget(to=handler.session.spent + 1)
    with pytest.raises(BudgetExceeded):
        embed(embeddings, how)
    assert (server.request_count, len(handler.session.entries()), handler.session.open_holds) == (1, 1, 0)


def test_a_strict_budget_holds_a_token_for_each_byte(serve: Any) -> None:
    handler = ApeirosHandler(budget=0.50, strict=True)
    BudgetedEmbeddings(client(serve()), handler).embed_documents(TEXTS)
    (entry,) = handler.session.entries()
    assert entry.usage.input_tokens >= sum(len(text) for text in TEXTS)
    assert (entry.usage.output_tokens, handler.session.open_holds) == (0, 0)


def test_it_is_no_llm_call_and_no_step_of_a_conversation(serve: Any) -> None:
    server = serve(Reply("ok", input_tokens=900, output_tokens=100))
    handler = ApeirosHandler(budget=Budget(calls=2))
    embeddings, model = BudgetedEmbeddings(client(server), handler), openai(server)
    for question in ("where", "when"):
        embeddings.embed_query(question)
        model.invoke(question, {"callbacks": [handler]})
    embeddings.embed_query("why")
    with pytest.raises(BudgetExceeded):
        model.invoke("why", {"callbacks": [handler]})
    kinds = [entry.kind for entry in handler.session.entries()]
    assert kinds == ["embedding", "llm", "embedding", "llm", "embedding"]
    assert {finding.type for finding in handler.session.findings} == {"budget_exceeded"}


def test_it_shares_the_budget_of_the_chat_calls(serve: Any) -> None:
    server = serve(Reply("ok", input_tokens=90, output_tokens=10))
    handler = ApeirosHandler(budget=3_000, prices={"*": DOLLAR})
    openai(server).invoke("hi", {"callbacks": [handler]})
    handler.session.raise_budget(to=102)
    with pytest.raises(BudgetExceeded) as stop:
        BudgetedEmbeddings(client(server), handler).embed_documents(TEXTS)
    assert (stop.value.spent, server.request_count, handler.session.open_holds) == (100, 1, 0)


def test_agent_and_run_are_those_around_it(serve: Any) -> None:
    server, handler = serve(), ApeirosHandler(budget=10_000, prices={"*": DOLLAR}, per="run")
    embeddings = BudgetedEmbeddings(client(server), handler)

    def twice(text: str) -> None:
        for _ in range(2):
            with pytest.raises(BudgetExceeded):
                embeddings.embed_query(text * 20_000)
        embeddings.embed_query(text)

    RunnableLambda(twice).invoke("x y ", {"callbacks": [handler], "metadata": {"agent": "librarian"}})
    (entry,) = handler.session.entries()
    assert (entry.agent, server.request_count) == ("librarian", 1)
    refused = handler.session.findings[0]
    assert (refused.type, refused.agent, refused.count) == ("budget_exceeded", "librarian", 2)


@WAYS
def test_an_error_of_the_provider_costs_nothing(serve: Any, how: str) -> None:
    handler = ApeirosHandler(budget=0.50)
    with pytest.raises(Exception, match="slow down"):
        embed(BudgetedEmbeddings(client(serve(Reply(status=429, error="slow down"))), handler), how)
    (entry,) = handler.session.entries()
    assert (entry.amount, entry.usage_certainty, entry.error) == (0, "assumed", "RateLimitError 429")
    assert handler.session.open_holds == 0


def test_an_error_after_a_request_was_answered_is_not_free(serve: Any) -> None:
    server = serve(Reply("ok"), Reply(status=500, error="oh"))
    handler = ApeirosHandler(budget=0.50)
    with pytest.raises(Exception, match="oh"):
        BudgetedEmbeddings(client(server, chunk_size=1), handler).embed_documents(TEXTS)
    (entry,) = handler.session.entries()
    assert entry.amount
    assert (entry.usage_certainty, server.request_count) == ("estimated", 2)


def test_several_requests_of_one_call_are_one_entry(serve: Any) -> None:
    server, handler = serve(), ApeirosHandler(budget=0.50)
    BudgetedEmbeddings(client(server, chunk_size=1), handler).embed_documents(TEXTS)
    assert (server.request_count, len(handler.session.entries())) == (2, 1)


def test_a_cancelled_call_is_closed_once(serve: Any) -> None:
    server, handler = serve(Reply("ok", delay=60)), ApeirosHandler(budget=0.50)

    async def run() -> None:
        task = asyncio.create_task(BudgetedEmbeddings(client(server), handler).aembed_documents(TEXTS))
        await asyncio.to_thread(server.wait_for_requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    (entry,) = handler.session.entries()
    assert entry.amount
    assert (entry.usage_certainty, entry.error) == ("estimated", "CancelledError")
    assert handler.session.open_holds == 0


def test_no_texts_are_no_call(serve: Any) -> None:
    server, handler = serve(), ApeirosHandler(budget=0.50)
    embeddings = BudgetedEmbeddings(client(server), handler)
    assert embed(embeddings, "documents", []) == embed(embeddings, "async documents", []) == []
    assert (server.request_count, handler.session.entries(), handler.session.open_holds) == (0, [], 0)


def test_only_what_is_not_in_a_cache_costs(serve: Any) -> None:
    cached = pytest.importorskip("langchain_classic.embeddings").CacheBackedEmbeddings
    stores = pytest.importorskip("langchain_core.stores")
    server, handler = serve(), ApeirosHandler(budget=0.50)
    inner = BudgetedEmbeddings(client(server), handler)
    embeddings = cached.from_bytes_store(inner, stores.InMemoryByteStore(), key_encoder="sha256")
    embeddings.embed_documents(TEXTS)
    embeddings.embed_documents([TEXTS[0]])
    embeddings.embed_documents([TEXTS[1], "Oslo"])
    sizes = [entry.usage.input_tokens for entry in handler.session.entries()]
    assert (server.request_count, len(sizes)) == (2, 2)
    assert sizes[0] > sizes[1]


def test_it_is_the_embedding_model_of_a_vector_store(serve: Any) -> None:
    handler = ApeirosHandler(budget=0.50)
    store = InMemoryVectorStore(BudgetedEmbeddings(client(serve()), handler))
    store.add_texts(TEXTS)
    assert store.similarity_search(TEXTS[0], k=1)[0].page_content == TEXTS[0]
    assert len(handler.session.entries()) == 2


def fake(name: str, **fields: Any) -> Embeddings:
    made: Any = type(name, (Embeddings,), {
        "embed_documents": lambda self, texts: [[1.0] for _ in texts],
        "embed_query": lambda self, text: [1.0],
        **fields,
    })  # fmt: skip
    instance: Embeddings = made()
    return instance


@pytest.mark.parametrize(
    ("made", "provider", "model", "price"),
    [
        (fake("OllamaEmbeddings", model="nomic-embed-text"), "ollama", "nomic-embed-text", "free"),
        (fake("HuggingFaceEmbeddings", model_name="m"), "huggingfaceembeddings", "m", "free"),
        (fake("MistralAIEmbeddings", model="mistral-embed"), "mistral", "mistral-embed", "listed"),
        (fake("CohereEmbeddings", model="embed-v4.0"), "cohere", "embed-v4.0", "listed"),
        (fake("GoogleGenerativeAIEmbeddings", model="models/gemini-embedding-001"), "google", None, "listed"),
        (fake("BedrockEmbeddings", model_id="amazon.titan-embed-text-v2:0"), "aws", None, "listed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Embeddings) else None,
)
def test_provider_and_model_are_told_from_the_class(
    made: Embeddings, provider: str, model: str | None, price: str
) -> None:
    handler = ApeirosHandler(budget=0.50)
    BudgetedEmbeddings(made, handler).embed_query("hi")
    (entry,) = handler.session.entries()
    assert (entry.provider, entry.price_certainty) == (provider, price)
    assert model in {None, entry.model}


def test_azure_is_priced_by_its_deployment_where_it_is_all_that_is_given() -> None:
    settings: dict[str, Any] = {"azure_endpoint": "https://x.openai.azure.com", "api_key": "test"}
    settings["api_version"] = "2024-10-21"
    named = AzureOpenAIEmbeddings(model="text-embedding-3-small", azure_deployment="mine", **settings)
    nameless = AzureOpenAIEmbeddings(azure_deployment="mine", **settings)
    handler = ApeirosHandler(budget=0.00000001)
    with pytest.raises(BudgetExceeded):
        BudgetedEmbeddings(named, handler).embed_query("hello there")
    with pytest.raises(UnknownPrice, match="mine"):
        BudgetedEmbeddings(nameless, handler).embed_query("hi")


def test_what_the_class_does_not_say_is_given() -> None:
    handler = ApeirosHandler(budget=0.50)
    unknown = DeterministicFakeEmbedding(size=3)
    with pytest.raises(UnknownPrice, match="DeterministicFakeEmbedding"):
        BudgetedEmbeddings(unknown, handler).embed_query("hi")
    given = BudgetedEmbeddings(unknown, handler, model="text-embedding-3-large", provider="openai")
    given.embed_query("hi")
    assert handler.session.entries()[0].unit_prices["input"] == Decimal("0.13")


def test_something_else_is_no_embedding_model() -> None:
    with pytest.raises(ConfigError, match="embedding model, got 'gpt-4o'"):
        BudgetedEmbeddings("gpt-4o", ApeirosHandler())  # type: ignore[arg-type]

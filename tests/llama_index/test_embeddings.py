"""Embeddings: by the handler, and by ``BudgetedEmbedding`` where that cannot refuse or does not know."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.storage.kvstore import SimpleKVStore

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Price
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedEmbedding
from tests.llama_index.clients import embedding, openai

TEXTS = [f"Text number {i} is about a city." for i in range(5)]
DOLLAR = {"*": Price(input=1_000_000, output=1_000_000)}


def embed(model: Any, how: str) -> Any:
    if how == "query":
        return model.get_query_embedding(TEXTS[0])
    if how == "text":
        return model.get_text_embedding(TEXTS[0])
    if how == "batch":
        return model.get_text_embedding_batch(TEXTS)
    if how == "async query":
        return asyncio.run(model.aget_query_embedding(TEXTS[0]))
    if how == "async text":
        return asyncio.run(model.aget_text_embedding(TEXTS[0]))
    return asyncio.run(model.aget_text_embedding_batch(TEXTS))


WAYS = pytest.mark.parametrize("how", ["query", "text", "batch", "async query", "async text", "async batch"])
WRAPPED = pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])


def model_of(wrapped: bool, server: Any, handler: ApeirosHandler, **options: Any) -> Any:
    model = embedding(server, **options)
    return BudgetedEmbedding(model, handler) if wrapped else model


@WAYS
@WRAPPED
def test_a_request_is_an_entry_at_the_rate_of_its_model(serve: Any, how: str, wrapped: bool) -> None:
    server = serve()
    with ApeirosHandler(budget=0.50) as handler:
        vectors = embed(model_of(wrapped, server, handler, embed_batch_size=2), how)
    assert vectors == embed(embedding(server, embed_batch_size=2), how)
    requests = 3 if "batch" in how else 1
    entries = handler.session.entries()
    assert len(entries) == requests == server.request_count / 2
    for entry in entries:
        assert (entry.kind, entry.provider, entry.model) == ("embedding", "openai", "text-embedding-3-small")
        assert (entry.usage_certainty, entry.price_certainty) == ("estimated", "listed")
    tokens = sum(entry.usage.input_tokens for entry in entries)
    # By OpenAI's tokenizer 9 a text; without its files the count is an estimate.
    assert tokens == pytest.approx(45 if "batch" in how else 9, rel=0.25)
    assert handler.session.spent == tokens * Decimal("0.02") / 1_000_000
    assert handler.session.open_holds == 0


@WAYS
@WRAPPED
@pytest.mark.parametrize("strict", [False, True])
def test_it_is_refused_before_it_is_sent(serve: Any, how: str, wrapped: bool, strict: bool) -> None:
    server = serve()
    with ApeirosHandler(budget=1, prices=DOLLAR, strict=strict) as handler, pytest.raises(BudgetExceeded):
        embed(model_of(wrapped, server, handler), how)
    assert (server.request_count, handler.session.entries(), handler.session.open_holds) == (0, [], 0)


@pytest.mark.parametrize("how", ["batch", "async batch"])
@WRAPPED
def test_what_comes_from_a_cache_costs_nothing(serve: Any, how: str, wrapped: bool) -> None:
    server = serve()
    with ApeirosHandler(budget=100_000, prices=DOLLAR) as handler:
        model = model_of(wrapped, server, handler, embeddings_cache=SimpleKVStore())
        model.get_text_embedding(TEXTS[0])
        embed(model, how)
        embed(model, how)
        embed(model, "async text")
    first, rest = handler.session.entries()
    assert server.request_count == 2
    assert rest.usage.input_tokens == pytest.approx(first.usage.input_tokens * 4, rel=0.1)


@WAYS
@WRAPPED
def test_an_error_of_the_provider_costs_nothing(serve: Any, how: str, wrapped: bool) -> None:
    server = serve(Reply(status=400, error="no"))
    with ApeirosHandler(budget=100_000, prices=DOLLAR) as handler, pytest.raises(Exception, match="."):
        embed(model_of(wrapped, server, handler), how)
    (entry,) = handler.session.entries()
    assert (entry.usage_certainty, entry.amount, handler.session.open_holds) == ("assumed", 0, 0)
    assert "400" in (entry.error or "")


WORKERS = pytest.mark.parametrize("workers", [None, 3], ids=["at once", "by workers"])


@WRAPPED
@WORKERS
@pytest.mark.parametrize("stays", [False, True], ids=["the loop ends", "the loop goes on"])
def test_a_batch_that_is_refused_leaves_the_one_before_to_its_own_end(
    serve: Any, wrapped: bool, workers: int | None, stays: bool
) -> None:
    server = serve(Reply(delay=0.05))

    async def refused(model: Any) -> int:
        with pytest.raises(BudgetExceeded):
            await model.aget_text_embedding_batch(TEXTS)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if stays:
            await asyncio.gather(*others, return_exceptions=True)
        return len(others)

    with ApeirosHandler(budget=25, prices=DOLLAR) as handler:
        options = {"embed_batch_size": 2, "num_workers": workers}
        assert asyncio.run(refused(model_of(wrapped, server, handler, **options)))
    session = handler.session
    entries = session.entries()
    assert len(entries) == server.request_count == stays, "the loop ends before there is a connection"
    assert [entry.error for entry in entries] == [None] * stays
    assert session.spent == sum(entry.amount or 0 for entry in entries) <= 25
    assert session.open_holds == 0


@WRAPPED
@WORKERS
@pytest.mark.parametrize("outcome", ["ok", "error", "cancel", "cap before"])
def test_batches_by_workers_are_an_entry_each(
    serve: Any, wrapped: bool, workers: int | None, outcome: str
) -> None:
    replies = {"error": Reply(status=400, error="no", delay=0.2), "cancel": Reply(delay=30)}
    server = serve(replies.get(outcome, Reply()))

    async def ask(model: Any) -> None:
        task = asyncio.ensure_future(model.aget_text_embedding_batch(TEXTS))
        if outcome == "cancel":
            await asyncio.to_thread(server.wait_for_requests, 3, 20)
            task.cancel()
        await task

    with ApeirosHandler(budget=5 if outcome == "cap before" else 100_000, prices=DOLLAR) as handler:
        options = {"embed_batch_size": 2, "num_workers": workers}
        try:
            asyncio.run(ask(model_of(wrapped, server, handler, **options)))
        except BaseException as error:  # noqa: BLE001 - what the caller saw is what is tested
            saw: str | None = type(error).__name__
        else:
            saw = None
    entries = handler.session.entries()
    assert len(entries) == server.request_count == (0 if outcome == "cap before" else 3)
    assert handler.session.open_holds == handler.session.health.failures == 0
    errors = {"error": "BadRequestError", "cancel": "CancelledError", "cap before": "BudgetExceeded"}
    assert saw == errors.get(outcome)
    if outcome == "error":
        assert "BadRequestError 400" in {entry.error for entry in entries if entry.amount == 0}
    else:
        assert all(entry.amount for entry in entries)


def test_an_index_is_built_and_asked_within_the_budget(serve: Any) -> None:
    server = serve(Reply("Paris", input_tokens=50, output_tokens=1))
    with ApeirosHandler(budget=0.50) as handler:
        Settings.embed_model = BudgetedEmbedding(embedding(server), handler)
        made = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS])
        made.as_query_engine(llm=openai(server)).query("Which city?")
    assert [entry.kind for entry in handler.session.entries()] == ["embedding", "embedding", "llm"]
    assert len(handler.session.entries()) == server.request_count


def test_an_embedding_is_no_llm_call(serve: Any) -> None:
    with ApeirosHandler(budget=Budget(calls=1)) as handler:
        for question in ("where", "when", "why"):
            embedding(serve()).get_query_embedding(question)
    assert {finding.type for finding in handler.session.findings} == set()


def test_what_is_no_embedding_is_refused(serve: Any) -> None:
    with pytest.raises(ConfigError):
        BudgetedEmbedding(openai(serve()))  # type: ignore[arg-type]

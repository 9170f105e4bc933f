"""Every call that was opened is closed, and paid for only if its request was written."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest

from apeiros_callbacks import Price
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedEmbedding, BudgetedLLM
from tests.llama_index.clients import client, embedding
from tests.llama_index.ways import Word, messages, template

A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
TOO_LATE = Reply("too late", delay=30)
CLIENTS = ["openai", "anthropic", "responses", "embedding"]
WRAPPED = pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])


def handler_of() -> ApeirosHandler:
    return ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN)


def model_of(name: str, server: Any, wrapped: bool, handler: ApeirosHandler, **options: Any) -> Any:
    if name == "embedding":
        texts = embedding(server, **options)
        return BudgetedEmbedding(texts, handler) if wrapped else texts
    model = client(name, server, **options)
    return BudgetedLLM(model, handler, clamp=False) if wrapped else model


async def _first(stream: Any) -> Any:
    return await anext(await stream)


ASKING: dict[str, Callable[[Any], Any]] = {
    "chat": lambda model: model.chat(messages()),
    "achat": lambda model: model.achat(messages()),
    "stream_chat": lambda model: list(model.stream_chat(messages())),
    "astream_chat": lambda model: _first(model.astream_chat(messages())),
    "structured_predict": lambda model: model.structured_predict(Word, template(), topic="x"),
    "astructured_predict": lambda model: model.astructured_predict(Word, template(), topic="x"),
}
EMBEDDING: dict[str, Callable[[Any], Any]] = {
    "query": lambda model: model.get_query_embedding("hello"),
    "batch": lambda model: model.get_text_embedding_batch(["hello", "there"]),
    "async query": lambda model: model.aget_query_embedding("hello"),
    "async batch": lambda model: model.aget_text_embedding_batch(["hello", "there"]),
}
WAYS = [
    pytest.param(name, how, id=f"{name}-{how}")
    for name in CLIENTS
    for how in (EMBEDDING if name == "embedding" else ASKING)
]
ASYNC_WAYS = [way for way in WAYS if str(way.values[1]).startswith("a")]


def ask(how: str, model: Any) -> Any:
    return (EMBEDDING | ASKING)[how](model)


@pytest.mark.parametrize(("name", "how"), WAYS)
@WRAPPED
def test_a_request_that_the_http_client_does_not_send_costs_nothing(
    serve: Any, run: Any, name: str, how: str, wrapped: bool
) -> None:
    server = serve()
    with handler_of() as handler, pytest.raises(Exception, match=r"(?i)connection|header"):
        made = ask(how, model_of(name, server, wrapped, handler, api_key="no\nheader"))
        run(made)
    (entry,) = handler.session.entries()
    assert (entry.amount, entry.usage_certainty, handler.session.spent) == (0, "assumed", 0)
    assert (server.request_count, handler.session.open_holds) == (0, 0)


@pytest.mark.parametrize(("name", "how"), ASYNC_WAYS)
@WRAPPED
def test_a_call_cancelled_at_any_point_is_an_entry_if_it_was_sent(
    serve: Any, name: str, how: str, wrapped: bool
) -> None:
    async def cancelled(after: int, model: Any) -> None:
        task = asyncio.ensure_future(ask(how, model))
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sent: list[int] = []
    for rounds in range(1, 100):
        if sent[-3:] == [1, 1, 1]:
            break
        server = serve(TOO_LATE)
        with handler_of() as handler:
            asyncio.run(cancelled(rounds, model_of(name, server, wrapped, handler)))
        session = handler.session
        if session.open_holds:
            gc.collect()
        entries = session.entries()
        server.wait_for_requests(len(entries), 5)
        assert (server.request_count, session.open_holds) == (len(entries), 0), f"{rounds} rounds"
        assert [entry.usage_certainty for entry in entries] == ["estimated"] * len(entries)
        assert (session.spent > 0) == bool(entries)
        sent.append(len(entries))
    assert set(sent) == {0, 1}, "some before it was sent, and some after"


@pytest.mark.parametrize(("name", "how"), WAYS)
@WRAPPED
def test_a_call_made_over_another_s_error_does_not_end_as_that_did(
    serve: Any, run: Any, name: str, how: str, wrapped: bool
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = type("Nowhere", (), {})()
        nowhere.anthropic_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        nowhere.openai_url = f"{nowhere.anthropic_url}/v1"
    server = serve(TOO_LATE)
    with handler_of() as handler:
        try:
            run(ask(how, model_of(name, nowhere, wrapped, handler)))
        except Exception:  # noqa: BLE001 - a person's own fallback
            with pytest.raises(Exception, match=r"(?i)time"):
                run(ask(how, model_of(name, server, wrapped, handler, timeout=0.2)))
    refused, sent = handler.session.entries()
    assert server.request_count == 1
    assert (refused.amount, refused.usage_certainty) == (0, "assumed")
    assert sent.amount
    assert sent.usage_certainty == "estimated"


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_request_on_a_connection_of_a_loop_that_is_closed_is_paid_for_if_it_was_written(
    serve: Any, name: str
) -> None:
    server = serve(Reply("ok", input_tokens=8, output_tokens=2))
    failed = 0
    with handler_of() as handler:
        model = client(name, server)
        for _ in range(3):
            try:
                asyncio.run(model.achat(messages()))
            except Exception:  # noqa: BLE001 - the client's: "Event loop is closed"
                failed += 1
    entries = handler.session.entries()
    assert (failed, len(entries)) == (1, server.request_count)
    assert [entry.usage_certainty for entry in entries] == ["reported", "estimated", "reported"]
    assert handler.session.open_holds == 0

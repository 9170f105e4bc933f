"""Every call that was opened is closed, whatever ends it."""

from __future__ import annotations

import asyncio
import json
import socket
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Recorded, Reply
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import client, openai
from tests.langchain.garbage import collect

CLIENTS = ["openai", "anthropic"]
ALL_CLIENTS = [*CLIENTS, "google", "bedrock"]
PER_TOKEN = Price(input=1, output=1)


def handler_of(budget: float | None = 0.50) -> ApeirosHandler:
    return ApeirosHandler(budget=budget, prices={"*": PER_TOKEN})


@pytest.mark.parametrize("name", ALL_CLIENTS)
@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_an_error_of_the_provider_costs_nothing(serve: Any, name: str, status: int) -> None:
    handler = handler_of()
    with pytest.raises(Exception, match="."):
        client(name, serve(Reply(status=status, error="no"))).invoke("hello", {"callbacks": [handler]})
    [entry] = handler.session.entries()
    assert (entry.amount, entry.usage_certainty) == (Decimal(0), "assumed")
    assert str(status) in (entry.error or "")
    assert handler.session.open_holds == 0
    assert handler.session.remaining == Decimal("0.5")


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_refused_connection_costs_nothing(serve: Any, name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    handler = handler_of()
    with pytest.raises(Exception, match="."):
        client(name, serve(), base_url=url).invoke("hello", {"callbacks": [handler]})
    [entry] = handler.session.entries()
    assert entry.amount == 0
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_read_timeout_is_settled_as_estimated(serve: Any, name: str) -> None:
    handler = handler_of()
    server = serve(Reply("too late", delay=30))
    with pytest.raises(Exception, match=r"(?i)time"):
        client(name, server, timeout=0.2).invoke("word " * 100, {"callbacks": [handler]})
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert entry.usage.input_tokens >= 90
    assert entry.usage.output_tokens > 0
    assert entry.amount == handler.session.spent > 0
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_request_that_the_http_client_does_not_send_costs_nothing(serve: Any, name: str, how: str) -> None:
    server, handler = serve(), handler_of()
    model, config = client(name, server, api_key="no\nheader"), {"callbacks": [handler]}
    with pytest.raises(Exception, match=r"(?i)connection|header"):
        model.invoke("hello", config) if how == "invoke" else asyncio.run(model.ainvoke("hello", config))
    [entry] = handler.session.entries()
    assert (entry.amount, server.request_count, handler.session.open_holds) == (0, 0, 0)


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_call_made_over_another_s_error_does_not_end_as_that_did(serve: Any, name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    server, handler = serve(Reply("too late", delay=30)), handler_of()
    config: Any = {"callbacks": [handler]}
    try:
        client(name, server, base_url=nowhere).invoke("hello", config)
    except Exception:  # noqa: BLE001 - a person's own fallback
        with pytest.raises(Exception, match=r"(?i)time"):
            client(name, server, timeout=0.2).invoke("hello", config)
    [refused, sent] = handler.session.entries()
    assert server.request_count == 1
    assert (refused.amount, refused.usage_certainty) == (0, "assumed")
    assert sent.amount
    assert sent.usage_certainty == "estimated"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_cancelled_call_that_was_sent_is_settled_as_estimated(serve: Any, name: str) -> None:
    server = serve(Reply("too late", delay=30))
    handler = handler_of()

    async def cancelled() -> None:
        call = asyncio.create_task(client(name, server).ainvoke("word " * 100, {"callbacks": [handler]}))
        await asyncio.to_thread(server.wait_for_requests, 1, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)

    asyncio.run(cancelled())
    [entry] = handler.session.entries()
    assert (entry.usage_certainty, entry.error) == ("estimated", "CancelledError")
    assert handler.session.open_holds == 0


class FailsToEnd(ChatOpenAI):
    """Fails while it is cancelled, as a connection does that belongs to an event loop of before."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._agenerate(*args, **kwargs)
        except asyncio.CancelledError:
            raise RuntimeError("Event loop is closed") from None


def test_a_cancelled_call_whose_client_fails_to_end_it_is_settled_as_estimated(serve: Any) -> None:
    server, handler = serve(Reply("too late", delay=30)), handler_of()
    model = FailsToEnd(model="gpt-4o", api_key="test", base_url=server.openai_url)

    async def cancelled() -> None:
        call = asyncio.create_task(model.ainvoke("hello", {"callbacks": [handler]}))
        await asyncio.to_thread(server.wait_for_requests, 1, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancelled())
    [entry] = handler.session.entries()
    assert (entry.usage_certainty, entry.error) == ("estimated", "CancelledError")
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_a_call_cancelled_before_it_is_sent_leaves_nothing(serve: Any, name: str) -> None:
    server = serve(Reply("never asked for"))
    handler = handler_of()

    class Cancel(BaseCallbackHandler):
        run_inline = True

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    async def cancelled() -> None:
        call = client(name, server).ainvoke("hello", {"callbacks": [handler, Cancel()]})
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(call)
        await asyncio.sleep(0)

    asyncio.run(cancelled())
    assert server.request_count == 0
    assert handler.session.entries() == []
    assert handler.session.open_holds == 0
    assert handler.session.spent == 0


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("how", ["ainvoke", "astream"])
def test_a_call_cancelled_at_any_point_is_an_entry_if_it_was_sent(serve: Any, name: str, how: str) -> None:
    async def cancelled(after: int, handler: ApeirosHandler, model: Any) -> None:
        config = {"callbacks": [handler]}
        if how == "ainvoke":
            task = asyncio.ensure_future(model.ainvoke("hello", config))
        else:
            task = asyncio.ensure_future(anext(model.astream("hello", config)))
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sent: list[int] = []
    for rounds in range(1, 100):
        if sent[-3:] == [1, 1, 1]:
            break
        server, handler = serve(Reply("too late", delay=30)), handler_of()
        asyncio.run(cancelled(rounds, handler, client(name, server)))
        collect(handler)
        entries = handler.session.entries()
        server.wait_for_requests(len(entries), 5)
        assert (server.request_count, handler.session.open_holds) == (len(entries), 0), f"{rounds} rounds"
        sent.append(len(entries))
    assert set(sent) == {0, 1}, "some before it was sent, and some after"


@pytest.mark.parametrize("name", CLIENTS)
def test_an_abandoned_stream_is_settled_for_what_came(serve: Any, name: str) -> None:
    handler = handler_of()
    model = client(name, serve(Reply(["word "] * 50)))
    for i, _ in enumerate(model.stream("word " * 100, {"callbacks": [handler]})):
        if i == 10:
            break
    collect(handler)
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert 5 <= entry.usage.output_tokens < 50
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_an_abandoned_async_stream_is_settled_for_what_came(serve: Any, name: str) -> None:
    handler = handler_of()
    model = client(name, serve(Reply(["word "] * 50)))

    async def abandoned() -> None:
        stream = model.astream("word " * 100, {"callbacks": [handler]})
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 10:
                break
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(abandoned())
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_stream_is_cut_when_the_budget_is_reached(serve: Any, name: str, how: str) -> None:
    # $1 a token: the prompt takes about 10 dollars, the answer would take 400.
    handler = ApeirosHandler(budget=100, prices={"*": Price(input=1_000_000, output=1_000_000)})
    server = serve(Reply(["word "] * 400, chunk_delay=0.001))
    model = client(name, server, max_tokens=40)

    async def consume() -> None:
        async for _ in model.astream("word " * 5, {"callbacks": [handler]}):
            pass

    with pytest.raises(BudgetExceeded) as cut:
        if how == "stream":
            for _ in model.stream("word " * 5, {"callbacks": [handler]}):
                pass
        else:
            asyncio.run(consume())
    assert cut.value.mid_stream
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert 70 <= entry.usage.output_tokens <= 100
    # The chunk that reached the limit had come already: it is paid for, and nothing after it.
    assert Decimal(85) <= handler.session.spent <= Decimal(102)
    assert handler.session.open_holds == 0
    collect(handler)


class ThinkingAloud(ChatOpenAI):
    """Keeps what langchain-openai drops where the clients of DeepSeek, Groq and xAI keep it."""

    def _convert_chunk_to_generation_chunk(self, chunk: Any, *args: Any) -> Any:
        made = super()._convert_chunk_to_generation_chunk(chunk, *args)
        said = chunk["choices"][0]["delta"].get("reasoning_content")
        if made is not None and said:
            made.message.additional_kwargs["reasoning_content"] = said
        return made


@pytest.mark.parametrize("delta", [{"function_call": {"arguments": "word "}}, {"reasoning_content": "word "}])
def test_a_stream_without_text_is_cut_too(serve: Any, delta: dict[str, Any]) -> None:
    choice = {"index": 0, "delta": {"role": "assistant", "content": None, **delta}, "finish_reason": None}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    event = f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
    server = serve(Recorded(event * 400 + "data: [DONE]\n\n"))
    handler = ApeirosHandler(budget=100, prices={"*": Price(input=1_000_000, output=1_000_000)})
    model = ThinkingAloud(model="gpt-4o", api_key="test", base_url=server.openai_url, max_tokens=40)
    with pytest.raises(BudgetExceeded):
        list(model.stream("hello", {"callbacks": [handler]}))
    [entry] = handler.session.entries()
    assert 70 <= entry.usage.output_tokens <= 100
    assert Decimal(85) <= handler.session.spent <= Decimal(102)


def test_another_handler_that_raises_at_the_end_does_not_hide_ours(serve: Any) -> None:
    class Broken(BaseCallbackHandler):
        raise_error = True

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError

    handler = handler_of()
    with pytest.raises(ZeroDivisionError):
        openai(serve(Reply("hi"))).invoke("hello", {"callbacks": [handler, Broken()]})
    assert len(handler.session.entries()) == 1


def test_the_same_run_id_used_again_is_a_new_attempt(serve: Any) -> None:
    import uuid

    run_id = uuid.uuid4()
    handler = handler_of()
    model = openai(serve(Reply("hi")))
    for _ in range(2):
        model.invoke("hello", {"callbacks": [handler], "run_id": run_id})
    assert [(entry.id, entry.attempt) for entry in handler.session.entries()] == [
        (str(run_id), 1),
        (str(run_id), 2),
    ]

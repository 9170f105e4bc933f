"""Calls of which LangChain sends no end: each is closed all the same, once, for what it can have cost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply, Request
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import client

CLIENTS = ["openai", "anthropic"]
A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
HELLO = Reply("hello", input_tokens=10, output_tokens=2)


def handler_of(budget: float = 10_000, **options: Any) -> ApeirosHandler:
    return ApeirosHandler(budget=budget, prices=A_DOLLAR_A_TOKEN, **options)


class Raises(BaseCallbackHandler):
    """A neighbour that fails in one of its hooks, and is allowed to end the run."""

    raise_error = True
    run_inline = True

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._fail)

    def _fail(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a neighbour failed")


def failing_second(request: Request) -> Reply:
    return Reply(status=500, error="no") if "second" in str(request.body) else HELLO


@pytest.mark.parametrize("name", CLIENTS)
def test_answers_that_a_failing_batch_drops_are_settled(serve: Any, name: str) -> None:
    server = serve(failing_second)
    handler = handler_of()
    prompts = [[HumanMessage(text)] for text in ("first", "second", "third")]
    with pytest.raises(Exception, match="."):
        client(name, server).generate(prompts, callbacks=[handler])
    assert server.request_count == 2
    assert [(entry.usage_certainty, entry.error) for entry in handler.session.entries()] == [
        ("assumed", entry_error(handler)),
        ("estimated", "answer lost"),
    ]
    assert handler.session.open_holds == 0
    assert handler.session.spent > 0


def entry_error(handler: ApeirosHandler) -> str | None:
    return handler.session.entries()[0].error


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("how", ["generate", "agenerate"])
def test_a_batch_of_which_one_prompt_is_refused_is_not_sent(serve: Any, name: str, how: str) -> None:
    server = serve(HELLO)
    handler = handler_of(budget=2_000)
    prompts = [[HumanMessage("first")], [HumanMessage("second " * 2_000)]]
    model = client(name, server, max_tokens=10)
    with pytest.raises(BudgetExceeded):
        if how == "generate":
            model.generate(prompts, callbacks=[handler])
        else:
            asyncio.run(model.agenerate(prompts, callbacks=[handler]))
    assert (server.request_count, handler.session.entries(), handler.session.open_holds) == (0, [], 0)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_call_that_another_budget_refuses_holds_nothing(serve: Any, how: str, ours_first: bool) -> None:
    server = serve(HELLO)
    ours, other = handler_of(), handler_of(budget=1)
    handlers = [ours, other] if ours_first else [other, ours]
    with pytest.raises(BudgetExceeded):
        run(client("openai", server), how, "hello", handlers)
    for handler in handlers:
        assert (handler.session.entries(), handler.session.open_holds, handler.session.spent) == ([], 0, 0)
    assert server.request_count == 0


def run(model: Any, how: str, prompt: str, handlers: list[Any]) -> Any:
    if how == "invoke":
        return model.invoke(prompt, {"callbacks": handlers})
    if how == "stream":
        return list(model.stream(prompt, {"callbacks": handlers}))
    if how == "astream":

        async def all_of_it() -> Any:
            return [chunk async for chunk in model.astream(prompt, {"callbacks": handlers})]

        return asyncio.run(all_of_it())
    return asyncio.run(model.ainvoke(prompt, {"callbacks": handlers}))


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("hook", ["on_chat_model_start", "on_llm_end"])
def test_a_neighbour_that_raises_leaves_no_call_open(
    serve: Any, how: str, ours_first: bool, hook: str
) -> None:
    server = serve(HELLO)
    handler = handler_of()
    handlers = [handler, Raises(hook)] if ours_first else [Raises(hook), handler]
    with pytest.raises(RuntimeError, match="a neighbour failed"):
        run(client("openai", server, stream_usage=True), how, "hello", handlers)
    gc.collect()
    entries = handler.session.entries()
    assert handler.session.open_holds == 0
    if hook == "on_llm_end":
        assert [(entry.amount, entry.usage_certainty) for entry in entries] == [(Decimal(12), "reported")]
    elif not ours_first:
        assert entries == []
    elif how in {"ainvoke", "astream"}:
        assert [entry.usage_certainty for entry in entries] in ([], ["unresolved"])
    else:
        # Nothing tells that it was not sent: what it may have cost counts, and says so.
        assert [entry.usage_certainty for entry in entries] == ["unresolved"]
    assert server.request_count == (1 if hook == "on_llm_end" else 0)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_typed_stream_that_is_dropped_is_settled_for_what_came(serve: Any, name: str) -> None:
    server = serve(Reply(["word "] * 50))
    handler = handler_of()
    stream: Any = client(name, server).stream_events("hello", {"callbacks": [handler]}, version="v3")
    for i, _ in enumerate(stream):
        if i == 10:
            break
    assert handler.session.open_holds == 1
    del stream, _
    gc.collect()
    [entry] = handler.session.entries()
    assert (entry.usage_certainty, entry.error) == ("estimated", "abandoned")
    assert 3 <= entry.usage.output_tokens < 50
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_a_timeout_inside_a_task_that_goes_on(serve: Any, name: str) -> None:
    def slow_then_quick(request: Request) -> Reply:
        return Reply("late", delay=30) if "slow" in str(request.body) else HELLO

    server = serve(slow_then_quick)
    handler = handler_of()
    open_while_the_task_went_on = []

    async def goes_on() -> None:
        model = client(name, server)
        try:
            async with asyncio.timeout(0.5):
                await model.ainvoke("slow", {"callbacks": [handler]})
        except TimeoutError:
            await model.ainvoke("quick", {"callbacks": [handler]})
            open_while_the_task_went_on.append(handler.session.open_holds)

    asyncio.run(goes_on())
    assert open_while_the_task_went_on == [0]
    assert sorted(entry.usage_certainty for entry in handler.session.entries()) == ["estimated", "reported"]
    assert server.request_count == 2


Awaited = Callable[[Any], Any]


async def in_a_task(call: Any) -> None:
    await asyncio.create_task(call)


async def in_a_gather(call: Any) -> None:
    await asyncio.gather(call)


async def in_a_group(call: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(call)


async def in_wait_for(call: Any) -> None:
    await asyncio.wait_for(call, 100)


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("awaited", [in_a_task, in_a_gather, in_a_group, in_wait_for])
def test_a_cancelled_call_is_settled_whoever_awaits_it(serve: Any, name: str, awaited: Awaited) -> None:
    server = serve(Reply("too late", delay=30))
    handler = handler_of()

    async def cancelled() -> None:
        call = client(name, server).ainvoke("hello", {"callbacks": [handler]})
        outer = asyncio.create_task(awaited(call))
        await asyncio.to_thread(server.wait_for_requests, 1, 10)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    asyncio.run(cancelled())
    [entry] = handler.session.entries()
    assert (entry.usage_certainty, entry.error) == ("estimated", "CancelledError")
    assert handler.session.open_holds == 0
    assert handler.session.health.end_inferred == 1


def test_a_cancelled_tool_is_closed() -> None:
    handler = handler_of()

    async def wait(text: str) -> str:
        """Wait."""
        await asyncio.sleep(30)
        return text

    async def cancelled() -> None:
        tool = StructuredTool.from_function(coroutine=wait)
        running = asyncio.create_task(tool.ainvoke({"text": "x"}, {"callbacks": [handler]}))
        await asyncio.sleep(0.1)
        assert handler.session.open_holds == 1
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    [entry] = handler.session.entries()
    assert (entry.kind, entry.model, entry.error, entry.amount) == ("tool", "wait", "CancelledError", 0)
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_an_end_and_an_error_of_one_typed_stream_are_one_entry(serve: Any, name: str) -> None:
    handler = handler_of()

    async def ends_at_once() -> None:
        model = client(name, serve(HELLO), **({"stream_usage": True} if name == "openai" else {}))
        stream: Any = await model.astream_events("hello", {"callbacks": [handler]}, version="v3")
        await stream.output

    asyncio.run(ends_at_once())
    [entry] = handler.session.entries()
    assert entry.kind == "llm"
    assert handler.session.open_holds == 0

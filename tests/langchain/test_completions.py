"""Completion models: LangChain sends several prompts in one request, and starts each in a task of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_openai import OpenAI

from apeiros_callbacks import BudgetExceeded
from apeiros_callbacks.testing import Recorded, ScriptedServer
from langchain_apeiros import ApeirosHandler
from tests.langchain.garbage import collect

PROMPTS = ["one", "two", "three"]
ANSWERS = Recorded({
    "id": "c-1",
    "object": "text_completion",
    "created": 1,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": "hi", "index": i, "logprobs": None, "finish_reason": "stop"} for i in range(3)],
    "usage": {"prompt_tokens": 30, "completion_tokens": 6, "total_tokens": 36},
})  # fmt: skip

Call = Callable[[OpenAI, Any], Any]
WAYS: dict[str, Call] = {
    "generate": lambda model, config: model.generate(PROMPTS, **config),
    "batch": lambda model, config: model.batch(PROMPTS, config),
    "agenerate": lambda model, config: asyncio.run(model.agenerate(PROMPTS, **config)),
    "abatch": lambda model, config: asyncio.run(model.abatch(PROMPTS, config)),
}


def completion(server: ScriptedServer, **options: Any) -> OpenAI:
    url = server.openai_url
    return OpenAI(model="gpt-3.5-turbo-instruct", api_key="test", base_url=url, max_retries=0, **options)


@pytest.mark.parametrize("how", WAYS)
def test_several_prompts_at_once_are_held_and_billed_once(serve: Any, how: str) -> None:
    handler = ApeirosHandler(budget=1)
    held: list[int] = []

    def answer(_: Any) -> Recorded:
        held.append(handler.session.open_holds)
        return ANSWERS

    WAYS[how](completion(serve(answer)), {"callbacks": [handler]})
    entries = handler.session.entries()
    assert held == [3]
    assert [entry.usage.total_tokens for entry in entries] == [36, 0, 0]
    assert {entry.usage_certainty for entry in entries} == {"reported"}
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("how", ["generate", "agenerate"])
def test_a_refusal_leaves_no_prompt_open_where_each_has_callbacks_of_its_own(serve: Any, how: str) -> None:
    server, handler = serve(), ApeirosHandler(budget=0.006)
    with pytest.raises(BudgetExceeded):
        WAYS[how](completion(server, max_tokens=2000), {"callbacks": [[handler], [], [handler]]})
    collect(handler)
    assert (server.request_count, handler.session.entries(), handler.session.open_holds) == (0, [], 0)


def test_a_prompt_cancelled_at_any_point_is_an_entry_if_it_was_sent(serve: Any) -> None:
    released = threading.Event()

    def answer(_: Any) -> Recorded:
        released.wait(30)
        return ANSWERS

    async def cancelled(rounds: int, handler: ApeirosHandler, server: ScriptedServer) -> None:
        task = asyncio.ensure_future(completion(server).ainvoke("hello", {"callbacks": [handler]}))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sent: list[int] = []
    for rounds in range(1, 100):
        if sent[-3:] == [1, 1, 1]:
            break
        server, handler = serve(answer), ApeirosHandler(budget=1)
        asyncio.run(cancelled(rounds, handler, server))
        collect(handler)
        entries = handler.session.entries()
        server.wait_for_requests(len(entries), 5)
        assert (server.request_count, handler.session.open_holds) == (len(entries), 0), f"{rounds} rounds"
        sent.append(len(entries))
    released.set()
    assert set(sent) == {0, 1}, "some before it was sent, and some after"

"""Many calls at once against one budget, from threads and tasks, with the real client.

``APEIROS_LONG=1`` makes 50 runs of each race instead of 2.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import ChatMessage

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import openai

RUNS = 50 if os.environ.get("APEIROS_LONG") else 2
THREADS, TASKS = 20, 100
CAP = Decimal("0.50")
STRICT_CAP = Decimal("1.20")
"""Two calls fit at once: a strict hold is a token for each byte, five times what a call costs."""
TOKENS = 1_000
TEN_CENTS = {"*": Price(input=100, output=0)}
MESSAGES = [ChatMessage(role="user", content="word " * TOKENS)]


def threads(model: Any) -> list[Any]:
    start = Barrier(THREADS)

    def one(_: int) -> Any:
        start.wait(10)
        try:
            return model.chat(MESSAGES)
        except BudgetExceeded as refusal:
            return refusal

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def tasks(model: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        calls = (model.achat(MESSAGES) for _ in range(TASKS))
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("how", [threads, tasks], ids=["threads", "tasks"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
@pytest.mark.parametrize("strict", [False, True], ids=["default", "strict"])
def test_a_race_stays_within_the_budget(serve: Any, how: Any, wrapped: bool, strict: bool) -> None:
    server = serve(lambda request: Reply("ok", input_tokens=TOKENS, delay=request.index % 3 / 200))
    for _ in range(RUNS):
        before = server.request_count
        cap = STRICT_CAP if strict else CAP
        handler = ApeirosHandler(budget=cap, prices=TEN_CENTS, strict=strict)
        model: Any = openai(server, max_tokens=10)
        model = BudgetedLLM(model, handler) if wrapped else model
        if not wrapped:
            model.callback_manager = CallbackManager([handler])
        seen = how(model)
        session = handler.session
        answered = sum(not isinstance(one, Exception) for one in seen)
        assert all(isinstance(one, BudgetExceeded) for one in seen if isinstance(one, Exception))
        entries = session.entries()
        assert answered == server.request_count - before == len(entries) == len({e.id for e in entries})
        assert (2 if strict else 4) <= answered <= cap / Decimal("0.10")
        assert session.spent == sum(entry.amount or 0 for entry in entries) <= cap
        assert (session.open_holds, session.health.failures) == (0, 0)


def test_streams_at_once_are_an_entry_each(serve: Any) -> None:
    server = serve(Reply(["a "] * 20, input_tokens=10, output_tokens=20))

    async def one(model: Any) -> int:
        return len([chunk async for chunk in await model.astream_chat(MESSAGES)])

    async def all_of_them(model: Any) -> list[int]:
        return await asyncio.gather(*(one(model) for _ in range(TASKS)))

    handler = ApeirosHandler(budget=10_000, prices=TEN_CENTS)
    asyncio.run(all_of_them(BudgetedLLM(openai(server), handler)))
    entries = handler.session.entries()
    assert len(entries) == TASKS == server.request_count
    assert {entry.usage.output_tokens for entry in entries} == {20}
    assert (handler.session.open_holds, handler.session.health.failures) == (0, 0)

"""Whose a call is: of the handler around it, its model's, the settings', or the session that is current."""

from __future__ import annotations

import ast
import asyncio
import copy
import gc
import inspect
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.openai import OpenAIEmbedding

import apeiros_callbacks as apeiros
from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Price, Session
from apeiros_callbacks.errors import UnknownCustomer
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import client, openai
from tests.llama_index.ways import answer, ask, index, messages

A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
TEN = Reply("ok", input_tokens=8, output_tokens=2)


def handler_of(budget: Any = None, **options: Any) -> ApeirosHandler:
    return ApeirosHandler(budget=budget, prices=A_DOLLAR_A_TOKEN, **options)


def manager(handler: ApeirosHandler) -> CallbackManager:
    return CallbackManager([handler])


def test_in_a_with_block(serve: Any) -> None:
    model = openai(serve(TEN))
    with handler_of() as handler:
        model.chat(messages())
    model.chat(messages())
    assert len(handler.session.entries()) == 1


def test_in_an_async_with_block(serve: Any, run: Any) -> None:
    model = openai(serve(TEN))

    async def ask_it() -> ApeirosHandler:
        async with handler_of() as handler:
            await model.achat(messages())
        await model.achat(messages())
        return handler

    assert len(run(ask_it()).session.entries()) == 1


def test_in_the_settings_it_has_models_that_were_made_before(serve: Any) -> None:
    model = openai(serve(TEN))
    handler = handler_of()
    Settings.callback_manager = manager(handler)
    model.chat(messages())
    assert len(handler.session.entries()) == 1


def test_on_a_model_it_has_that_model_alone(serve: Any) -> None:
    server = serve(TEN)
    handler = handler_of()
    mine, other = openai(server, callback_manager=manager(handler)), openai(server)
    mine.chat(messages())
    other.chat(messages())
    assert (len(handler.session.entries()), server.request_count) == (1, 2)


@pytest.mark.parametrize("before", [False, True], ids=["at once", "after a call"])
def test_a_query_engine_that_puts_another_manager_in_its_place_does_not_lose_it(
    serve: Any, before: bool
) -> None:
    server = serve(TEN)
    handler = handler_of(budget=5_000)
    model = openai(server, callback_manager=manager(handler), max_tokens=2)
    if before:
        model.chat(messages())
    engine = index().as_query_engine(llm=model)
    assert handler not in model.callback_manager.handlers, "that is what is tested"
    engine.query("hello")
    assert len(handler.session.entries()) == server.request_count == 1 + before
    handler.session.raise_budget(to=11)
    with pytest.raises(BudgetExceeded):
        engine.query("hello")
    assert server.request_count == 1 + before


def test_a_handler_that_is_gone_has_no_calls(serve: Any) -> None:
    handler = handler_of(budget=1)
    model = openai(serve(TEN), callback_manager=manager(handler), max_tokens=2)
    del handler
    model.callback_manager = CallbackManager([])
    gc.collect()
    assert str(model.chat(messages()).message.content) == "ok"


def test_two_handlers_have_an_entry_each_and_the_tighter_refuses(serve: Any) -> None:
    server = serve(TEN)
    wide, tight = handler_of(budget=1_000), handler_of(budget=Budget(calls=1))
    Settings.callback_manager = manager(wide)
    model = openai(server, callback_manager=manager(tight), max_tokens=2)
    model.chat(messages())
    with pytest.raises(BudgetExceeded):
        model.chat(messages())
    for handler in (wide, tight):
        assert (len(handler.session.entries()), handler.session.open_holds) == (1, 0)
    assert (server.request_count, wide.session.spent) == (1, 10)


def test_one_handler_in_two_places_has_one_entry(serve: Any) -> None:
    handler = handler_of()
    Settings.callback_manager = manager(handler)
    model = BudgetedLLM(openai(serve(TEN), callback_manager=manager(handler)), handler)
    with handler:
        model.chat(messages())
    assert len(handler.session.entries()) == 1


def test_handlers_that_share_a_session_have_one_entry(serve: Any) -> None:
    session = Session(prices=A_DOLLAR_A_TOKEN)
    Settings.callback_manager = manager(ApeirosHandler(session=session))
    model = openai(serve(TEN), callback_manager=manager(ApeirosHandler(session=session)))
    model.chat(messages())
    assert len(session.entries()) == 1


def test_one_handler_in_two_blocks_is_left_twice(serve: Any) -> None:
    model = openai(serve(TEN))
    session = Session(prices=A_DOLLAR_A_TOKEN)
    with ApeirosHandler(session=session) as handler:
        with handler, ApeirosHandler(session=session):
            model.chat(messages())
        model.chat(messages())
    model.chat(messages())
    assert len(session.entries()) == 2


def test_a_block_in_a_block_counts_in_both(serve: Any) -> None:
    server = serve(TEN)
    model = openai(server, max_tokens=2)
    with handler_of(25) as outer:
        with handler_of(5_000) as inner:
            model.chat(messages())
            model.chat(messages())
            with pytest.raises(BudgetExceeded, match=f"session {outer.session.id}"):
                model.chat(messages())
        assert inner.session.spent == outer.session.spent == 20
    assert (server.request_count, len(inner.session.entries()), len(outer.session.entries())) == (2, 2, 2)
    assert f"{outer.session.id}: $20.0000 of $25.0000 spent" in repr(outer)


@pytest.mark.parametrize("instrumented", [True, False])
def test_a_session_that_is_started_in_a_block(serve: Any, instrumented: bool) -> None:
    model = openai(serve(TEN))
    if instrumented:
        apeiros.instrument()
    try:
        with handler_of() as handler:
            apeiros.start_session()
            model.chat(messages())
            started = apeiros.end_session()
    finally:
        apeiros.uninstrument()
    assert started["calls"] == int(instrumented)
    assert len(handler.session.entries()) == 1


def test_a_block_of_a_session_within_that_of_another_counts_once(serve: Any) -> None:
    server = serve(TEN)
    model = openai(server, max_tokens=2)
    day = Session(budget=25, prices=A_DOLLAR_A_TOKEN)
    part = Session(prices=A_DOLLAR_A_TOKEN, parent=day)
    with ApeirosHandler(session=day), ApeirosHandler(session=part):
        model.chat(messages())
        model.chat(messages())
        with pytest.raises(BudgetExceeded):
            model.chat(messages())
    assert part.spent == day.spent == 20
    assert (server.request_count, len(day.entries()), day.state()["calls"], day.open_holds) == (2, 2, 2, 0)


def test_a_stream_in_blocks_of_sessions_within_another_is_counted_once(serve: Any) -> None:
    text = "one two three four five six seven eight nine ten " * 3
    model = openai(serve(Reply(text, usage=False)))
    alone = Session(prices=A_DOLLAR_A_TOKEN)
    day = Session(prices=A_DOLLAR_A_TOKEN)
    parts = [Session(prices=A_DOLLAR_A_TOKEN, parent=day) for _ in range(2)]
    with ApeirosHandler(session=alone):
        list(model.stream_chat(messages()))
    with ApeirosHandler(session=day), ApeirosHandler(session=parts[0]), ApeirosHandler(session=parts[1]):
        list(model.stream_chat(messages()))
    for session in (day, *parts):
        assert session.spent == alone.spent == session.entries()[0].amount
        assert (session.open_holds, session._account.held.nano) == (0, 0)


@pytest.mark.parametrize("outer_first", [True, False])
def test_what_is_recorded_afterwards_counts_once_in_a_session_around(
    serve: Any, run: Any, outer_first: bool
) -> None:
    server = serve(Reply(input_tokens=10))
    embedding = OpenAIEmbedding(
        model="text-embedding-3-small",
        api_base=server.openai_url,
        api_key="test",
        embed_batch_size=2,
        embeddings_cache=SimpleKVStore(),  # with one, no batch asks the guard
    )
    prices = {"text-embedding-3-small": Price(input=1_000_000, output=0)}
    day = Session(prices=prices)
    part = Session(prices=prices, parent=day)
    first, second = (day, part) if outer_first else (part, day)
    with ApeirosHandler(session=first), ApeirosHandler(session=second):
        run(embedding.aget_text_embedding_batch(["a", "b", "c"]))
    assert day.spent == part.spent == sum(entry.amount or 0 for entry in day.entries()) > 0
    assert len(day.entries()) == len(part.entries()) == 2


def test_a_setting_beside_a_session_is_an_error() -> None:
    with pytest.raises(ConfigError, match="budget= belongs to the session"):
        ApeirosHandler(budget=1, session=Session())


def test_fifty_runs_at_once_do_not_mix(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    model = openai(server)

    async def one(i: int) -> ApeirosHandler:
        with handler_of() as handler:
            await FunctionAgent(name=f"agent {i}", tools=[ask], llm=model, streaming=False).run("hello")
        return handler

    async def all_of_them() -> list[ApeirosHandler]:
        return await asyncio.gather(*(one(i) for i in range(50)))

    handlers = run(all_of_them())
    assert server.request_count == 100
    for i, handler in enumerate(handlers):
        entries = handler.session.entries()
        assert [entry.kind for entry in entries] == ["llm", "tool", "llm"]
        assert {entry.agent for entry in entries} == {f"agent {i}"}
        assert (handler.session.open_holds, handler.session.health.failures) == (0, 0)


def test_fifty_threads_at_once_do_not_mix(serve: Any) -> None:
    model = openai(serve(TEN))

    def one(_: int) -> ApeirosHandler:
        with handler_of() as handler:
            model.chat(messages())
            list(model.stream_chat(messages()))
        return handler

    with ThreadPoolExecutor(10) as pool:
        handlers = list(pool.map(one, range(50)))
    assert [len(handler.session.entries()) for handler in handlers] == [2] * 50


def test_the_users_own_limiter_goes_on_working(serve: Any, run: Any) -> None:
    class Counting(BaseRateLimiter):
        requests_per_minute = 60

        def __init__(self) -> None:
            self.asked = 0

        def acquire(self, num_tokens: int = 0) -> None:
            self.asked += 1

        async def async_acquire(self, num_tokens: int = 0) -> None:
            self.asked += 1

    limiter = Counting()
    model = openai(serve(TEN), rate_limiter=limiter, max_tokens=2)
    with handler_of(budget=30) as handler:
        model.chat(messages())
        run(model.achat(messages()))
        handler.session.raise_budget(to=21)
        with pytest.raises(BudgetExceeded):
            model.chat(messages())
    model.chat(messages())
    assert limiter.asked == 3, "not of the call that was refused"
    assert model.rate_limiter is not None
    assert model.rate_limiter.requests_per_minute == 60, "it looks like the user's own"


def test_a_copy_of_a_guarded_model_is_guarded_once(serve: Any) -> None:
    model = openai(serve(TEN))
    with handler_of() as handler:
        model.chat(messages())
        copy.copy(model).chat(messages())
    assert len(handler.session.entries()) == 2


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("how", ["chat", "achat", "thread"])
def test_a_session_that_is_started_records_what_runs(serve: Any, run: Any, name: str, how: str) -> None:
    model = client(name, serve(TEN))
    apeiros.instrument()
    apeiros.instrument()
    try:
        session = apeiros.start_session(prices=A_DOLLAR_A_TOKEN)
        if how == "chat":
            model.chat(messages())
        elif how == "achat":
            run(model.achat(messages()))
        else:
            thread = threading.Thread(target=model.chat, args=(messages(),))
            thread.start()
            thread.join()
        with handler_of() as handler:
            model.chat(messages())
        result = apeiros.end_session()
        model.chat(messages())
    finally:
        apeiros.uninstrument()
    assert (result["total_cost"], result["calls"]) == (10.0, 1)
    assert [entry.usage_certainty for entry in session.entries()] == ["reported"]
    assert len(handler.session.entries()) == 1, "what has a handler of its own is left to that"


def test_a_started_session_may_refuse(serve: Any) -> None:
    server = serve(TEN)
    model = openai(server, max_tokens=2)
    apeiros.instrument()
    try:
        apeiros.start_session(budget=15, on_exceeded="raise", prices=A_DOLLAR_A_TOKEN)
        model.chat(messages())
        with pytest.raises(BudgetExceeded):
            model.chat(messages())
        assert apeiros.end_session()["total_cost"] == 10.0
    finally:
        apeiros.uninstrument()
    assert server.request_count == 1


def test_the_environment_instruments(serve: Any) -> None:
    program = (
        "import apeiros_callbacks as apeiros, llama_index.callbacks.apeiros\n"
        "from apeiros_callbacks import Price\n"
        "from llama_index.llms.openai import OpenAI\n"
        "apeiros.start_session(prices={'*': Price(input=1_000_000, output=1_000_000)})\n"
        "OpenAI(model='gpt-4o').complete('hi')\n"
        "print(apeiros.end_session()['total_cost'])\n"
    )
    settings = {"APEIROS_INSTRUMENT": "1", "OPENAI_API_KEY": "test", "OPENAI_API_BASE": serve(TEN).openai_url}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "10.0\n", ran.stderr


def test_customers_and_threads_are_told_by_tags(serve: Any) -> None:
    model = openai(serve(TEN), max_tokens=2)
    told = {"per": "thread", "customer": lambda tags: tags.get("customer"), "ledger": "memory:"}
    with handler_of(budget=15, **told) as handler:
        for thread, customer in (("1", "acme"), ("2", "globex")):
            with instrument_tags({"thread_id": thread, "customer": customer}):
                model.chat(messages())
        with (
            instrument_tags({"thread_id": "1", "customer": "acme"}),
            pytest.raises(BudgetExceeded, match="thread 1"),
        ):
            model.chat(messages())
        with pytest.raises(UnknownCustomer):
            model.chat(messages())
    assert [entry.customer_id for entry in handler.session.entries()] == ["acme", "globex"]


def test_a_budget_for_each_run(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    model = openai(server)
    with handler_of(budget=Budget(calls=2), per="run") as handler:
        for _ in range(3):
            run(_agent_run(model))
    assert (server.request_count, len(handler.session.entries())) == (6, 9)


async def _agent_run(model: Any) -> Any:
    return await FunctionAgent(tools=[ask], llm=model).run("hello")


def test_it_has_the_settings_of_langchains_handler() -> None:
    """By their names, so that what is read of one holds for the other; LangGraph's own is left out."""
    folder = Path(__file__).parents[2] / "integrations/langchain-apeiros/langchain_apeiros"
    source = (folder / "handler.py").read_text()
    made = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    theirs = {argument.arg for argument in (*made.args.args, *made.args.kwonlyargs)} - {"abort", "self"}
    assert set(inspect.signature(ApeirosHandler).parameters) == theirs

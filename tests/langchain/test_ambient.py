"""``instrument()``: a session that is started records what runs, without ``callbacks=``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent

import apeiros_callbacks as apeiros
from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply, Request, ToolCall
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import client, openai

A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
TEN = Reply("ok", input_tokens=8, output_tokens=2)


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    apeiros.instrument()
    apeiros.instrument()
    yield
    apeiros.uninstrument()


def start(budget: float | None = None, **options: Any) -> Any:
    return apeiros.start_session(budget=budget, prices=A_DOLLAR_A_TOKEN, **options)


def call(model: Any, how: str, loop: Any) -> None:
    if how == "invoke":
        model.invoke("hi")
    elif how == "stream":
        list(model.stream("hi"))
    elif how == "batch":
        model.batch(["hi"])
    elif how == "thread":
        thread = threading.Thread(target=model.invoke, args=("hi",))
        thread.start()
        thread.join()
    else:
        loop.run_until_complete(model.ainvoke("hi"))


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "batch", "thread"])
def test_a_session_records_what_runs(serve: Any, name: str, how: str, loop: Any) -> None:
    server = serve(TEN)
    model = client(name, server, **({"stream_usage": True} if name == "openai" else {}))
    call(model, how, loop)
    session = start()
    call(model, how, loop)
    result = apeiros.end_session()
    call(model, how, loop)
    assert (result["total_cost"], result["calls"], server.request_count) == (10.0, 1, 3)
    assert [entry.usage_certainty for entry in session.entries()] == ["reported"]


def test_a_run_with_a_handler_of_its_own_is_not_recorded_twice(serve: Any) -> None:
    session = start()
    handler = ApeirosHandler(prices=A_DOLLAR_A_TOKEN)
    openai(serve(TEN)).invoke("hi", {"callbacks": [handler]})
    apeiros.end_session()
    assert (len(handler.session.entries()), session.entries()) == (1, [])


def test_a_session_may_refuse(serve: Any) -> None:
    server = serve(TEN)
    model = openai(server, max_tokens=2)
    start(budget=15, on_exceeded="raise")
    model.invoke("hi")
    with pytest.raises(BudgetExceeded):
        model.invoke("hi")
    assert apeiros.end_session()["total_cost"] == 10.0
    assert server.request_count == 1


def test_an_agent_and_its_tools_are_recorded(serve: Any) -> None:
    def script(request: Request) -> Reply:
        if "'tool'" in str(request.body["messages"]):
            return TEN
        return Reply("", [ToolCall("look_up", {"word": "sky"})], input_tokens=8, output_tokens=2)

    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    agent = create_agent(openai(serve(script)), [look_up])
    session = start()
    agent.invoke({"messages": [("user", "hi")]})
    apeiros.end_session()
    assert [entry.kind for entry in session.entries()] == ["llm", "tool", "llm"]


def test_a_call_under_way_is_recorded_to_its_end(serve: Any) -> None:
    session = start()
    model = openai(serve(Reply(["a ", "b ", "c"], input_tokens=8, output_tokens=3)), stream_usage=True)
    stream = model.stream("hi")
    next(stream)
    apeiros.uninstrument()
    list(stream)
    openai(serve(TEN)).invoke("hi")
    apeiros.end_session()
    assert [(entry.amount, entry.usage_certainty) for entry in session.entries()] == [(11, "reported")]


def test_the_environment_instruments(serve: Any) -> None:
    program = (
        "import apeiros_callbacks as apeiros, langchain_apeiros\n"
        "from apeiros_callbacks import Price\n"
        "from langchain_openai import ChatOpenAI\n"
        "apeiros.start_session(prices={'*': Price(input=1_000_000, output=1_000_000)})\n"
        "ChatOpenAI(model='m').invoke('hi')\n"
        "print(apeiros.end_session()['total_cost'])\n"
    )
    settings = {"APEIROS_INSTRUMENT": "1", "OPENAI_API_KEY": "test", "OPENAI_BASE_URL": serve(TEN).openai_url}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "10.0\n", ran.stderr

"""A step down to a cheaper model: in any chain, in agents, across providers, sync, async and streamed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from apeiros_callbacks import BudgetExceeded, ConfigError, Price
from apeiros_callbacks.routing import Ladder
from apeiros_callbacks.testing import Reply, Request, ToolCall
from langchain_apeiros import ApeirosHandler, ApeirosMiddleware, with_downgrade
from tests.langchain.clients import anthropic, openai

# Dollars per million tokens: a call of 800 + 200 tokens costs $10 on "dear" and $1 on "cheap".
PRICES = {
    "dear": Price(input=10_000, output=10_000),
    "cheap": Price(input=1_000, output=1_000),
    "cheapest": Price(input=100, output=100),
}
THOUSAND = Reply("ok", input_tokens=800, output_tokens=200)


def handler_of(budget: float, **options: Any) -> ApeirosHandler:
    return ApeirosHandler(budget=budget, prices=PRICES, **options)


def models_of(server: Any, *names: str) -> list[Any]:
    return [openai(server, name, max_tokens=200, stream_usage=True) for name in names]


def asked(server: Any) -> list[str]:
    return [request.model for request in server.requests]


def invoke(model: Any) -> Any:
    model.invoke("hi")


def stream(model: Any) -> Any:
    list(model.stream("hi"))


def batch(model: Any) -> Any:
    model.batch(["hi"])


async def ainvoke(model: Any) -> None:
    await model.ainvoke("hi")


async def astream(model: Any) -> None:
    async for _ in model.astream("hi"):
        pass


async def abatch(model: Any) -> None:
    await model.abatch(["hi"])


Call = Callable[[Any], Any]
CALLS = [invoke, stream, batch, ainvoke, astream, abatch]


def times(count: int, call: Call, model: Any) -> None:
    """Make so many calls, of an async kind all on one event loop."""

    async def on_a_loop() -> None:
        for _ in range(count):
            await call(model)

    if asyncio.iscoroutinefunction(call):
        asyncio.run(on_a_loop())
    else:
        for _ in range(count):
            call(model)


@pytest.mark.parametrize("call", CALLS)
def test_a_chain_steps_down_at_its_shares(serve: Any, call: Call) -> None:
    server = serve(THOUSAND)
    handler = handler_of(40)
    dear, cheap, cheapest = models_of(server, "dear", "cheap", "cheapest")
    model = with_downgrade(dear, [cheap, cheapest], handler, at=(0.5, 0.55))
    times(7, call, model)
    assert asked(server) == ["dear"] * 2 + ["cheap"] * 2 + ["cheapest"] * 3
    entries = handler.session.entries()
    assert [entry.amount for entry in entries] == [10, 10, 1, 1] + [Decimal("0.1")] * 3
    assert [(entry.routed_from, entry.routed_to) for entry in entries[1:3]] == [
        (None, None),
        ("dear", "cheap"),
    ]
    assert entries[2].routed_why == f"50% of the budget of session {handler.session.id} is spent"
    assert handler.session.open_holds == 0
    assert "budget_exceeded" not in {finding.type for finding in handler.session.findings}


def test_it_saves_what_the_dear_model_would_have_cost(serve: Any) -> None:
    spent = []
    for routed in (False, True):
        server = serve(THOUSAND)
        handler = handler_of(1_000)
        dear, cheap = models_of(server, "dear", "cheap")
        model: Any = with_downgrade(dear, [cheap], handler, at=[0.02]) if routed else dear
        for _ in range(10):
            model.invoke("hi", {"callbacks": [handler]})
        assert server.request_count == 10 == len(handler.session.entries())
        spent.append(handler.session.spent)
    assert spent == [100, 28]
    saved = spent[0] - spent[1]
    print(f"ten calls: ${spent[0]} on the dear model, ${spent[1]} with a step down: ${saved} saved")


@pytest.mark.parametrize("call", CALLS)
def test_what_does_not_fit_steps_down_and_the_last_is_refused(serve: Any, call: Call) -> None:
    server = serve(THOUSAND)
    handler = handler_of(11.5)
    dear, cheap = models_of(server, "dear", "cheap")
    model = with_downgrade(dear, [cheap], handler, at=[1])
    with pytest.raises(BudgetExceeded) as refused:
        times(3, call, model)
    assert refused.value.model == "cheap"
    assert asked(server) == ["dear", "cheap"]
    assert "needs about" in (handler.session.entries()[1].routed_why or "")
    assert (handler.session.spent, handler.session.open_holds) == (11, 0)


class Answer(BaseModel):
    """An answer."""

    text: str


def test_tools_and_structured_output_survive(serve: Any) -> None:
    server = serve(Reply("", [ToolCall("Answer", {"text": "yes"})], input_tokens=800, output_tokens=200))
    handler = handler_of(40)
    dear, cheap = models_of(server, "dear", "cheap")
    model: Any = with_downgrade(dear, [cheap], handler, at=[0.2])
    structured = ChatPromptTemplate.from_messages([("user", "{q}")]) | model.with_structured_output(
        Answer, method="function_calling"
    )
    bound = model.bind_tools([Answer])
    assert structured.invoke({"q": "hi"}) == Answer(text="yes") == structured.invoke({"q": "hi"})
    assert bound.invoke("hi").tool_calls[0]["args"] == {"text": "yes"}
    assert asked(server) == ["dear", "cheap", "cheap"]
    assert all(request.body["tools"] for request in server.requests)


def test_another_provider_takes_over(serve: Any) -> None:
    server = serve(THOUSAND)
    handler = handler_of(40)
    model = with_downgrade(
        anthropic(server, "dear", max_tokens=200), [openai(server, "cheap")], handler, at=[0.2]
    )
    chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | model | StrOutputParser()
    assert [chain.invoke({"q": "hi"}) for _ in range(2)] == ["ok", "ok"]
    assert [request.api for request in server.requests] == ["anthropic", "openai-chat"]


def test_a_wrong_ladder_says_so(serve: Any) -> None:
    handler = handler_of(1)
    dear, cheap = models_of(serve(THOUSAND), "dear", "cheap")
    with pytest.raises(ConfigError, match="two models or more"):
        with_downgrade(dear, [], handler)
    with pytest.raises(ConfigError, match="steps down 1 times: at= has 2"):
        with_downgrade(dear, [cheap], handler, at=(0.1, 0.2))
    with pytest.raises(ConfigError, match="must not go down"):
        Ladder("a", "b", "c", at=(0.8, 0.5))
    with pytest.raises(ConfigError, match="above 0 and at most 1, got 80"):
        Ladder("a", "b", at=[80])
    with pytest.raises(ConfigError, match="bind tools, options and alternatives to the ladder"):
        with_downgrade(dear.bind(stop=["x"]), [cheap], handler)
    assert Ladder("a", "b").at == (0.8,)
    assert Ladder("a", "b", "c").at == (0.5, 0.8)


# Agents


def script(request: Request) -> Reply:
    """An agent that looks something up four times and then answers."""
    done = str(request.body["messages"]).count("'tool_call_id'") + str(request.body["messages"]).count(
        "'tool_result'"
    )
    if request.body.get("tools") and done < 4:
        return Reply("", [ToolCall("look_up", {"word": f"w{done}"})], input_tokens=800, output_tokens=200)
    return Reply("done", input_tokens=800, output_tokens=200)


def look_up(word: str) -> str:
    """Look a word up."""
    return word * 2


def run_agent(agent: Any, how: str, handler: ApeirosHandler, loop: Any = None) -> Any:
    given: Any = {"messages": [("user", "hi")]}
    settings: Any = {"callbacks": [handler]}
    if how == "invoke":
        return agent.invoke(given, settings)["messages"][-1].content
    if how == "stream":
        return list(agent.stream(given, settings, stream_mode="values"))[-1]["messages"][-1].content

    async def on_a_loop() -> Any:
        if how == "ainvoke":
            return await agent.ainvoke(given, settings)
        return [state async for state in agent.astream(given, settings, stream_mode="values")][-1]

    return loop.run_until_complete(on_a_loop())["messages"][-1].content


HOWS = ["invoke", "ainvoke", "stream", "astream"]


@pytest.mark.parametrize("how", HOWS)
def test_an_agent_steps_down_on_its_way_with_its_tools(serve: Any, how: str, loop: Any) -> None:
    server = serve(script)
    handler = handler_of(40)
    dear = openai(server, "dear", max_tokens=200)
    cheap = anthropic(server, "cheap", max_tokens=200)
    agent = create_agent(
        dear, [look_up], middleware=[ApeirosMiddleware(handler, ladder=Ladder(dear, cheap, at=[0.5]))]
    )
    assert run_agent(agent, how, handler, loop) == "done"
    assert asked(server) == ["dear", "dear", "cheap", "cheap", "cheap"]
    assert handler.session.spent == 23
    kinds = [entry.kind for entry in handler.session.entries()]
    assert (kinds.count("llm"), kinds.count("tool"), handler.session.open_holds) == (5, 4, 0)


@pytest.mark.parametrize("how", HOWS)
def test_two_agents_with_ladders_of_their_own(serve: Any, how: str, loop: Any) -> None:
    server = serve(THOUSAND)
    handler = handler_of(1_000, agent_budgets={"writer": 20, "reader": 2})
    dear, cheap, cheapest = models_of(server, "dear", "cheap", "cheapest")
    middleware = ApeirosMiddleware(
        handler, ladder={"writer": Ladder(dear, cheap, at=[0.5]), "*": Ladder(cheap, cheapest, at=[0.5])}
    )
    agents = [create_agent(dear, [], name=name, middleware=[middleware]) for name in ("writer", "reader")]
    for _ in range(3):
        for agent in agents:
            assert run_agent(agent, how, handler, loop) == "ok"
    by_agent = {
        name: [entry.model for entry in handler.session.entries() if entry.agent == name]
        for name in ("writer", "reader")
    }
    assert by_agent == {"writer": ["dear", "cheap", "cheap"], "reader": ["cheap", "cheapest", "cheapest"]}


@pytest.mark.parametrize("how", HOWS)
def test_an_agent_ends_with_a_message(serve: Any, how: str, loop: Any) -> None:
    server = serve(script)
    handler = handler_of(25)
    model = openai(server, "dear", max_tokens=200)
    middleware = ApeirosMiddleware(handler, exit_behavior="end", clamp=False)
    agent = create_agent(model, [look_up], middleware=[middleware])
    said = run_agent(agent, how, handler, loop)
    assert said.startswith("The budget is used up: budget of $25.00")
    assert (server.request_count, handler.session.spent, handler.session.open_holds) == (2, 20, 0)


def test_an_answer_is_asked_to_be_as_short_as_the_budget_needs(serve: Any) -> None:
    def as_long_as_it_may(request: Request) -> Reply:
        return Reply("ok", input_tokens=3, output_tokens=request.body["max_completion_tokens"])

    server = serve(as_long_as_it_may)
    handler = handler_of(1)
    model = openai(server, "dear", max_tokens=200)
    agent = create_agent(model, [], middleware=[ApeirosMiddleware(handler)])
    assert run_agent(agent, "invoke", handler) == "ok"
    [request] = server.requests
    assert 50 <= request.body["max_completion_tokens"] < 100
    assert handler.session.spent <= 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_it_may_wait_for_money_that_other_calls_hold(serve: Any, how: str, loop: Any) -> None:
    server = serve(lambda request: Reply("ok", input_tokens=800, output_tokens=200, delay=0.3))
    handler = handler_of(15)
    model = openai(server, "dear", max_tokens=200)
    patient, hasty = (
        create_agent(model, [], middleware=[ApeirosMiddleware(handler, wait=wait, clamp=False)])
        for wait in (20, 0)
    )

    async def both(second: Any) -> Any:
        given: Any = {"messages": [("user", "word " * 600)]}
        config: Any = {"callbacks": [handler]}
        return await asyncio.gather(
            patient.ainvoke(given, config), second.ainvoke(given, config), return_exceptions=True
        )

    first, second = asyncio.run(both(hasty if how == "invoke" else patient))
    assert not isinstance(first, Exception)
    if how == "invoke":
        assert isinstance(second, BudgetExceeded)
        assert server.request_count == 1
    else:
        # The first used ten of its fifteen dollars, so that waiting did not help; it was refused at the end.
        assert isinstance(second, BudgetExceeded)
        handler.session.raise_budget(to=100)
        assert not isinstance(asyncio.run(both(patient))[1], Exception)


class TakesItsTime(AgentMiddleware):
    """A middleware of the user's that stands between ours and the model."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        time.sleep(0.05)
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        await asyncio.sleep(0.05)
        return await handler(request)


@pytest.mark.parametrize("how", ["threads", "tasks"])
def test_those_who_wait_do_not_take_it_from_each_other(serve: Any, how: str, loop: Any) -> None:
    """Six at once, and money for one at a time: each has its turn, and nobody is refused."""
    server = serve(Reply("ok", input_tokens=10, output_tokens=5, delay=0.05))
    handler = handler_of(10)
    middleware = [ApeirosMiddleware(handler, wait=60, clamp=False), TakesItsTime()]
    agent = create_agent(openai(server, "dear", max_tokens=200), [], middleware=middleware)
    config: Any = {"callbacks": [handler]}
    start = threading.Barrier(6)

    def question(number: int) -> Any:
        return {"messages": [("user", f"{number} " + "word " * 600)]}

    def in_a_thread(number: int) -> Any:
        start.wait()
        return agent.invoke(question(number), config)

    async def in_tasks() -> Any:
        return await asyncio.gather(*(agent.ainvoke(question(number), config) for number in range(6)))

    if how == "tasks":
        loop.run_until_complete(in_tasks())
    else:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(in_a_thread, range(6)))
    assert (server.request_count, handler.session.open_holds) == (6, 0)
    assert handler.session.spent == sum(entry.amount or 0 for entry in handler.session.entries())
    assert handler.session._account.held.nano == 0
    assert list(handler.session.findings) == []


def test_a_wrong_middleware_says_so(serve: Any) -> None:
    handler = handler_of(1)
    with pytest.raises(ConfigError, match='exit_behavior must be "error" or "end"'):
        ApeirosMiddleware(handler, exit_behavior="stop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wait must be seconds"):
        ApeirosMiddleware(handler, wait=-1)
    with pytest.raises(ConfigError, match="wait must be seconds"):
        ApeirosMiddleware(handler, wait="5")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ladder must be a dict"):
        ApeirosMiddleware(handler, ladder=[openai(serve())])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at must be a list"):
        Ladder("dear", "cheap", at=0.5)  # type: ignore[arg-type]

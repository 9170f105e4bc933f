"""What follows from a finding: a warning, a refusal, a cheaper model, a person's word, a function."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Finding, Price, StoppedByFinding
from apeiros_callbacks.testing import Reply, Request, ToolCall
from langchain_apeiros import ApeirosHandler, with_downgrade
from tests.langchain.clients import openai

A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
TEN = Reply("ok", input_tokens=8, output_tokens=2)


def handler_of(budget: Any = None, **options: Any) -> ApeirosHandler:
    return ApeirosHandler(budget=budget, prices=A_DOLLAR_A_TOKEN, **options)


def script(request: Request) -> Reply:
    """An agent that looks one word up; each call is a hundred dollars."""
    if "'tool'" in str(request.body["messages"]):
        return Reply("ok", input_tokens=98, output_tokens=2)
    return Reply("", [ToolCall("look_up", {"word": "sky"})], input_tokens=98, output_tokens=2)


ran: list[str] = []


def look_up(word: str) -> str:
    """Look a word up."""
    ran.append(word)
    return word


def run(agent: Any, how: str, given: Any, config: Any, loop: asyncio.AbstractEventLoop) -> Any:
    if how == "invoke":
        return agent.invoke(given, config)
    return loop.run_until_complete(agent.ainvoke(given, config))


QUESTION = {"messages": [("user", "hi")]}


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("answer", [400, Budget(usd=400)])
def test_a_person_approves_more_money(serve: Any, how: str, answer: Any, loop: Any) -> None:
    ran.clear()
    server = serve(script)
    handler = handler_of(150, on={"budget_exceeded": "pause"})
    agent = create_agent(openai(server, max_tokens=2), [look_up], checkpointer=InMemorySaver())
    config: Any = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    [asked] = run(agent, how, QUESTION, config, loop)["__interrupt__"]
    assert asked.value["type"] == "budget_exceeded"
    assert "needs about" in asked.value["message"]
    assert (server.request_count, handler.session.open_holds) == (1, 0)
    result = run(agent, how, Command(resume=answer), config, loop)
    assert result["messages"][-1].content == "ok"
    assert (server.request_count, ran) == (2, ["sky"])
    assert (handler.session.spent, handler.session.budget) == (200, Budget(usd=400))


def test_a_person_says_no(serve: Any) -> None:
    server = serve(script)
    handler = handler_of(150, on={"budget_exceeded": "pause"})
    agent = create_agent(openai(server, max_tokens=2), [look_up], checkpointer=InMemorySaver())
    config: Any = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    assert agent.invoke(QUESTION, config)["__interrupt__"]
    with pytest.raises(BudgetExceeded):
        agent.invoke(Command(resume=False), config)
    assert (server.request_count, handler.session.open_holds) == (1, 0)


@pytest.mark.parametrize("graph", [True, False])
def test_nobody_can_be_asked(serve: Any, graph: bool) -> None:
    server = serve(TEN)
    handler = handler_of(5, on={"budget_exceeded": "pause"})
    model = openai(server, max_tokens=2)
    with pytest.raises(BudgetExceeded) as refused:
        if graph:
            create_agent(model, []).invoke(QUESTION, {"callbacks": [handler]})
        else:
            model.invoke("hi", {"callbacks": [handler]})
    assert str(refused.value).count("needs a LangGraph run with a checkpointer") == 1
    assert server.request_count == 0


def test_a_finding_asks_too(serve: Any) -> None:
    server = serve(Reply("", [ToolCall("look_up", {"word": "sky"})], input_tokens=8, output_tokens=2))
    handler = handler_of(on={"token_acceleration": "warn", "retry_loop": "pause"})
    model = openai(server)

    def loop(state: MessagesState, config: RunnableConfig) -> Any:
        for _ in range(3):
            model.invoke("again", config)
        return {"messages": [("ai", "done")]}

    builder = StateGraph(MessagesState)
    builder.add_node("loop", loop)
    builder.add_edge(START, "loop")
    graph = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    [asked] = graph.invoke(QUESTION, config)["__interrupt__"]
    assert asked.value["type"] == "finding"
    assert "runs 3 times in a row" in asked.value["message"]
    assert server.request_count == 2
    # The node begins anew each time, and loops as before: it is asked again at each third equal prompt.
    resumed = [graph.invoke(Command(resume=True), config) for _ in range(2)]
    assert "__interrupt__" in resumed[0]
    assert resumed[1]["messages"][-1].content == "done"
    assert server.request_count == len(handler.session.entries())
    assert handler.session.open_holds == 0


def test_a_finding_takes_a_cheaper_model(serve: Any) -> None:
    sizes = iter([8, 80, 81])
    server = serve(lambda request: Reply("ok", input_tokens=next(sizes), output_tokens=2))
    handler = handler_of(1_000, on={"context_bloat": "downgrade"})
    dear, cheap = (openai(server, name, max_tokens=2) for name in ("dear", "cheap"))
    model = with_downgrade(dear, [cheap], handler, at=[1])

    def three_calls(text: str, config: Any) -> None:
        for i in range(3):
            model.invoke(text + " more" * i, config)

    RunnableLambda(three_calls).invoke("hi", {"callbacks": [handler]})
    assert [request.model for request in server.requests] == ["dear", "dear", "cheap"]
    assert handler.session.entries()[-1].routed_why == "a finding of this run asks for a cheaper model"


def test_a_function_is_told(serve: Any) -> None:
    told: list[Finding] = []
    handler = handler_of(15, on={"budget_exceeded": told.append, "retry_loop": told.append})
    server = serve(TEN)
    model = openai(server, max_tokens=2)
    model.invoke("hi", {"callbacks": [handler]})
    with pytest.raises(BudgetExceeded):
        model.invoke("hi", {"callbacks": [handler]})
    assert [finding.type for finding in told] == ["budget_exceeded"]


def test_a_function_may_let_it_pass_or_refuse(serve: Any) -> None:
    server = serve(TEN)
    model = openai(server, max_tokens=2)
    handler = handler_of(15, on={"budget_exceeded": lambda _: "warn", "retry_loop": lambda _: "raise"})
    for _ in range(2):
        model.invoke("hi", {"callbacks": [handler]})
    with pytest.raises(StoppedByFinding):
        model.invoke("hi", {"callbacks": [handler]})
    assert (server.request_count, handler.session.spent, handler.session.open_holds) == (2, 20, 0)


def test_a_function_that_fails_changes_nothing(serve: Any) -> None:
    def fails(finding: Finding) -> None:
        raise ZeroDivisionError

    server = serve(TEN)
    handler = handler_of(5, on={"budget_exceeded": fails})
    with pytest.raises(BudgetExceeded):
        openai(server, max_tokens=2).invoke("hi", {"callbacks": [handler]})
    assert (server.request_count, handler.session.health.failures) == (0, 1)


def test_an_action_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="actions are ignore, warn, raise, downgrade, pause, or a function"):
        handler_of(on={"retry_loop": "stop"})

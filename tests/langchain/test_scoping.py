"""What a budget is for: all calls of a handler, a run, a conversation, an agent, a session within another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from openai import InternalServerError

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Price, Session, open_ledger
from apeiros_callbacks.errors import InvalidBudget, UnknownCustomer
from apeiros_callbacks.testing import Reply, Request, ScriptedServer, ToolCall
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import openai

# A dollar a token: each call reads 8 and writes 2, and may write no more.
PRICES = {"*": Price(input=1_000_000, output=1_000_000)}
TEN = Reply("ok", input_tokens=8, output_tokens=2)


def handler_of(**options: Any) -> ApeirosHandler:
    return ApeirosHandler(prices=PRICES, **options)


def model_of(server: ScriptedServer) -> Any:
    return openai(server, max_tokens=2)


def twice(model: Any) -> Any:
    """A chain that calls the model twice."""
    return RunnableLambda(lambda text, config: [model.invoke(text, config) for _ in range(2)])


@pytest.mark.parametrize(("per", "requests"), [("handler", 1), ("run", 3)])
def test_a_budget_for_each_run(serve: Any, per: str, requests: int) -> None:
    server = serve(TEN)
    handler = handler_of(budget=15, per=per)
    chain = twice(model_of(server))
    for _ in range(3):
        with pytest.raises(BudgetExceeded) as refused:
            chain.invoke("hi", {"callbacks": [handler]})
    assert server.request_count == requests
    assert refused.value.scope.partition(" ")[0] == ("session" if per == "handler" else "run")
    assert handler.session.spent == 10 * requests
    assert handler.session.open_holds == 0


def test_a_budget_for_each_conversation(serve: Any) -> None:
    server = serve(TEN)
    handler = handler_of(budget=25, per="thread")
    model = model_of(server)
    seen = []
    for thread in ("a", "b", "a", "a", "b", "b"):
        config: Any = {"callbacks": [handler], "configurable": {"thread_id": thread}}
        try:
            model.invoke("hi", config | {"metadata": {"thread_id": thread}})
            seen.append("ok")
        except BudgetExceeded as refusal:
            seen.append(refusal.scope)
    assert seen == ["ok", "ok", "ok", "thread a", "ok", "thread b"]
    assert (server.request_count, handler.session.remaining) == (4, None)


def test_one_handler_for_many_customers_and_threads_at_once(serve: Any) -> None:
    server = serve(TEN)
    handler = handler_of(budget=35, per="thread", customer=lambda metadata: metadata["customer"])
    model = model_of(server)

    def talk(i: int) -> int:
        metadata = {"thread_id": f"t{i}", "customer": f"c{i % 50}"}
        for calls in range(10):
            try:
                model.invoke("hi", {"callbacks": [handler], "metadata": metadata})
            except BudgetExceeded as refusal:
                return calls if refusal.scope == f"thread t{i}" else -1
        return 10

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(talk, range(100))) == [3] * 100
    assert server.request_count == 300 == len(handler.session.entries())
    for i in range(50):
        lines = handler.session.ledger.entries(f"customer:c{i}")
        assert {line.customer_id for line in lines} == {f"c{i}"}
        assert sum(line.amount or 0 for line in lines) == 60
    assert handler.session.open_holds == 0


def test_budgets_of_single_agents(serve: Any) -> None:
    server = serve(TEN)
    handler = handler_of(budget=100, agent_budgets={"researcher": 15, "writer": Budget(calls=3)})
    model = model_of(server)
    agents = {name: create_agent(model, [], name=name) for name in ("researcher", "writer", "other")}

    def calls_of(name: str) -> int:
        for calls in range(5):
            try:
                agents[name].invoke({"messages": [("user", "hi")]}, {"callbacks": [handler]})
            except BudgetExceeded as refusal:
                return calls if f"agent {name} in session" in str(refusal) else -1
        return 5

    assert [calls_of(name) for name in agents] == [1, 3, 5]
    handler.session.raise_budget(to=25, agent="researcher")
    assert calls_of("researcher") == 1
    with pytest.raises(ConfigError, match="those with one: \\['researcher', 'writer'\\]"):
        handler.session.raise_budget(to=1, agent="nobody")


def test_a_session_within_another_shares_its_budget(serve: Any) -> None:
    server = serve(TEN)
    day = Session(budget=35, prices=PRICES, id="day")
    model = model_of(server)
    refused = []
    for name in ("first", "second"):
        task = Session(budget=25, prices=PRICES, id=name, parent=day, ledger=day.ledger)
        handler = ApeirosHandler(session=task)
        with pytest.raises(BudgetExceeded) as over:
            while True:
                model.invoke("hi", {"callbacks": [handler]})
        refused.append(over.value.scope)
    assert refused == ["session first", "session day"]
    assert (day.spent, server.request_count) == (30, 3)
    assert [entry.session_id for entry in day.entries()] == ["first", "first", "second"]
    assert day.state()["calls"] == 3


@pytest.mark.parametrize("outer_first", [True, False])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "fails"])
def test_handlers_of_both_sessions_charge_a_call_once(
    serve: Any, loop: asyncio.AbstractEventLoop, how: str, outer_first: bool
) -> None:
    server = serve(Reply(status=500) if how == "fails" else TEN)
    day = Session(budget=25, prices=PRICES)
    task = Session(budget=100, prices=PRICES, parent=day)
    handlers = [ApeirosHandler(session=day), ApeirosHandler(session=task)]
    config: Any = {"callbacks": handlers if outer_first else handlers[::-1]}
    model = openai(server, max_tokens=2, max_retries=0, stream_usage=True)

    def call() -> None:
        if how == "stream":
            list(model.stream("hi", config))
        elif how == "ainvoke":
            loop.run_until_complete(model.ainvoke("hi", config))
        else:
            model.invoke("hi", config)

    if how == "fails":
        with pytest.raises(InternalServerError):
            call()
        assert (day.spent, task.spent, len(day.entries()), len(task.entries())) == (0, 0, 1, 1)
    else:
        call()
        call()
        with pytest.raises(BudgetExceeded):
            call()
        assert (server.request_count, day.spent, task.spent) == (2, 20, 20)
        assert len(day.entries()) == len(task.entries()) == 2
        assert day.state()["calls"] == 2
    assert (day.open_holds, task.open_holds, day._account.held.nano) == (0, 0, 0)


@pytest.mark.parametrize(
    "order", ["day task step", "step task day", "task day step", "step other day", "step other"]
)
def test_handlers_of_any_sessions_of_a_tree_charge_a_call_once(serve: Any, order: str) -> None:
    day = Session(budget=1_000, prices=PRICES)
    task, other = (Session(budget=1_000, prices=PRICES, parent=day) for _ in range(2))
    step = Session(budget=1_000, prices=PRICES, parent=task)
    sessions = {"day": day, "task": task, "step": step, "other": other}
    told = [ApeirosHandler(session=sessions[name]) for name in order.split()]
    openai(serve(TEN), max_tokens=2).invoke("hi", {"callbacks": told})
    for name in {"day", *order.split()}:
        session = sessions[name]
        assert (name, session.spent, session.state()["calls"], len(session.entries())) == (name, 10, 1, 1)
        assert (session.open_holds, session._account.held.nano) == (0, 0)


def test_a_run_that_is_started_again_is_a_new_entry_whoever_is_told_of_it(serve: Any) -> None:
    day = Session(budget=1_000, prices=PRICES)
    task = Session(prices=PRICES, parent=day)
    of_day, of_task = ApeirosHandler(session=day), ApeirosHandler(session=task)
    model, run_id = openai(serve(TEN), max_tokens=2), uuid4()
    for told in ([of_task, of_day], [of_day, of_task], [of_day], [of_task], [of_task, of_day]):
        model.invoke("hi", {"callbacks": told, "run_id": run_id})
    assert [entry.attempt for entry in day.entries()] == [1, 2, 3, 4, 5]
    assert day.spent == sum(entry.amount or 0 for entry in day.entries()) == 50
    assert task.spent == sum(entry.amount or 0 for entry in task.entries()) == 40


def test_a_session_with_a_ledger_of_its_own_writes_into_that_of_the_other_too(
    serve: Any, tmp_path: Path
) -> None:
    day_ledger, own, customers = (f"sqlite:///{tmp_path}/{name}.db" for name in ("day", "own", "customers"))
    day = Session(budget=35, prices=PRICES, id="day", ledger=day_ledger)
    task = Session(parent=day, prices=PRICES, ledger=own)
    step = Session(parent=task, prices=PRICES, customer="acme", ledger=customers)
    model = model_of(serve(TEN))
    model.invoke("hi", {"callbacks": [ApeirosHandler(session=step)]})
    model.invoke("hi", {"callbacks": [ApeirosHandler(session=task)]})
    assert [len(one.entries()) for one in (day, task, step)] == [2, 2, 1]
    assert len(open_ledger(customers).entries("customer:acme")) == 1
    for one in (day, task, step):
        one.ledger.close()
    again = Session(budget=35, prices=PRICES, id="day", ledger=day_ledger)
    assert again.spent == day.spent == 20
    again.ledger.close()


def test_a_session_within_another_writes_into_the_same_ledger() -> None:
    day = Session(id="day")
    assert Session(parent=day).ledger is day.ledger
    assert Session(parent=day, ledger="memory:").ledger is not day.ledger


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("gives", [None, "", 7, "acme/2026-11", "raise"])
def test_a_customer_that_is_not_known_is_refused(serve: Any, how: str, gives: Any) -> None:
    def customer(metadata: Mapping[str, Any]) -> Any:
        return metadata["customer"] if gives == "raise" else gives

    server = serve(TEN)
    handler = handler_of(customer=customer)
    model = model_of(server)
    with pytest.raises(UnknownCustomer, match="It was not sent"):
        if how == "invoke":
            model.invoke("hi", {"callbacks": [handler]})
        else:
            asyncio.run(model.ainvoke("hi", {"callbacks": [handler]}))
    assert (server.request_count, handler.session.open_holds) == (0, 0)
    watching = handler_of(customer=customer, enforce=False)
    model.invoke("hi", {"callbacks": [watching]})
    assert [entry.customer_id for entry in watching.session.entries()] == [None]


def test_a_session_begins_anew(serve: Any) -> None:
    server = serve(TEN)
    handler = handler_of(budget=15)
    model = model_of(server)
    for _ in range(2):
        model.invoke("hi", {"callbacks": [handler]})
        with pytest.raises(BudgetExceeded):
            model.invoke("hi", {"callbacks": [handler]})
        handler.session.reset()
        assert (handler.session.spent, handler.session.findings) == (0, [])
    assert len(handler.session.entries()) == 2


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"per": "week"}, ConfigError, 'per must be "handler", "run" or "thread"'),
        ({"agent_budgets": {"": 1}}, ConfigError, "by the agent's name"),
        ({"agent_budgets": {"a": None}}, InvalidBudget, "leave it out"),
        ({"agent_budgets": {"a": -1}}, InvalidBudget, "more than 0"),
    ],
)
def test_a_bad_scope_is_refused_at_once(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        handler_of(**options)


def test_a_tool_and_a_nested_model_count_for_their_run(serve: Any) -> None:
    def script(request: Request) -> Reply:
        has_result = "'tool'" in str(request.body["messages"])
        if request.body.get("tools") and not has_result:
            return Reply("", [ToolCall("ask", {"question": "why"})], input_tokens=8, output_tokens=2)
        return TEN

    model = model_of(serve(script))

    def ask(question: str) -> str:
        """Ask."""
        return str(model.invoke(question).content)

    handler = handler_of(budget=1_000, per="run")
    create_agent(model, [ask]).invoke({"messages": [("user", "hi")]}, {"callbacks": [handler]})
    assert handler.session.spent == Decimal(30)
    [(key, account)] = handler.session._scoping._parts.items()
    assert (key[0], account.spent_usd) == ("run", 30)


def test_who_made_a_call(serve: Any) -> None:
    model = model_of(serve(TEN))

    def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke("hi", config)]}

    def graph(node: str, name: str | None = None) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node(node, ask)
        builder.add_edge(START, node)
        return builder.compile(name=name)

    asked: Any = {"messages": [("user", "hi")]}
    handler = handler_of()
    config: Any = {"callbacks": [handler]}
    graph("search", "researcher").invoke(asked, config)
    graph("search").invoke(asked, config)
    create_agent(model, [], name="writer").invoke(asked, config)
    create_agent(model, []).invoke(asked, config)
    graph("search", "researcher").invoke(asked, config | {"metadata": {"agent": "mine"}})
    agents = [entry.agent for entry in handler.session.entries()]
    assert agents == ["researcher", "search", "writer", None, "mine"]

"""A refusal stays one: whatever a run is made of, nothing as dear is sent from it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import START, MessagesState, StateGraph
from openai import DefaultAsyncHttpxClient, DefaultHttpxClient

from apeiros_callbacks import BudgetExceeded, Price, Session
from apeiros_callbacks.call import Call, OpenCall
from apeiros_callbacks.testing import Reply, Request, ScriptedServer, ToolCall
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import openai
from tests.langchain.containers import (
    CONTAINERS,
    HOWS,
    MESSAGES,
    PROMPT,
    Answer,
    Container,
    abatch,
    after_one,
    ainvoke,
    answer,
    asking,
    batch,
    consulting,
    graph_of,
    invoke,
    look_up,
    name,
    quick,
    tool_graph,
)

How = Callable[[Any, Any, Any], Any]

DEAR, TWIN, CHEAP, DEARER = "gpt-4o", "gpt-4.1", "gpt-4o-mini", "gpt-5"
PRICES = {
    "*": Price(call=Decimal("0.20")),
    CHEAP: Price(call=Decimal("0.05")),
    DEARER: Price(call=Decimal("0.40")),
}

ABORTS = ["graph", "node"]

hows = pytest.mark.parametrize("how", HOWS, ids=lambda how: how.__name__)
aborts = pytest.mark.parametrize("abort", ABORTS)


def handler_of(budget: str, **options: Any) -> ApeirosHandler:
    return ApeirosHandler(budget=Decimal(budget), prices=PRICES, **options)


def model_of(server: ScriptedServer, model: str = DEAR) -> BaseChatModel:
    # No certificates to read, and no connection that outlives the event loop of its call.
    return openai(
        server,
        model,
        stream_usage=True,
        http_client=DefaultHttpxClient(verify=False),
        http_async_client=DefaultAsyncHttpxClient(verify=False),
        default_headers={"Connection": "close"},
    )


def attempt(how: How, runnable: Any, given: Any, *handlers: Any, **config: Any) -> Any:
    try:
        return how(runnable, given, {"callbacks": list(handlers), **config})
    except Exception as error:  # noqa: BLE001 - what the caller saw is what is tested
        return error


def check_recorded(handler: ApeirosHandler, server: ScriptedServer, spent: str) -> None:
    """Each request is in the ledger once, and nothing is open."""
    server.wait_until_idle()
    calls = [entry for entry in handler.session.entries() if entry.kind == "llm"]
    assert len(calls) == server.request_count
    assert handler.session.open_holds == 0
    assert handler.session.spent == sum((entry.amount or 0 for entry in calls), Decimal(0)) == Decimal(spent)


def was_refused(session: Session) -> bool:
    return any(finding.type == "budget_exceeded" for finding in session.findings)


def shown(seen: Any) -> str:
    return name(seen) if isinstance(seen, Exception) else str(seen)


# Every container

CASES = [
    (one, abort) for one in CONTAINERS for abort in ABORTS if abort == "graph" or abort not in one.tries_again
]
RETRIES = [(one, abort) for one in CONTAINERS for abort in one.tries_again]


def in_containers(cases: list[tuple[Container, str]]) -> Any:
    ids = [f"{container.made.__name__}-{abort}" for container, abort in cases]
    return pytest.mark.parametrize(("container", "abort"), cases, ids=ids)


@hows
@in_containers(CASES)
def test_nothing_is_sent_after_a_refusal(serve: Any, container: Container, abort: Any, how: How) -> None:
    server = serve(answer)
    handler = handler_of("0.30", abort=abort)
    made = container.made(model_of(server), model_of(server, TWIN))
    seen = attempt(how, made, container.given, handler)
    assert server.request_count == 1
    check_recorded(handler, server, "0.20")
    assert container.seen[abort] in shown(seen)


class Neighbour(Session):
    """A session in which another run's call holds $0.40, until a call is made after a refusal.

    Of its $0.70 there is not enough for two calls then, and enough for three afterwards.
    """

    def __init__(self) -> None:
        super().__init__(Decimal("0.70"), prices=PRICES)
        self.over = threading.Event()
        self.again = 0
        """Calls that were started after the refusal."""

    def open_call(self, call: Call) -> OpenCall:
        if call.kind == "llm" and was_refused(self):
            self.again += 1
            self.leave()
        return super().open_call(call)

    def call(self, server: ScriptedServer, handler: ApeirosHandler) -> None:
        """Start the other run's call. It ends with an error, so that it costs nothing."""
        given = (invoke, model_of(server, DEARER), "neighbour", handler)
        self.thread = threading.Thread(target=attempt, args=given)
        self.thread.start()
        server.wait_for_requests(1)

    def leave(self) -> None:
        self.over.set()
        self.thread.join()

    def answer(self, request: Request) -> Reply:
        if request.model != DEARER:
            return answer(request)
        self.over.wait(10)
        return Reply(status=500, error="no")


# The first retries no streams, and the calls of the others may be refused at the same time.
MAY_NOT_TRY = {"with_retry", "parallel", "mapped", "mapped_to_values"}


@hows
@in_containers(RETRIES)
def test_a_retry_is_refused_though_money_is_free_again(
    serve: Any, container: Container, abort: Any, how: How
) -> None:
    session = Neighbour()
    server = serve(session.answer)
    handler = ApeirosHandler(session=session, abort=abort)
    made = container.made(model_of(server), model_of(server, TWIN))
    session.call(server, handler)
    seen = attempt(how, made, container.given, handler)
    session.leave()
    assert session.again or container.made.__name__ in MAY_NOT_TRY
    assert server.request_count == 2
    check_recorded(handler, server, "0.20")
    assert container.seen[abort] in shown(seen)


@pytest.mark.parametrize("how", [*HOWS, batch, abatch], ids=lambda how: how.__name__)
def test_a_fallback_that_is_no_part_of_a_chain_is_refused_as_well(serve: Any, how: How) -> None:
    session = Neighbour()
    server = serve(session.answer)
    handler = ApeirosHandler(session=session)
    model = model_of(server)
    session.call(server, handler)
    attempt(how, model, PROMPT, handler)
    seen = attempt(how, model.with_fallbacks([model_of(server, TWIN)]), PROMPT, handler)
    session.leave()
    assert isinstance(seen, BudgetExceeded)
    assert session.again == 1
    assert server.request_count == 2
    check_recorded(handler, server, "0.20")


# What goes on

STEPS = {"fits": DEAR, "is refused": DEAR, "elsewhere": DEAR, "again": TWIN, "cheaper": CHEAP}


@pytest.mark.parametrize("how", [invoke, ainvoke], ids=lambda how: how.__name__)
def test_other_runs_and_cheaper_calls_go_on(serve: Any, how: How) -> None:
    session = Neighbour()
    server = serve(session.answer)
    handler = ApeirosHandler(session=session)
    config: Any = {"callbacks": [handler]}
    seen: list[Any] = []

    def context(step: str) -> Context:
        return Context() if step == "elsewhere" else copy_context()

    def steps(_: str) -> None:
        for step, model in STEPS.items():
            try:
                seen.append(context(step).run(model_of(server, model).invoke, step, config))
            except BudgetExceeded as refusal:
                seen.append(refusal)

    async def asteps(_: str) -> None:
        for step, model in STEPS.items():
            call = model_of(server, model).ainvoke(step, config)
            [answer] = await asyncio.gather(
                asyncio.create_task(call, context=context(step)), return_exceptions=True
            )
            seen.append(answer)

    session.call(server, handler)
    how(RunnableLambda(steps, asteps), PROMPT, config)
    refused = [name(answer) == "BudgetExceeded" for answer in seen]
    assert dict(zip(STEPS, refused, strict=True)) == {
        "fits": False,
        "is refused": True,
        "elsewhere": False,
        "again": True,
        "cheaper": False,
    }
    assert server.request_count == 4
    check_recorded(handler, server, "0.45")


def models(handler: ApeirosHandler) -> list[str]:
    return [entry.requested_model for entry in handler.session.entries() if entry.kind == "llm"]


def or_cheaper(server: ScriptedServer) -> Any:
    cheap = model_of(server, CHEAP)
    return model_of(server).with_fallbacks([cheap], exceptions_to_handle=(BudgetExceeded,))


@pytest.mark.parametrize("how", [*HOWS, batch, abatch], ids=lambda how: how.__name__)
@pytest.mark.parametrize("one_run", [True, False], ids=["one-run", "two-runs"])
def test_a_cheaper_fallback_that_fits_is_served(serve: Any, one_run: bool, how: How) -> None:
    server = serve(answer)
    handler = handler_of("0.30")
    model = or_cheaper(server)
    if one_run:
        seen = [attempt(how, after_one(model, model), PROMPT, handler)]
    else:
        seen = [attempt(how, model, PROMPT, handler) for _ in range(2)]
    assert not any(isinstance(answer, Exception) for answer in seen)
    assert server.request_count == 2
    assert models(handler) == [DEAR, CHEAP]
    check_recorded(handler, server, "0.25")


@pytest.mark.parametrize("how", ["batch", "abatch"])
def test_what_does_not_fit_of_a_batch_falls_back(serve: Any, how: str) -> None:
    server = serve(answer)
    handler = handler_of("0.30")
    config: Any = {"callbacks": [handler]}
    model = or_cheaper(server)
    if how == "batch":
        seen = model.batch([PROMPT] * 3, config)
    else:
        seen = asyncio.run(model.abatch([PROMPT] * 3, config))
    assert [message.text for message in seen] == ["done"] * 3
    assert server.request_count == 3
    assert sorted(models(handler)) == [DEAR, CHEAP, CHEAP]
    check_recorded(handler, server, "0.30")


@hows
def test_a_structured_answer_falls_back_too(serve: Any, how: How) -> None:
    server = serve(answer)
    handler = handler_of("0.30")
    dear, cheap = (structured(model_of(server, model), "function_calling") for model in (DEAR, CHEAP))
    model = dear.with_fallbacks([cheap], exceptions_to_handle=(BudgetExceeded,))
    seen = [attempt(how, model, PROMPT, handler) for _ in range(2)]
    assert ["why?" in shown(answer) for answer in seen] == [True, True]
    assert server.request_count == 2
    assert models(handler) == [DEAR, CHEAP]
    check_recorded(handler, server, "0.25")


@hows
@pytest.mark.parametrize(
    ("abort", "served", "spent"), [("graph", [DEAR], "0.20"), ("node", [DEAR, CHEAP], "0.25")]
)
def test_the_fallback_middleware_only_sees_a_refusal_that_ends_a_node(
    serve: Any, abort: Any, served: list[str], spent: str, how: How
) -> None:
    server = serve(answer)
    handler = handler_of("0.30", abort=abort)
    falls_back = ModelFallbackMiddleware(model_of(server, CHEAP))
    agent = create_agent(model_of(server), [look_up], middleware=[falls_back])
    seen = attempt(how, agent, MESSAGES, handler)
    assert server.request_count == len(served)
    assert models(handler) == served
    check_recorded(handler, server, spent)
    assert isinstance(seen, BudgetExceeded) if abort == "graph" else "done" in shown(seen)


@hows
@aborts
def test_a_checkpointed_agent_goes_on_where_it_stopped(serve: Any, abort: Any, how: How) -> None:
    looked_up = []

    def look_up(question: str) -> str:
        """Look something up."""
        looked_up.append(question)
        return question

    server = serve(answer)
    handler = handler_of("0.30", abort=abort)
    agent = create_agent(model_of(server), [look_up], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "one"}}
    assert isinstance(attempt(how, agent, MESSAGES, handler, **thread), BudgetExceeded)
    assert isinstance(attempt(how, agent, None, handler, **thread), BudgetExceeded)
    assert (server.request_count, looked_up) == (1, ["why?"])
    handler.session.raise_budget(to=Decimal("0.40"))
    assert "done" in shown(attempt(how, agent, None, handler, **thread))
    assert (server.request_count, looked_up) == (2, ["why?"])
    check_recorded(handler, server, "0.40")


@hows
def test_a_tool_that_finished_beside_a_refused_one_is_not_run_again(serve: Any, how: How) -> None:
    looked_up = []
    finished = threading.Event()

    def look_up(question: str) -> str:
        """Look something up."""
        looked_up.append(question)
        finished.set()
        return question

    def both(request: Request) -> Reply:
        if any(message["role"] == "tool" for message in request.body["messages"]):
            return Reply("done")
        if not request.body.get("tools"):
            return Reply("an opinion")
        return Reply(tool_calls=[ToolCall(tool, {"question": "why?"}) for tool in ("look_up", "consult")])

    server = serve(both)
    handler = handler_of("0.30")
    model = model_of(server)
    after_the_other = RunnableLambda(lambda said: said if finished.wait(10) else None) | model
    agent = create_agent(model, [look_up, consulting(after_the_other)], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "one"}}
    assert isinstance(attempt(how, agent, MESSAGES, handler, **thread), BudgetExceeded)
    assert (server.request_count, looked_up) == (1, ["why?"])
    handler.session.raise_budget(to=Decimal("0.60"))
    assert "done" in shown(attempt(how, agent, None, handler, **thread))
    assert (server.request_count, looked_up) == (3, ["why?"])
    check_recorded(handler, server, "0.60")


# What a refusal is


@hows
@aborts
def test_a_refusal_is_what_ends_a_graph_or_a_plain_error(serve: Any, abort: Any, how: How) -> None:
    server = serve(answer)
    handler = handler_of("0.30", abort=abort)
    seen = attempt(how, create_agent(model_of(server), [look_up]), MESSAGES, handler)
    assert isinstance(seen, BudgetExceeded)
    assert isinstance(seen, GraphBubbleUp) == (abort == "graph")
    assert server.request_count == 1
    check_recorded(handler, server, "0.20")


@hows
@aborts
def test_a_retry_policy_sees_what_ends_a_node(serve: Any, abort: Any, how: How) -> None:
    judged: list[Exception] = []

    def again(error: Exception) -> bool:
        judged.append(error)
        return True

    server = serve(answer)
    handler = handler_of("0.30", abort=abort)
    graph = graph_of(model_of(server), asking(model_of(server)), retry_policy=quick(again))
    seen = attempt(how, graph, MESSAGES, handler)
    assert isinstance(seen, BudgetExceeded)
    assert {type(error) for error in judged} == (set() if abort == "graph" else {BudgetExceeded})
    assert server.request_count == 1
    check_recorded(handler, server, "0.20")


@hows
@aborts
def test_a_graph_that_handles_tool_errors_goes_on_with_a_cheaper_model(
    serve: Any, abort: Any, how: How
) -> None:
    handled: list[Exception] = []

    def too_dear(error: BudgetExceeded) -> str:
        handled.append(error)
        return "too dear"

    server = serve(answer)
    handler = handler_of("0.10", abort=abort)
    graph = tool_graph(model_of(server, CHEAP), consulting(model_of(server)), too_dear)
    seen = attempt(how, graph, MESSAGES, handler)
    if abort == "graph":
        assert isinstance(seen, BudgetExceeded)
        assert (server.request_count, handled) == (1, [])
        check_recorded(handler, server, "0.05")
    else:
        assert "done" in shown(seen)
        assert (server.request_count, list(map(type, handled))) == (2, [BudgetExceeded])
        assert models(handler) == [CHEAP, CHEAP]
        check_recorded(handler, server, "0.10")


# Structured answers


def structured(model: Any, method: str, include_raw: bool = False) -> Any:
    return model.with_structured_output(Answer, method=method, include_raw=include_raw)


@hows
@pytest.mark.parametrize("include_raw", [True, False], ids=["raw", "parsed"])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer_is_refused_as_itself(
    serve: Any, method: str, include_raw: bool, how: How
) -> None:
    server = serve(
        lambda request: answer(request) if request.body.get("tools") else Reply('{"question": "why?"}')
    )
    handler = handler_of("0.30")
    model = structured(model_of(server), method, include_raw)
    first, second = (attempt(how, model, PROMPT, handler) for _ in range(2))
    assert "why?" in shown(first)
    assert isinstance(second, BudgetExceeded)
    assert server.request_count == 1
    check_recorded(handler, server, "0.20")


# Siblings


class Siblings:
    """Two calls side by side: one is on its way while the other is refused, and is answered after that."""

    def __init__(self, serve: Any) -> None:
        self.refused = threading.Event()
        self.server: ScriptedServer = serve(self.answer)

    def answer(self, request: Request) -> Reply:
        asked = request.body["messages"][-1]["content"]
        if asked == "sibling":
            self.refused.wait(10)
        if request.body.get("tools"):
            return Reply(tool_calls=[ToolCall(tool, {"question": "why?"}) for tool in ("sibling", "late")])
        return Reply("done")

    @property
    def sibling(self) -> Any:
        """A call that is answered, and one more."""
        model = model_of(self.server)
        return RunnableLambda(lambda _: "sibling") | model | StrOutputParser() | model

    @property
    def late(self) -> Any:
        """A call that is made when the sibling's is on its way."""
        model = model_of(self.server)

        def late(_: Any) -> Any:
            self.server.wait_for_requests(2)
            try:
                return model.invoke(PROMPT)
            except BudgetExceeded:
                self.refused.set()
                raise

        async def alate(_: Any) -> Any:
            await asyncio.to_thread(self.server.wait_for_requests, 2)
            try:
                return await model.ainvoke(PROMPT)
            except BudgetExceeded:
                self.refused.set()
                raise

        return RunnableLambda(late, alate)

    def nodes(self) -> Any:
        graph = StateGraph(MessagesState)
        graph.add_node("first", asking(model_of(self.server)))
        graph.add_edge(START, "first")
        for node in ("sibling", "late"):
            graph.add_node(node, getattr(self, node) | (lambda said: {"messages": [said]}))
            graph.add_edge("first", node)
        return graph.compile()

    def tools(self) -> Any:
        tools = [consulting(getattr(self, tool), name=tool) for tool in ("sibling", "late")]
        return create_agent(model_of(self.server), tools)


@hows
@aborts
@pytest.mark.parametrize("made", [Siblings.nodes, Siblings.tools], ids=lambda made: made.__name__)
def test_what_siblings_sent_is_finished_and_recorded(serve: Any, made: Any, abort: Any, how: How) -> None:
    siblings = Siblings(serve)
    handler = handler_of("0.50", abort=abort)
    seen = attempt(how, made(siblings), MESSAGES, handler)
    assert isinstance(seen, BudgetExceeded)
    assert siblings.server.request_count == 2
    check_recorded(handler, siblings.server, "0.40")
    if abort == "graph":  # an error that ends a node has LangGraph cancel its siblings in an event loop
        calls = [entry for entry in handler.session.entries() if entry.kind == "llm"]
        assert [entry.usage_certainty for entry in calls] == ["reported", "reported"]

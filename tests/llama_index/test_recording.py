"""One entry for each call that was sent, whoever wraps whom and whatever LlamaIndex reports of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.mock import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool, QueryEngineTool

from apeiros_callbacks import Budget, BudgetExceeded, Price
from apeiros_callbacks.testing import Reply, Request, ToolCall
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import client, openai
from tests.llama_index.ways import Word, answer, ask, index, messages, template

A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
TEN = Reply("ok", input_tokens=8, output_tokens=2)


class Custom(CustomLLM):
    """A model of a user's own, whose other methods are LlamaIndex's, around this one."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="one two")

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        def gen() -> Generator[CompletionResponse, None, None]:
            yield CompletionResponse(text="one", delta="one")
            yield CompletionResponse(text="one two", delta=" two")

        return gen()


async def _all_async(model: LLM) -> None:
    await model.achat(messages())
    await model.acomplete("hello")
    async for _ in await model.astream_chat(messages()):
        pass
    async for _ in await model.astream_complete("hello"):
        pass


@pytest.mark.parametrize("make", [Custom, MockLLM])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_around_a_model_is_one_entry(run: Any, make: Any, wrapped: bool) -> None:
    with ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN) as handler:
        model = BudgetedLLM(make(), handler) if wrapped else make()
        model.chat(messages())
        model.complete("hello")
        list(model.stream_chat(messages()))
        list(model.stream_complete("hello"))
        run(_all_async(model))
        made = len(handler.session.entries())
        run(_four_at_once(model))
    assert made == 8
    assert len(handler.session.entries()) == made + 8
    assert (handler.session.open_holds, handler.session.health.failures) == (0, 0)


async def _four_at_once(model: LLM) -> None:
    async def stream() -> None:
        async for _ in await model.astream_chat(messages()):
            await asyncio.sleep(0)

    await asyncio.gather(*(stream() for _ in range(4)), *(model.achat(messages()) for _ in range(4)))


def test_a_structured_model_is_one_entry(serve: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN) as handler:
        said = openai(server).as_structured_llm(Word).chat(messages())
    assert said.raw.word == "ok"
    assert len(handler.session.entries()) == server.request_count == 1


@pytest.mark.parametrize(("name", "sent"), [("openai", 0), ("anthropic", 1)])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_nobody_reads_is_an_entry_where_it_was_sent(
    serve: Any, run: Any, name: str, sent: int, is_async: bool
) -> None:
    server = serve(Reply("ok"))
    with ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN) as handler:
        model = client(name, server)
        stream = run(model.astream_chat(messages())) if is_async else model.stream_chat(messages())
        assert handler.session.open_holds == 1
        del stream
        gc.collect()
    assert server.request_count == sent
    assert [entry.error for entry in handler.session.entries()] == ["abandoned"] * sent
    assert handler.session.open_holds == 0


def test_an_empty_stream_that_llama_index_fails_over_is_an_entry(serve: Any) -> None:
    class Empty(Custom):
        @llm_completion_callback()
        def stream_complete(
            self, prompt: str, formatted: bool = False, **kwargs: Any
        ) -> Generator[CompletionResponse, None, None]:
            def gen() -> Generator[CompletionResponse, None, None]:
                yield from ()

            return gen()

    with ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN) as handler:
        with pytest.raises(Exception, match="validation error"):
            list(Empty().stream_complete("hello"))
        gc.collect()
    (entry,) = handler.session.entries()
    assert (entry.usage_certainty, handler.session.open_holds) == ("estimated", 0)


def test_a_model_that_reports_nothing_is_an_estimated_entry() -> None:
    class Silent(Custom):
        def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
            return ChatResponse(message=ChatMessage(role="assistant", content="one two"))

        async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
            raise ConnectionResetError

    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN) as handler:
        Silent().chat(messages())
        with pytest.raises(ConnectionResetError):
            asyncio.run(Silent().achat(messages()))
    first, second = handler.session.entries()
    assert (first.usage_certainty, first.usage.output_tokens, first.usage.input_tokens > 0) == (
        "estimated",
        2,
        True,
    )
    assert (second.usage_certainty, second.error) == ("estimated", "ConnectionResetError")


def test_a_legacy_handler_that_stops_a_call_leaves_nothing(serve: Any) -> None:
    from llama_index.core.callbacks import CallbackManager, TokenCountingHandler

    server = serve(TEN)
    counting = TokenCountingHandler(token_budget=5)
    model = openai(server, callback_manager=CallbackManager([counting]))
    with ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN) as handler:
        for _ in range(3):
            with pytest.raises(ValueError, match="(?i)budget"):
                model.chat(messages())
    assert len(handler.session.entries()) == server.request_count
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_an_error_of_the_provider_costs_nothing(serve: Any, name: str, status: int) -> None:
    with (
        ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN) as handler,
        pytest.raises(Exception, match="."),
    ):
        client(name, serve(Reply(status=status, error="no"))).chat(messages())
    (entry,) = handler.session.entries()
    assert (entry.amount, entry.usage_certainty) == (Decimal(0), "assumed")
    assert str(status) in (entry.error or "")
    assert handler.session.open_holds == 0


def test_a_refused_connection_costs_nothing() -> None:
    model = openai(type("Nowhere", (), {"openai_url": "http://127.0.0.1:9/v1"})())
    with (
        ApeirosHandler(budget=100_000, prices=A_DOLLAR_A_TOKEN) as handler,
        pytest.raises(Exception, match="."),
    ):
        model.chat(messages())
    (entry,) = handler.session.entries()
    assert (entry.amount, handler.session.open_holds) == (0, 0)


# Tools and agents


def test_tools_and_agents_are_named(serve: Any, run: Any) -> None:
    def fail(question: str) -> str:
        """Fail."""
        raise LookupError(question)

    def script(request: Request) -> Reply:
        said = str(request.body["messages"])
        if "'tool'" in said:
            return TEN
        calls = [ToolCall("ask", {"question": "a"}), ToolCall("fail", {"question": "b"}), ToolCall("none")]
        return Reply("", calls, input_tokens=8, output_tokens=2)

    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN) as handler:
        run(_run(FunctionAgent(name="researcher", tools=[ask, fail], llm=openai(serve(script)))))
    lines = [(entry.kind, entry.model, entry.agent, entry.error) for entry in handler.session.entries()]
    assert sorted(lines[1:-1]) == [
        ("tool", "ask", "researcher", None),
        ("tool", "fail", "researcher", "LookupError"),
    ]
    assert lines[0][:3] == lines[-1][:3] == ("llm", "gpt-4o", "researcher")
    assert handler.session.spent == 20 if lines[0][0] == "reported" else True


async def _run(agent: Any) -> Any:
    return await agent.run("hello")


def test_agents_that_hand_over_have_their_calls_each(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    model = openai(server)
    agents = [
        FunctionAgent(name=name, description=name, tools=[ask], llm=model) for name in ("first", "second")
    ]
    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN) as handler:
        run(_run(AgentWorkflow(agents=agents, root_agent="first")))
    lines = [(entry.kind, entry.agent) for entry in handler.session.entries()]
    assert lines == [("llm", "first"), ("tool", "first"), ("llm", "second")]


def test_a_react_agent_is_named(serve: Any, run: Any) -> None:
    def script(request: Request) -> Reply:
        said = str(request.body["messages"])
        if "Observation: why" in said:
            return Reply(["Thought: I know.\n", "Answer: ok"], input_tokens=8, output_tokens=2)
        act = ["Thought: I need a tool.\n", "Action: ask\n", 'Action Input: {"question": "why"}\n']
        return Reply(act, input_tokens=8, output_tokens=2)

    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN) as handler:
        run(_run(ReActAgent(name="thinker", tools=[ask], llm=openai(serve(script)))))
    lines = [(entry.kind, entry.agent) for entry in handler.session.entries()]
    assert lines == [("llm", "thinker"), ("tool", "thinker"), ("llm", "thinker")]


def test_what_a_tool_calls_is_in_the_same_run(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    model = openai(server)
    tool = QueryEngineTool.from_defaults(index().as_query_engine(llm=model), name="ask", description="Ask.")
    agent = FunctionAgent(name="outer", tools=[tool], llm=model)
    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN, agent_budgets={"outer": 100_000}) as handler:
        run(_run(agent))
    kinds = [entry.kind for entry in handler.session.entries()]
    assert sorted(kinds) == ["llm", "llm", "llm", "tool"]
    inner = [entry for entry in handler.session.entries() if entry.kind == "llm"]
    assert {entry.agent for entry in inner} == {"outer"}


def test_a_tool_that_is_called_by_hand_is_one_entry() -> None:
    tool = FunctionTool.from_defaults(ask)
    with ApeirosHandler() as handler:
        tool("why")
        tool.call("why")
        asyncio.run(tool.acall("why"))
    assert [entry.kind for entry in handler.session.entries()] == ["tool"] * 3


def test_a_tool_with_a_price_is_charged(serve: Any) -> None:
    with ApeirosHandler(budget=3, prices={"tool:ask": Price(call=2)}) as handler:
        tool = FunctionTool.from_defaults(ask)
        tool.call("why")
        tool.call("why")  # nothing in LlamaIndex could keep it from running: it is charged
    assert handler.session.spent == 4
    assert [finding.type for finding in handler.session.findings] == ["budget_exceeded"]


def test_a_program_is_no_tool(serve: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    model = openai(server, model="gpt-4-turbo")  # which fills in classes by calling a function
    with ApeirosHandler(prices=A_DOLLAR_A_TOKEN) as handler:
        assert model.structured_predict(Word, template(), topic="x").word == "ok"
    assert [entry.kind for entry in handler.session.entries()] == ["llm"]


def test_a_reranker_is_an_entry() -> None:
    dispatcher = get_dispatcher(__name__)

    class Rerank(BaseNodePostprocessor):
        def _postprocess_nodes(
            self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
        ) -> list[NodeWithScore]:
            dispatcher.event(
                ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=1, model_name="rerank-v3.5")
            )
            dispatcher.event(ReRankEndEvent(nodes=nodes[:1]))
            return nodes[:1]

    nodes = [NodeWithScore(node=TextNode(text="Paris is a city."), score=1.0)]
    with ApeirosHandler() as handler:
        Rerank().postprocess_nodes(nodes, query_str="where")
    (entry,) = handler.session.entries()
    assert (entry.kind, entry.model, entry.usage_certainty) == ("rerank", "rerank-v3.5", "estimated")
    assert entry.usage.input_tokens > 4


# A refusal stays one


def test_a_refusal_that_a_tool_swallows_is_not_sent_again_in_the_run(serve: Any, run: Any) -> None:
    dear = "word " * 3_000
    tried: list[BaseException] = []

    def nested(question: str) -> str:
        """Ask a dear model, twice."""
        for _ in range(2):
            try:
                model.complete(dear)
            except BudgetExceeded as refusal:
                tried.append(refusal)
        return "no"

    server = serve(lambda request: answer(request, TEN))
    model = openai(server, max_tokens=2)
    tool = FunctionTool.from_defaults(nested, name="ask")
    with ApeirosHandler(budget=300, prices=A_DOLLAR_A_TOKEN) as handler:
        run(_run(FunctionAgent(tools=[tool], llm=model, streaming=False)))
    assert len(tried) == 2
    assert (server.request_count, handler.session.open_holds) == (2, 0), "what fits goes on"


def test_a_refusal_inside_of_a_tool_ends_the_run_at_its_next_step(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    model = openai(server, max_tokens=2)

    def nested(question: str) -> str:
        """Ask a model once more."""
        return str(model.complete("hello"))

    tool = FunctionTool.from_defaults(nested, name="ask")
    with (
        ApeirosHandler(budget=Budget(calls=1), prices=A_DOLLAR_A_TOKEN) as handler,
        pytest.raises(BudgetExceeded),
    ):
        run(_run(FunctionAgent(tools=[tool], llm=model, streaming=False)))
    kinds = [(entry.kind, entry.error) for entry in handler.session.entries()]
    assert kinds == [("llm", None), ("tool", "BudgetExceeded")]
    assert server.request_count == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_refusal_that_output_cls_swallows_sends_nothing(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN))
    agent = FunctionAgent(tools=[ask], llm=openai(server), output_cls=Word, streaming=False)
    with ApeirosHandler(budget=Budget(calls=2), prices=A_DOLLAR_A_TOKEN) as handler:
        said = run(_run(agent))
    assert said.structured_response is None
    assert server.request_count == 2
    assert [finding.type for finding in handler.session.findings] == ["budget_exceeded"]

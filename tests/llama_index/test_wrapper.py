"""`BudgetedLLM`: a ladder for each call and agent, shorter answers, and streams that end at the budget."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool, ToolMetadata

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Ladder, Price
from apeiros_callbacks.errors import StoppedByFinding, UnknownPrice
from apeiros_callbacks.testing import Reply, Request, ToolCall
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import anthropic, client, embedding, openai
from tests.llama_index.test_recording import Custom
from tests.llama_index.ways import Word, answer, ask, index, messages, template

TEN_CENTS = Reply("ok", input_tokens=40_000, output_tokens=0)
"""On gpt-4o, $0.10."""
LONG = [ChatMessage(role="user", content="word " * 40_000)]


def test_it_steps_down_when_some_of_the_budget_is_spent(serve: Any) -> None:
    server = serve(TEN_CENTS)
    llm = BudgetedLLM(Ladder(openai(server), openai(server, "gpt-4o-mini"), at=[0.5]), budget=0.40)
    for _ in range(4):
        llm.chat(LONG)
    assert [request.model for request in server.requests] == [
        "gpt-4o",
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4o-mini",
    ]
    entry = llm.session.entries()[2]
    assert (entry.routed_from, entry.routed_to) == ("gpt-4o", "gpt-4o-mini")
    assert "50% of the budget" in (entry.routed_why or "")
    assert (llm.session.open_holds, llm.session.entries()[0].routed_to) == (0, None)


@pytest.mark.parametrize("how", ["stream", "structured", "structured stream"])
def test_it_steps_down_in_every_way_to_ask(serve: Any, how: str) -> None:
    reply = Reply("ok", input_tokens=40_000, output_tokens=0)
    server = serve(lambda request: answer(request, reply))
    llm = BudgetedLLM(Ladder(openai(server), openai(server, "gpt-4o-mini"), at=[0.1]), budget=0.40)
    llm.chat(LONG)
    if how == "stream":
        list(llm.stream_chat(LONG))
    elif how == "structured":
        llm.structured_predict(Word, template(), topic="x")
    else:
        list(llm.stream_structured_predict(Word, template(), topic="x"))
    assert [request.model for request in server.requests] == ["gpt-4o", "gpt-4o-mini"]
    entry = llm.session.entries()[1]
    assert (entry.routed_to, entry.usage_certainty) == ("gpt-4o-mini", "reported")
    assert entry.routed_why
    assert llm.session.open_holds == 0


def test_what_does_not_fit_goes_to_the_cheaper_model_and_the_last_is_held_to_the_budget(serve: Any) -> None:
    server = serve(TEN_CENTS)
    llm = BudgetedLLM(Ladder(openai(server), openai(server, "gpt-4o-mini")), budget=0.02)
    llm.chat(LONG)
    assert [request.model for request in server.requests] == ["gpt-4o-mini"]
    llm.session.raise_budget(to=0.0061)
    with pytest.raises(BudgetExceeded):
        llm.chat(LONG)
    assert server.request_count == 1


def test_a_ladder_for_each_agent(serve: Any, run: Any) -> None:
    server = serve(lambda request: answer(request, TEN_CENTS))
    ladders = {
        "first": Ladder(openai(server), openai(server, "gpt-4o-mini"), at=[0.01]),
        "second": Ladder(openai(server, "gpt-4.1"), openai(server, "gpt-4.1-nano"), at=[1.0]),
    }
    llm = BudgetedLLM(openai(server), budget=1.0, ladder=ladders)
    llm.chat(LONG)
    agents = [FunctionAgent(name=name, description=name, tools=[ask], llm=llm) for name in ladders]
    run(_run(AgentWorkflow(agents=agents, root_agent="first")))
    assert [request.model for request in server.requests] == ["gpt-4o", "gpt-4o-mini", "gpt-4.1"]


async def _run(agent: Any) -> Any:
    return await agent.run("hello")


def test_from_openai_to_anthropic_in_the_middle_of_an_agents_run(serve: Any, run: Any) -> None:
    server = serve(lambda request: _two_tools(request))
    ladder = Ladder(openai(server), anthropic(server, "claude-haiku-4-5"), at=[0.1])
    llm = BudgetedLLM(ladder, budget=0.40)
    said = run(_run(FunctionAgent(name="a", tools=[ask], llm=llm)))
    assert str(said) == "done"
    assert len({request.api for request in server.requests}) == 2
    assert [entry.kind for entry in llm.session.entries()] == ["llm", "tool", "llm", "tool", "llm"]


def _two_tools(request: Request) -> Reply:
    said = str(request.body["messages"])
    if "second answer" in said:
        return Reply("done", input_tokens=40_000, output_tokens=0)
    question = "second answer" if "first answer" in said else "first answer"
    return Reply("", [ToolCall("ask", {"question": question})], input_tokens=40_000, output_tokens=0)


@pytest.mark.parametrize("name", ["openai", "anthropic", "responses"])
@pytest.mark.parametrize("declared", [None, 4_000])
def test_it_asks_for_no_more_than_the_budget_can_pay(serve: Any, name: str, declared: int | None) -> None:
    server = serve(Reply("ok", input_tokens=10, output_tokens=2))
    options = {} if declared is None else {"max_tokens": declared}
    dollar = {"*": Price(input=1_000_000, output=1_000_000)}
    model = client(name, server, **options)
    llm = BudgetedLLM(model, budget=100, prices=dollar)
    llm.chat(messages())
    llm.chat(messages())
    asked = [
        request.body.get("max_tokens") or request.body.get("max_output_tokens") for request in server.requests
    ]
    assert all(number is not None and number < 100 for number in asked)
    assert asked[1] < asked[0]
    assert getattr(model, "max_tokens", None) in {declared, 512, None}, "the model itself is as it was"
    with pytest.raises(BudgetExceeded):
        BudgetedLLM(model, budget=100, prices=dollar, clamp=False).chat([ChatMessage(content="word " * 200)])


def test_the_schema_of_a_tool_is_made_by_nobody_but_the_model(serve: Any, monkeypatch: Any) -> None:
    made: list[str | None] = []
    make = ToolMetadata.get_parameters_dict
    monkeypatch.setattr(
        ToolMetadata, "get_parameters_dict", lambda tool: made.append(tool.name) or make(tool)
    )
    model = openai(serve(Reply("ok")), max_tokens=10)
    tool = FunctionTool.from_defaults(ask)
    counts = []
    for used in (model, BudgetedLLM(model, budget=1), BudgetedLLM(model, budget=1)):
        before = len(made)
        used.chat_with_tools([tool], user_msg="hello")
        counts.append(len(made) - before)
    alone, first, later = counts
    assert (first <= alone + 1, later) == (True, alone)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_is_cut_and_its_connection_closed(serve: Any, run: Any, name: str, is_async: bool) -> None:
    server = serve(Reply(["word " * 20] * 500, chunk_delay=0.005))
    dollar = {"*": Price(input=1_000_000, output=1_000_000)}
    llm = BudgetedLLM(client(name, server, max_tokens=30), budget=400, prices=dollar, clamp=False)
    gc.disable()
    try:
        with pytest.raises(BudgetExceeded) as cut:
            if is_async:
                run(_read(llm))
            else:
                list(llm.stream_chat(messages()))
        server.wait_until_idle()
    finally:
        gc.enable()
    assert cut.value.mid_stream
    (request,) = server.requests
    assert request.disconnected
    assert request.chunks_sent < 100
    (entry,) = llm.session.entries()
    assert (entry.usage_certainty, entry.error, llm.session.open_holds) == ("estimated", "BudgetExceeded", 0)
    assert 300 < llm.session.spent < 440


async def _read(llm: Any) -> None:
    async for _ in await llm.astream_chat(messages()):
        pass


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_stream_without_the_wrapper_goes_on_and_the_run_is_over(serve: Any, run: Any, name: str) -> None:
    pieces = Reply(
        ["word " * 60] * 20, [ToolCall("ask", {"question": "why"})], input_tokens=10, output_tokens=1220
    )
    server = serve(pieces)
    dollar = {"*": Price(input=1_000_000, output=1_000_000)}
    with (
        ApeirosHandler(budget=1_000, prices=dollar) as handler,
        pytest.raises(BudgetExceeded),
    ):
        handler.session.raise_budget(to=900)
        run(_run(FunctionAgent(tools=[ask], llm=client(name, server, max_tokens=30))))
    assert server.request_count == 1
    assert handler.session.open_holds == 0


def test_a_stream_without_the_wrapper_says_that_it_was_not_cut(serve: Any) -> None:
    dollar = {"*": Price(input=1_000_000, output=1_000_000)}
    with ApeirosHandler(budget=200, prices=dollar) as handler:
        model = openai(serve(Reply(["word " * 20] * 20)), max_tokens=30)
        assert len(list(model.stream_chat(messages()))) > 20
    (finding,) = handler.session.findings
    assert "reached the limit and was not cut" in finding.message
    assert handler.session.spent > 400


def test_openais_streams_are_asked_for_their_usage_unless_the_user_said_otherwise(serve: Any) -> None:
    server = serve(Reply("ok"))
    list(BudgetedLLM(openai(server), budget=1).stream_chat(messages()))
    mine = {"stream_options": {"include_usage": False}}
    list(BudgetedLLM(openai(server, additional_kwargs=mine), budget=1).stream_chat(messages()))
    BudgetedLLM(openai(server), budget=1).chat(messages())
    told = [request.body.get("stream_options") for request in server.requests]
    assert told == [{"include_usage": True}, {"include_usage": False}, None]


def test_it_looks_like_the_model(serve: Any) -> None:
    model = openai(serve(Reply("ok")))
    llm = BudgetedLLM(model, budget=1, agent="analyst")
    assert llm.metadata == model.metadata
    manager = CallbackManager([])
    llm.callback_manager = manager
    assert model.callback_manager is manager, "a query engine's manager reaches the model"
    index().as_query_engine(llm=llm).query("hello")
    (entry,) = llm.session.entries()
    assert (entry.agent, entry.model) == ("analyst", "gpt-4o")


@pytest.mark.parametrize(
    "wrong", [lambda s: BudgetedLLM(embedding(s)), lambda s: BudgetedLLM(BudgetedLLM(openai(s)))]
)
def test_what_is_no_model_is_refused(serve: Any, wrong: Any) -> None:
    with pytest.raises(ConfigError):
        wrong(serve())


def test_a_budget_of_calls_is_kept(serve: Any) -> None:
    llm = BudgetedLLM(openai(serve(Reply("ok"))), budget=Budget(calls=1))
    llm.complete("hello")
    with pytest.raises(BudgetExceeded):
        llm.complete("hello")


def test_a_model_that_only_its_metadata_names_is_priced_by_that_name() -> None:
    llm = BudgetedLLM(Ladder(Custom(), Custom()), budget=0.50)
    llm.complete("hello")
    (entry,) = llm.session.entries()
    assert (entry.model, entry.amount is not None) == ("gpt-4o", True)


class Unpriced(Custom):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="nobody-knows-its-price")


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("wait", [0, 5])
def test_a_dear_model_without_a_price_is_left_for_the_next(serve: Any, clamp: bool, wait: float) -> None:
    llm = BudgetedLLM(Ladder(Unpriced(), openai(serve(Reply("ok")))), budget=1, clamp=clamp, wait=wait)
    llm.chat(messages())
    (entry,) = llm.session.entries()
    assert (entry.model, entry.routed_why) == ("gpt-4o", "no price is known for nobody-knows-its-price")
    with pytest.raises(UnknownPrice):
        BudgetedLLM(Unpriced(), budget=1, clamp=clamp, wait=wait).chat(messages())


def test_it_asks_for_no_more_than_an_agents_budget_can_pay(serve: Any) -> None:
    server = serve(Reply("ok", input_tokens=10, output_tokens=2))
    llm = BudgetedLLM(openai(server), agent="analyst", agent_budgets={"analyst": 0.001})
    llm.chat(messages())
    assert 50 < server.requests[0].body["max_tokens"] < 100  # at $10 per million


# Each holds about 10 tokens and 200, and uses 10 and 5.
A_CALL = Reply("ok", input_tokens=10, output_tokens=5, delay=0.3)
DOLLAR = {"*": Price(input=1_000_000, output=1_000_000)}


def waiting(serve: Any, wait: float, budget: float = 300) -> tuple[Any, BudgetedLLM]:
    server = serve(A_CALL)
    model = openai(server, max_tokens=200)
    return server, BudgetedLLM(model, budget=budget, prices=DOLLAR, clamp=False, wait=wait)


def seen_at_once(llm: BudgetedLLM, how: str, run: Any) -> list[str]:
    """What three callers at once saw."""

    async def ask_it() -> Any:
        if how == "achat":
            return await llm.achat(messages())
        return [piece async for piece in await llm.astream_chat(messages())]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(ask_it() for _ in range(3)), return_exceptions=True)

    def one(_: int) -> Any:
        try:
            return llm.chat(messages()) if how == "chat" else list(llm.stream_chat(messages()))
        except BudgetExceeded as refusal:
            return refusal

    if how.startswith("a"):
        answers = run(all_of_them())
    else:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(one, range(3)))
    return sorted(type(answer).__name__ for answer in answers)


@pytest.mark.parametrize("how", ["chat", "stream_chat", "achat", "astream_chat"])
def test_it_may_wait_for_money_that_other_calls_hold(serve: Any, run: Any, how: str) -> None:
    server, llm = waiting(serve, wait=20)
    assert "BudgetExceeded" not in seen_at_once(llm, how, run)
    assert (server.request_count, llm.session.spent, llm.session.open_holds) == (3, 45, 0)
    assert [finding.type for finding in llm.session.findings if finding.type == "budget_exceeded"] == []


@pytest.mark.parametrize("how", ["chat", "achat"])
def test_it_waits_for_nothing_unless_told_and_not_for_what_is_spent(serve: Any, run: Any, how: str) -> None:
    server, llm = waiting(serve, wait=0)
    assert seen_at_once(llm, how, run).count("BudgetExceeded") == 2
    assert server.request_count == 1
    server, llm = waiting(serve, wait=60, budget=20)
    assert seen_at_once(llm, how, run) == ["BudgetExceeded"] * 3, "nothing is held that could come back"
    assert server.request_count == 0


@pytest.mark.parametrize("wrong", [{"wait": -1}, {"wait": "5"}, {"wait": True}, {"clamp": "no"}])
def test_a_wrong_setting_says_so(serve: Any, wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        BudgetedLLM(openai(serve()), budget=1, **wrong)


# A person is asked


def test_a_pause_is_refused_and_the_message_says_what_to_do(serve: Any) -> None:
    server = serve(Reply("ok", input_tokens=10, output_tokens=5))
    model = openai(server, max_tokens=2)
    with ApeirosHandler(budget=5, prices=DOLLAR, on={"budget_exceeded": "pause"}):
        for _ in range(2):
            with pytest.raises(BudgetExceeded) as refused:
                model.chat(messages())
    said = str(refused.value)
    assert said.count("cannot wait for a person in LlamaIndex") == 1
    assert said.endswith("or catch this, raise the budget and call again.")
    assert server.request_count == 0
    with (
        ApeirosHandler(prices=DOLLAR, on={"retry_loop": "pause"}),
        pytest.raises(StoppedByFinding) as stopped,
    ):
        for _ in range(4):
            model.chat(messages())
    assert "cannot wait for a person" in " ".join(stopped.value.__notes__)


@pytest.mark.parametrize("answer", ["warn", "raise"])
def test_a_function_may_ask_a_person(serve: Any, answer: str) -> None:
    server = serve(Reply("ok", input_tokens=10, output_tokens=5))
    asked: list[str] = []

    def ask_a_person(finding: Any) -> str:
        asked.append(finding.message)
        return answer

    with ApeirosHandler(budget=5, prices=DOLLAR, on={"budget_exceeded": ask_a_person}):
        model = openai(server, max_tokens=2)
        if answer == "warn":
            model.chat(messages())
        else:
            with pytest.raises(BudgetExceeded):
                model.chat(messages())
    assert len(asked) >= 1
    assert server.request_count == (answer == "warn")


def test_a_cut_stream_says_what_to_do_where_a_person_was_to_be_asked(serve: Any) -> None:
    server = serve(Reply(["word " * 20] * 100, chunk_delay=0.005))
    pause = {"budget_exceeded": "pause"}
    llm = BudgetedLLM(openai(server, max_tokens=30), budget=200, prices=DOLLAR, clamp=False, on=pause)
    with pytest.raises(BudgetExceeded, match="cannot wait for a person in LlamaIndex"):
        list(llm.stream_chat(messages()))

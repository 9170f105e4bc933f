"""A budget of $0.50 and six attempts at calls whose cost is known before sending."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import client
from tests.llama_index.ways import Flow, Word, answer, index

TOKENS = 1000
PROMPT = "word " * TOKENS
CLIENTS = ["openai", "anthropic"]
MESSAGES = [ChatMessage(role="user", content=PROMPT)]
TEMPLATE = PromptTemplate("{text}")


async def _drained(stream: Any) -> list[Any]:
    return [piece async for piece in stream]


async def _astream(model: Any) -> Any:
    return await _drained(await model.astream_chat(MESSAGES))


async def _astream_complete(model: Any) -> Any:
    return await _drained(await model.astream_complete(PROMPT))


def _query_stream(model: Any) -> Any:
    return list(index().as_query_engine(llm=model, streaming=True).query(PROMPT).response_gen)


async def _aquery_stream(model: Any) -> Any:
    response = await index().as_query_engine(llm=model, streaming=True).aquery(PROMPT)
    return await _drained(response.async_response_gen())


def _chat_engine(model: Any) -> Any:
    return SimpleChatEngine.from_defaults(llm=model)


async def _achat_engine_stream(model: Any) -> Any:
    return await _drained((await _chat_engine(model).astream_chat(PROMPT)).async_response_gen())


async def _agent(model: Any, **options: Any) -> Any:
    return await FunctionAgent(tools=[], llm=model, **options).run(PROMPT)


async def _react_agent(model: Any) -> Any:
    # Its own instructions have some 500 tokens.
    return await ReActAgent(tools=[], llm=model).run("word " * (TOKENS - 500))


async def _agents(model: Any) -> Any:
    only = FunctionAgent(name="only", description="Only.", tools=[], llm=model)
    return await AgentWorkflow(agents=[only], root_agent="only").run(PROMPT)


async def _workflow(model: Any) -> Any:
    return await Flow(model, MESSAGES).run()


PATHS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda model: model.chat(MESSAGES),
    "stream": lambda model: list(model.stream_chat(MESSAGES)),
    "complete": lambda model: model.complete(PROMPT),
    "stream complete": lambda model: list(model.stream_complete(PROMPT)),
    "predict": lambda model: model.predict(TEMPLATE, text=PROMPT),
    "structured": lambda model: model.structured_predict(Word, TEMPLATE, text=PROMPT),
    "query engine": lambda model: index().as_query_engine(llm=model).query(PROMPT),
    "query engine stream": _query_stream,
    "chat engine": lambda model: _chat_engine(model).chat(PROMPT),
    "chat engine stream": lambda model: list(_chat_engine(model).stream_chat(PROMPT).response_gen),
}
ASYNC_PATHS: dict[str, Callable[[Any], Any]] = {
    "achat": lambda model: model.achat(MESSAGES),
    "astream": _astream,
    "acomplete": lambda model: model.acomplete(PROMPT),
    "astream complete": _astream_complete,
    "apredict": lambda model: model.apredict(TEMPLATE, text=PROMPT),
    "astructured": lambda model: model.astructured_predict(Word, TEMPLATE, text=PROMPT),
    "aquery": lambda model: index().as_query_engine(llm=model).aquery(PROMPT),
    "aquery stream": _aquery_stream,
    "achat engine": lambda model: _chat_engine(model).achat(PROMPT),
    "achat engine stream": _achat_engine_stream,
    "agent": _agent,
    "agent, no streaming": lambda model: _agent(model, streaming=False),
    "react agent": _react_agent,
    "agent workflow": _agents,
    "workflow": _workflow,
}


def six(path: Callable[[Any], Any], model: Any, run: Any) -> list[Any]:
    async def once() -> Any:
        return await path(model)

    seen: list[Any] = []
    for _ in range(6):
        try:
            seen.append(run(once()) if path in ASYNC_PATHS.values() else path(model))
        except Exception as error:  # noqa: BLE001 - what the caller saw is what is tested
            seen.append(error)
    return seen


def budgeted(dollars_a_call: str) -> ApeirosHandler:
    price = Price(input=Decimal(dollars_a_call) * 1_000_000 / TOKENS, output=0)
    return ApeirosHandler(budget=0.50, prices={"*": price})


# Anthropic's structured output hands no usage on: what it costs is not known before, nor after.
WAYS = [
    pytest.param(name, path, id=f"{name}-{path}")
    for path in PATHS | ASYNC_PATHS
    for name in (["openai"] if "structured" in path else CLIENTS)
]


@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
@pytest.mark.parametrize(("name", "path"), WAYS)
@pytest.mark.parametrize(("dollars", "fit"), [("0.35", 1), ("0.10", 5)])
def test_as_many_calls_as_fit(
    serve: Any, run: Any, name: str, path: str, wrapped: bool, dollars: str, fit: int
) -> None:
    reply = Reply("ok", input_tokens=TOKENS, output_tokens=0)
    server = serve(lambda request: answer(request, reply))
    with budgeted(dollars) as handler:
        model = client(name, server)
        if name == "openai" and not wrapped:  # else its streams report nothing, and are counted
            model.additional_kwargs = {"stream_options": {"include_usage": True}}  # type: ignore[attr-defined]
        seen = six(
            (PATHS | ASYNC_PATHS)[path], BudgetedLLM(model, handler, clamp=False) if wrapped else model, run
        )
    session = handler.session
    assert server.request_count == fit
    assert session.spent == Decimal(dollars) * fit
    assert [entry.usage_certainty for entry in session.entries()] == ["reported"] * fit
    assert [isinstance(answer, BudgetExceeded) for answer in seen] == [False] * fit + [True] * (6 - fit)
    assert session.open_holds == 0

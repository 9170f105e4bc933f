"""A budget of $0.50 and six attempts at calls whose cost is known before sending."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import client
from tests.llama_index.ways import Flow, index

TOKENS = 1000
PROMPT = "word " * TOKENS
CLIENTS = ["openai", "anthropic"]
MESSAGES = [ChatMessage(role="user", content=PROMPT)]


async def _astream(model: Any) -> Any:
    return [chunk async for chunk in await model.astream_chat(MESSAGES)]


async def _agent(model: Any) -> Any:
    return await FunctionAgent(tools=[], llm=model, streaming=False).run(PROMPT)


async def _workflow(model: Any) -> Any:
    model_said = Flow(model)
    return await model_said.run()


PATHS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda model: model.chat(MESSAGES),
    "stream": lambda model: list(model.stream_chat(MESSAGES)),
    "complete": lambda model: model.complete(PROMPT),
    "predict": lambda model: model.predict(PromptTemplate("{text}"), text=PROMPT),
    "query engine": lambda model: index().as_query_engine(llm=model).query(PROMPT),
    "chat engine": lambda model: SimpleChatEngine.from_defaults(llm=model).chat(PROMPT),
    "achat": lambda model: model.achat(MESSAGES),
    "astream": _astream,
    "aquery": lambda model: index().as_query_engine(llm=model).aquery(PROMPT),
    "agent": _agent,
}


def six(path: Callable[[Any], Any], model: Any, run: Any) -> list[Any]:
    async def once() -> Any:
        return await path(model)

    seen: list[Any] = []
    for _ in range(6):
        try:
            is_async = path in {PATHS[name] for name in ("achat", "astream", "aquery", "agent")}
            seen.append(run(once()) if is_async else path(model))
        except Exception as error:  # noqa: BLE001 - what the caller saw is what is tested
            seen.append(error)
    return seen


def budgeted(dollars_a_call: str) -> ApeirosHandler:
    price = Price(input=Decimal(dollars_a_call) * 1_000_000 / TOKENS, output=0)
    return ApeirosHandler(budget=0.50, prices={"*": price})


@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("dollars", "fit"), [("0.35", 1), ("0.10", 5)])
def test_as_many_calls_as_fit(
    serve: Any, run: Any, name: str, path: str, wrapped: bool, dollars: str, fit: int
) -> None:
    server = serve(Reply("ok", input_tokens=TOKENS, output_tokens=0))
    with budgeted(dollars) as handler:
        model = client(name, server)
        if name == "openai" and not wrapped:  # else its streams report nothing, and are counted
            model.additional_kwargs = {"stream_options": {"include_usage": True}}  # type: ignore[attr-defined]
        seen = six(PATHS[path], BudgetedLLM(model, handler, clamp=False) if wrapped else model, run)
    session = handler.session
    assert server.request_count == fit
    assert session.spent == Decimal(dollars) * fit
    assert [entry.usage_certainty for entry in session.entries()] == ["reported"] * fit
    assert [isinstance(answer, BudgetExceeded) for answer in seen] == [False] * fit + [True] * (6 - fit)
    assert session.open_holds == 0

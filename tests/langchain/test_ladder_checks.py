"""A cheaper model takes over only what it can: it has a price, room for the prompt, and takes the tools."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent

from apeiros_callbacks import BudgetExceeded, Price, UnknownPrice
from apeiros_callbacks.routing import Ladder
from apeiros_callbacks.testing import Reply
from langchain_apeiros import ApeirosHandler, ApeirosMiddleware, with_downgrade
from tests.langchain.clients import openai

# A call of 800 + 200 tokens costs $10 on gpt-4o and $1 on any of the cheaper models.
DEAR, CHEAP = Price(input=10_000, output=10_000), Price(input=1_000, output=1_000)
THOUSAND = Reply("ok", input_tokens=800, output_tokens=200)
NO_TOOLS = {"tool_calling": False}


def look_up(word: str) -> str:
    """Look a word up."""
    return word


def asked(server: Any) -> list[str]:
    return [request.model for request in server.requests]


def models_of(server: Any, *names: str, **options: Any) -> list[Any]:
    return [openai(server, name, max_tokens=200, **options) for name in names]


def call_until_refused(model: Any, handler: ApeirosHandler, prompt: str = "hi") -> None:
    for _ in range(10):
        model.invoke(prompt, {"callbacks": [handler]})


def test_a_cheaper_model_without_a_price_is_not_taken(serve: Any) -> None:
    server = serve(THOUSAND)
    handler = ApeirosHandler(budget=35, prices={"gpt-4o": DEAR})
    model = with_downgrade(*ladder(server, "gpt-4o", "nobody-knows"), handler, at=[0.1])
    with pytest.raises(BudgetExceeded):
        call_until_refused(model, handler)
    assert asked(server) == ["gpt-4o"] * 3


def ladder(server: Any, dear: str, *cheaper: str) -> tuple[Any, list[Any]]:
    first, *others = models_of(server, dear, *cheaper)
    return first, others


def test_one_without_a_price_is_passed_over(serve: Any) -> None:
    server = serve(THOUSAND)
    handler = ApeirosHandler(budget=35, prices={"gpt-4o": DEAR, "gpt-4o-mini": CHEAP})
    model = with_downgrade(*ladder(server, "gpt-4o", "nobody-knows", "gpt-4o-mini"), handler, at=[0.2, 0.9])
    for _ in range(3):
        model.invoke("hi", {"callbacks": [handler]})
    assert asked(server) == ["gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]
    assert handler.session.entries()[-1].routed_from == "gpt-4o"


def test_a_dear_one_without_a_price_is_left_at_once_and_the_last_is_not(serve: Any) -> None:
    server = serve(THOUSAND)
    handler = ApeirosHandler(budget=35, prices={"gpt-4o-mini": CHEAP})
    with_downgrade(*ladder(server, "nobody-knows", "gpt-4o-mini"), handler).invoke("hi")
    with pytest.raises(UnknownPrice, match="nobody-knows"):
        with_downgrade(*ladder(server, "nobody-knows", "nor-this"), handler).invoke("hi")
    assert asked(server) == ["gpt-4o-mini"]
    assert handler.session.entries()[0].routed_why == "no price is known for nobody-knows"


@pytest.mark.parametrize("options", [{}, {"clamp": False, "wait": 5}, {"clamp": False}])
def test_an_agent_leaves_a_dear_one_without_a_price_too(serve: Any, options: Any) -> None:
    server = serve(THOUSAND)
    handler = ApeirosHandler(budget=35, prices={"gpt-4o-mini": CHEAP})
    dear, (cheap,) = ladder(server, "nobody-knows", "gpt-4o-mini")
    middleware = ApeirosMiddleware(handler, ladder=Ladder(dear, cheap), **options)
    create_agent(dear, [], middleware=[middleware]).invoke({"messages": [("user", "hi")]})
    assert asked(server) == ["gpt-4o-mini"]
    assert handler.session.entries()[0].routed_why == "no price is known for nobody-knows"


def test_a_cheaper_model_with_too_small_a_window_is_not_taken(serve: Any) -> None:
    server = serve(THOUSAND)
    handler = ApeirosHandler(budget=5_000, prices={"gpt-4o": DEAR, "gpt-3.5-turbo": CHEAP})
    model = with_downgrade(*ladder(server, "gpt-4o", "gpt-3.5-turbo"), handler, at=[0.001])
    model.invoke("hi", {"callbacks": [handler]})
    model.invoke("word " * 20_000, {"callbacks": [handler]})  # more than the 16,385 tokens of gpt-3.5-turbo
    model.invoke("hi", {"callbacks": [handler]})
    assert asked(server) == ["gpt-4o", "gpt-4o", "gpt-3.5-turbo"]


@pytest.mark.parametrize(("tools", "taken"), [(True, "gpt-4o"), (False, "gpt-4o-mini")])
def test_a_cheaper_model_without_tools_is_taken_for_calls_without_tools(
    serve: Any, tools: bool, taken: str
) -> None:
    server = serve(THOUSAND)
    handler = ApeirosHandler(budget=100, prices={"gpt-4o": DEAR, "gpt-4o-mini": CHEAP})
    [dear] = models_of(server, "gpt-4o")
    [cheap] = models_of(server, "gpt-4o-mini", profile=NO_TOOLS)
    model: Any = with_downgrade(dear, [cheap], handler, at=[0.05])
    model = model.bind_tools([look_up]) if tools else model
    for _ in range(2):
        model.invoke("hi", {"callbacks": [handler]})
    assert asked(server) == ["gpt-4o", taken]


def test_an_agent_with_tools_passes_over_a_model_without(serve: Any) -> None:
    server = serve(THOUSAND)
    prices = {"gpt-4o": DEAR, "gpt-4.1-mini": CHEAP, "gpt-4o-mini": CHEAP}
    handler = ApeirosHandler(budget=100, prices=prices)
    dear, cheapest = models_of(server, "gpt-4o", "gpt-4o-mini")
    [cheap] = models_of(server, "gpt-4.1-mini", profile=NO_TOOLS)
    middleware = ApeirosMiddleware(handler, ladder=Ladder(dear, cheap, cheapest, at=[0.05, 0.9]))
    agent: Any = create_agent(dear, [look_up], middleware=[middleware])
    for _ in range(2):
        agent.invoke({"messages": [("user", "hi")]}, {"callbacks": [handler]})
    assert asked(server) == ["gpt-4o", "gpt-4o-mini"]

"""A budget of $0.50 and six attempts at calls whose cost is known before sending."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import client
from tests.langchain.paths import CONCURRENT, SEQUENTIAL, TORN_DOWN, Path

TOKENS = 10_000  # beside which the system prompt for tools, 500 with Claude, is little
PROMPT = "word " * TOKENS
CLIENTS = ["openai", "anthropic"]


def budgeted(dollars_a_call: str, **options: Any) -> ApeirosHandler:
    price = Price(input=Decimal(dollars_a_call) * 1_000_000 / TOKENS, output=0)
    return ApeirosHandler(budget=0.50, prices={"*": price}, **options)


def names(paths: list[Path]) -> list[str]:
    return [path.__name__ for path in paths]


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("path", SEQUENTIAL + CONCURRENT, ids=names(SEQUENTIAL + CONCURRENT))
def test_one_call_of_35_cents_fits(serve: Any, name: str, path: Path) -> None:
    server = serve(Reply("ok", input_tokens=TOKENS, output_tokens=0))
    handler = budgeted("0.35")
    seen = path(client(name, server, **usage_in_streams(name)), handler, PROMPT)
    session = handler.session
    assert server.request_count == 1
    assert session.spent == Decimal("0.35")
    assert [(entry.amount, entry.usage_certainty) for entry in session.entries()] == [
        (Decimal("0.35"), "reported")
    ]
    assert session.open_holds == 0
    assert any(isinstance(answer, BudgetExceeded) for answer in seen)
    assert [finding.type for finding in session.findings] == ["budget_exceeded"]


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("path", SEQUENTIAL, ids=names(SEQUENTIAL))
def test_five_calls_of_10_cents_fit(serve: Any, name: str, path: Path) -> None:
    server = serve(Reply("ok", input_tokens=TOKENS, output_tokens=0))
    handler = budgeted("0.10")
    seen = path(client(name, server, **usage_in_streams(name)), handler, PROMPT)
    assert server.request_count == 5
    assert handler.session.spent == Decimal("0.50")
    assert handler.session.remaining == 0
    assert [isinstance(answer, BudgetExceeded) for answer in seen] == [False] * 5 + [True]
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("path", TORN_DOWN, ids=names(TORN_DOWN))
def test_a_loop_that_is_torn_down_leaves_nothing_open(serve: Any, name: str, path: Path) -> None:
    server = serve(Reply("ok", input_tokens=TOKENS, output_tokens=0))
    handler = budgeted("0.35")
    seen = path(client(name, server), handler, PROMPT)
    session = handler.session
    assert isinstance(seen[0], BudgetExceeded)
    assert server.request_count in {0, 1}
    assert len(session.entries()) == server.request_count
    assert session.open_holds == 0
    assert session.spent == sum((entry.amount or 0 for entry in session.entries()), Decimal(0))


def test_the_listed_price_is_enforced_the_same(serve: Any) -> None:
    tokens = 140_000  # at $2.50 per million: $0.35
    server = serve(Reply("ok", input_tokens=tokens, output_tokens=0))
    handler = ApeirosHandler(budget=0.50)
    model = client("openai", server)
    prompt = "word " * tokens
    model.invoke(prompt, {"callbacks": [handler]})
    with pytest.raises(BudgetExceeded, match=r"budget of \$0\.50 .* \$0\.35 spent"):
        model.invoke(prompt, {"callbacks": [handler]})
    assert server.request_count == 1
    [entry] = handler.session.entries()
    assert (entry.amount, entry.price_certainty) == (Decimal("0.35"), "listed")


def usage_in_streams(name: str) -> dict[str, Any]:
    """OpenAI streams report no usage unless asked, and ChatOpenAI does not ask with a base_url."""
    return {"stream_usage": True} if name == "openai" else {}

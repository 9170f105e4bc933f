"""A customer's cap in LangChain: one for handlers, sessions without ``callbacks=``, and tasks by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

import apeiros_callbacks as apeiros
from apeiros_callbacks import ApeirosAgent, BudgetExceeded, Price, Slack, Webhook, meter, set_customer
from apeiros_callbacks.alerts import outbox
from apeiros_callbacks.testing import Reply
from langchain_apeiros import ApeirosHandler
from tests.contract.entries import until
from tests.langchain.clients import client
from tests.unit.alert_server import AlertServer

DOLLAR = Price(input=100_000, output=100_000)
TEN_TOKENS = Reply("ok", input_tokens=8, output_tokens=2)
"""A dollar."""


@pytest.fixture(autouse=True)
def own_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("APEIROS_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    yield
    apeiros.uninstrument()


def ask(model: Any, *handlers: ApeirosHandler, **metadata: str) -> None:
    model.invoke("hi", {"callbacks": list(handlers), "metadata": metadata})


def test_one_cap_for_handlers_sessions_and_tasks(serve: Any) -> None:
    set_customer("acme", monthly=3.5, timezone="Europe/Berlin")
    server = serve(TEN_TOKENS)
    model = client("openai", server, max_tokens=2)
    prices = {"*": DOLLAR}

    named = ApeirosHandler(customer="acme", prices=prices)
    ask(model, named)
    by_metadata = ApeirosHandler(customer=lambda metadata: metadata["customer"], prices=prices)
    ask(model, by_metadata, customer="acme")
    with ApeirosAgent("acme", "claude-3-5-sonnet") as agent:
        agent.start_task("by hand")
        agent.update_tokens(125_000)
    assert meter("acme")["spend"] == 3

    apeiros.instrument()
    apeiros.start_session(customer="acme", prices=prices)
    for handlers in ((), (named,), (by_metadata,)):
        with pytest.raises(BudgetExceeded, match=r"budget of \$3\.50 for customer acme in"):
            ask(model, *handlers, customer="acme")
    warnings = apeiros.end_session()["warnings"]
    assert [warning["type"] for warning in warnings] == ["budget_exceeded"]
    ask(model, by_metadata, customer="globex")
    assert server.request_count == 3
    assert {name: one["spend"] for name, one in meter().items()} == {"acme": 3, "globex": 1}
    assert [line["cost_estimate"] for line in ApeirosAgent._registry["acme"]] == [1, 1, 1]


def test_the_loop_does_not_wait_for_alerts(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_FIRST_RETRY", 0.01)
    with AlertServer() as gone:
        port = gone.port
    model = client("openai", serve(TEN_TOKENS), max_tokens=2)
    model.invoke("hi")  # the clients' own first call reads files

    with AlertServer() as slack:
        slack.answering.clear()
        to = [Slack(slack.url), Webhook(f"http://127.0.0.1:{port}/")]
        handler = ApeirosHandler(budget=3.5, prices={"*": DOLLAR}, alerts=to, ledger="memory:")

        async def run() -> None:
            with pytest.raises(BudgetExceeded):
                for _ in range(4):
                    await model.ainvoke("hi", {"callbacks": [handler]})

        with blockbuster_ctx(["apeiros_callbacks", "langchain_apeiros"]):
            asyncio.run(run())
        session = handler.session
        assert session.health.failures == 0
        assert session.spent == 3
        until(lambda: session.health.alert_failure)
        assert session.health.alerts_waiting == 4
        slack.answering.set()
        with AlertServer(port) as webhook:
            until(lambda: session.health.alerts_waiting == 0)
    assert [len(endpoint.posts) for endpoint in (slack, webhook)] == [2, 2]

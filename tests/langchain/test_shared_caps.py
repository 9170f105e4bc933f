"""A cap of a customer, in LangChain's two worlds: a thread waits for it, an event loop never does."""

from __future__ import annotations

import asyncio
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from langchain.agents import create_agent

from apeiros_callbacks import BudgetExceeded, Session
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.ledger.allowance import Allowance
from apeiros_callbacks.testing import Reply, ToolCall
from langchain_apeiros import ApeirosHandler, ApeirosMiddleware
from tests.langchain.clients import client

REPLY = Reply("ok", input_tokens=1_000, output_tokens=100)  # $0.0035 at gpt-4o's listed price


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}[request.param]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scopes that somebody waited for."""
    scopes: list[str] = []
    want = Allowance.want

    def noted(allowance: Allowance, need: int) -> Any:
        scopes.append(allowance.scope)
        return want(allowance, need)

    monkeypatch.setattr(Allowance, "want", noted)
    return scopes


def scope_total(session: Session) -> Decimal:
    return sum((one.amount for one in session.ledger.totals("customer:acme/")), Decimal(0))


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_loop_never_waits_for_a_cap(serve: Any, url: str, name: str, waits: list[str]) -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    server = serve(
        Reply("warmed up"),
        Reply(tool_calls=[ToolCall("look_up", {"word": "x"})], input_tokens=1000, output_tokens=10),
        Reply(["some ", "words"], input_tokens=1100, output_tokens=10),
    )
    model = client(name, server)
    model.invoke("hello")  # the clients' own first call reads files
    with closing(open_ledger(url)) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=1))

        async def run() -> ApeirosHandler:
            handler = ApeirosHandler(customer="acme", ledger=ledger)
            config: Any = {"callbacks": [handler]}
            agent: Any = create_agent(model, [look_up], middleware=[ApeirosMiddleware(handler)])
            await agent.ainvoke({"messages": [("user", "look x up")]}, config)
            async for _ in model.astream("hello", config):
                pass
            await asyncio.gather(*(model.ainvoke(f"hello {i}", config) for i in range(20)))
            return handler

        with blockbuster_ctx(["apeiros_callbacks", "langchain_apeiros"]):
            session = asyncio.run(run()).session
        assert session.health.failures == 0
        assert session.open_holds == 0
        assert len([one for one in session.entries() if one.kind == "llm"]) == server.request_count - 1
        assert scope_total(session) == session.spent > 0
        assert bool(waits) == (url != "memory:"), "the first call asks the ledger"
        assert len(waits) < 25, "and most calls do not"


async def calls_until_refused(handler: ApeirosHandler, model: Any) -> int:
    count = 0
    with pytest.raises(BudgetExceeded, match="customer acme in"):
        while True:
            await model.ainvoke("hello", {"callbacks": [handler]})
            count += 1
    return count


def test_calls_on_a_loop_are_refused_by_the_cap(serve: Any, url: str) -> None:
    model = client("openai", serve(REPLY), max_tokens=100)
    model.invoke("hello")
    with closing(open_ledger(url)) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=Decimal("0.02")))
        handler = ApeirosHandler(customer="acme", ledger=ledger)

        async def run() -> int:
            return await calls_until_refused(handler, model)

        with blockbuster_ctx(["apeiros_callbacks", "langchain_apeiros"]):
            assert asyncio.run(run()) >= 5
        assert scope_total(handler.session) <= Decimal("0.02") + Decimal("0.0035")
        assert handler.session.open_holds == 0


def test_calls_of_threads_are_refused_by_the_cap(serve: Any, url: str) -> None:
    model = client("openai", serve(REPLY), max_tokens=100)
    with closing(open_ledger(url)) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=Decimal("0.02")))
        handler = ApeirosHandler(customer=lambda metadata: metadata["who"], ledger=ledger)
        for who in ("acme", "zoo", "acme"):
            model.invoke("hello", {"callbacks": [handler], "metadata": {"who": who}})
        with pytest.raises(BudgetExceeded, match="customer acme in"):
            for _ in range(10):
                model.invoke("hello", {"callbacks": [handler], "metadata": {"who": "acme"}})
        model.invoke("hello", {"callbacks": [handler], "metadata": {"who": "zoo"}})


def test_a_stream_on_a_loop_is_cut_at_the_cap(serve: Any, url: str) -> None:
    server = serve(Reply(["word " * 200] * 100, input_tokens=10, output_tokens=20_000))
    model = client("openai", server, max_tokens=64_000)
    with closing(open_ledger(url)) as ledger:
        # A cold call holds 2,048 tokens for its answer, two cents, and asks for more as it grows.
        ledger.set_cap(Cap("customer:acme", usd=Decimal("0.10")))
        handler = ApeirosHandler(customer="acme", ledger=ledger)

        async def run() -> int:
            count = 0
            with pytest.raises(BudgetExceeded, match="was cut"):
                async for _ in model.astream("hello", {"callbacks": [handler]}):
                    count += 1
            return count

        with blockbuster_ctx(["apeiros_callbacks", "langchain_apeiros"]):
            pieces = asyncio.run(run())
        assert 20 < pieces < 90
        assert Decimal("0.05") < scope_total(handler.session) <= Decimal("0.11")
        assert handler.session.health.failures == 0


def test_a_task_that_is_cancelled_while_it_waits_holds_nothing(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(REPLY)
    model = client("openai", server, max_tokens=100)
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=1))
        handler = ApeirosHandler(customer="acme", ledger=ledger)
        allowances = ledger.allowances

        async def run() -> None:
            waiting = asyncio.Event()
            want = allowances.want

            def noted(allowance: Allowance, need: int) -> Any:
                waiting.set()
                return want(allowance, need)

            with monkeypatch.context() as patch:
                patch.setattr(allowances, "want", noted)
                patch.setattr(allowances, "_ring", lambda: None)  # nobody answers
                task = asyncio.create_task(model.ainvoke("hello", {"callbacks": [handler]}))
                await waiting.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await calls(1) == 1

        async def calls(count: int) -> int:
            for _ in range(count):
                await model.ainvoke("hello", {"callbacks": [handler]})
            return count

        asyncio.run(run())
        assert server.request_count == 1
        assert handler.session.open_holds == 0
        (allowance,) = allowances.all()
        assert allowance.held.nano == 0

"""An event loop is never made to wait on a disk or a lock."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from langchain.agents import create_agent

from apeiros_callbacks import BudgetExceeded
from apeiros_callbacks.testing import Reply, ToolCall
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import client


@pytest.mark.parametrize("ledger", ["memory", "sqlite"])
@pytest.mark.parametrize("made", ["in the loop", "before it"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_loop_never_waits(serve: Any, tmp_path: Path, name: str, made: str, ledger: str) -> None:
    url = "memory:" if ledger == "memory" else f"sqlite:///{tmp_path / 'ledger.db'}"

    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    server = serve(
        Reply("warmed up"),
        Reply(tool_calls=[ToolCall("look_up", {"word": "x"})], input_tokens=1000, output_tokens=10),
        Reply(["some ", "words"], input_tokens=1100, output_tokens=10),
    )
    model = client(name, server)
    before = ApeirosHandler(budget=0.50, ledger=url) if made == "before it" else None

    async def run() -> ApeirosHandler:
        handler = before or ApeirosHandler(budget=0.50, ledger=url)
        config: Any = {"callbacks": [handler]}
        agent: Any = create_agent(model, [look_up])
        await agent.ainvoke({"messages": [("user", "look x up")]}, config)
        async for _ in model.astream("hello", config):
            pass
        await asyncio.gather(*(model.ainvoke(f"hello {i}", config) for i in range(20)))
        handler.session.raise_budget(to=0.0001)
        with pytest.raises(BudgetExceeded):
            await model.ainvoke("one too many", config)
        return handler

    model.invoke("hello")  # the clients' own first call reads files
    with blockbuster_ctx(["apeiros_callbacks", "langchain_apeiros"]):
        handler = asyncio.run(run())
    entries = handler.session.entries()
    assert [entry.kind for entry in entries].count("tool") == 1
    assert len(entries) == server.request_count - 1 + 1  # without the warm-up, with the tool
    assert handler.session.spent == sum((entry.amount or 0 for entry in entries), Decimal(0))
    # A blocking call in a hook that records would be counted here, not raised.
    assert handler.session.health.failures == 0
    handler.session.ledger.close()

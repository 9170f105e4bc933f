"""An event loop is never made to wait on a disk or a lock."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from llama_index.core.agent.workflow import FunctionAgent

from apeiros_callbacks import BudgetExceeded
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedEmbedding, BudgetedLLM
from tests.llama_index.clients import client, embedding
from tests.llama_index.ways import answer, ask, messages

# The agents', the clients' and the embeddings' own first calls read files; ours do not.
OURS = ["apeiros_callbacks", "llama_index.callbacks.apeiros"]


@pytest.mark.parametrize("ledger", ["memory", "sqlite"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_loop_never_waits(
    serve: Any, run: Any, tmp_path: Path, name: str, wrapped: bool, ledger: str
) -> None:
    url = "memory:" if ledger == "memory" else f"sqlite:///{tmp_path / 'ledger.db'}"
    server = serve(lambda request: answer(request, Reply("ok", input_tokens=10, output_tokens=2)))
    plain = client(name, server)

    async def work() -> ApeirosHandler:
        with ApeirosHandler(budget=0.50, ledger=url) as handler:
            model: Any = BudgetedLLM(plain, handler) if wrapped else plain
            texts: Any = embedding(server)
            await FunctionAgent(tools=[ask], llm=model).run("hello")
            async for _ in await model.astream_chat(messages()):
                pass
            await asyncio.gather(*(model.achat(messages()) for _ in range(20)))
            await (BudgetedEmbedding(texts, handler) if wrapped else texts).aget_text_embedding("hello")
            handler.session.raise_budget(to=0.0001)
            with pytest.raises(BudgetExceeded):
                await model.achat(messages())
        return handler

    run(_warm_up(plain, server))
    before = server.request_count
    with blockbuster_ctx(OURS):
        handler = run(work())
    entries = handler.session.entries()
    assert [entry.kind for entry in entries].count("tool") == 1
    assert len(entries) == server.request_count - before + 1
    assert handler.session.spent == sum((entry.amount or 0 for entry in entries), Decimal(0))
    # A blocking call in a handler that the dispatcher swallows would be counted here.
    assert (handler.session.health.failures, handler.session.open_holds) == (0, 0)
    handler.session.ledger.close()


async def _warm_up(model: Any, server: Any) -> None:
    await FunctionAgent(tools=[ask], llm=model).run("hello")
    await model.achat(messages())
    await embedding(server).aget_text_embedding("hello")

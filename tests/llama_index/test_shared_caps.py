"""A cap of a customer, in LlamaIndex's two worlds: a thread waits for it, an event loop never does."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from apeiros_callbacks import BudgetExceeded
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.ledger.allowance import Allowance
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedEmbedding, BudgetedLLM
from tests.llama_index.clients import client, embedding
from tests.llama_index.ways import messages

REPLY = Reply("ok", input_tokens=1_000, output_tokens=100)  # $0.0035 at gpt-4o's listed price


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


@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_loop_never_waits_for_a_cap(
    serve: Any, run: Any, tmp_path: Path, name: str, wrapped: bool, waits: list[str]
) -> None:
    server = serve(REPLY)
    plain, texts = client(name, server, max_tokens=100), embedding(server)

    async def work(handler: ApeirosHandler) -> None:
        model: Any = BudgetedLLM(plain, handler, clamp=False) if wrapped else plain
        await model.achat(messages())
        async for _ in await model.astream_chat(messages()):
            pass
        await (BudgetedEmbedding(texts, handler) if wrapped else texts).aget_query_embedding("hello")
        with pytest.raises(BudgetExceeded, match="acme"):
            for _ in range(20):
                await model.achat(messages())

    run(plain.achat(messages()))  # the clients' own first calls read files
    run(texts.aget_query_embedding("hello"))
    before = server.request_count
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=Decimal("0.02")))
        with ApeirosHandler(customer="acme", ledger=ledger) as handler:
            with blockbuster_ctx(["apeiros_callbacks", "llama_index.callbacks.apeiros"]):
                run(work(handler))
            session = handler.session
            assert len(session.entries()) == server.request_count - before > 3
            assert session.spent <= Decimal("0.02")
            assert (session.open_holds, session.health.failures) == (0, 0)
    assert waits, "there was something to wait for"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_is_cut_at_the_cap(serve: Any, run: Any, tmp_path: Path, is_async: bool) -> None:
    server = serve(Reply(["word " * 200] * 200, chunk_delay=0.002))
    model = client("openai", server, max_tokens=50)
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=Decimal("0.10")))
        llm = BudgetedLLM(model, ApeirosHandler(customer="acme", ledger=ledger), clamp=False)
        with pytest.raises(BudgetExceeded) as cut:
            if is_async:
                run(_read(llm))
            else:
                list(llm.stream_chat(messages()))
        assert cut.value.mid_stream
        assert (len(llm.session.entries()), llm.session.open_holds) == (1, 0)
        assert Decimal("0.05") < llm.session.spent < Decimal("0.12")
    server.wait_until_idle()
    assert server.requests[0].disconnected


async def _read(llm: Any) -> None:
    async for _ in await llm.astream_chat(messages()):
        pass

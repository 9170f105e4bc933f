"""Every way to call a model, crossed with every way in which a call can end, for each client.

    pytest tests/llama_index/test_table.py -s     prints the table

In each cell: the requests that reached the server, the ledger's entries and how certain they are, the holds
that are left open, and what the caller saw. The handler alone cannot cut a stream, so that this end is
`BudgetedLLM`'s. ``APEIROS_LONG=1`` crosses the wrapper and OpenAI's responses with everything.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from apeiros_callbacks import Price
from apeiros_callbacks.testing import Reply, ScriptedServer
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedEmbedding, BudgetedLLM
from tests.llama_index.clients import client, embedding
from tests.llama_index.ways import EMBEDDINGS, WAYS, WORDS, Way, answer

CLIENTS = ["openai", "anthropic", "responses", "embeddings"]
OUTCOMES = ["ok", "error", "cancel", "abandon", "cap before", "cap mid-stream"]
A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
OF_RESPONSES = {
    "chat", "achat", "stream_chat", "astream_chat", "structured_predict", "astream_structured_predict",
    "FunctionAgent",
}  # fmt: skip
SILENT = {"anthropic", "responses"}
"""Whose structured output LlamaIndex does not report."""


class Cell(NamedTuple):
    """What one run came to."""

    requests: int
    entries: dict[str, int]
    open_holds: int
    saw: str


def impossible(name: str, way: Way, outcome: str, wrapped: bool) -> str:
    """Why there is no such cell; empty where there is one."""
    if outcome == "cancel" and not way.is_async:
        return "nothing can cancel a sync call"
    if way.embeds:
        return impossible_embedding(way, outcome, wrapped)
    if outcome == "abandon" and not (way.streams or way.is_async):
        return "nothing can leave a sync call"
    if outcome == "cap mid-stream" and (
        not (way.streams or way.in_pieces) or (way.structured and name == "anthropic")
    ):
        return "the answer comes at once"
    if outcome == "cap mid-stream" and not wrapped:
        return "the handler alone cannot cut a stream"
    if way.structured and outcome == "cap before" and not wrapped and is_silent(name, way):
        return "LlamaIndex does not report it: only the wrapper refuses it"
    if name != "anthropic" and outcome in {"cancel", "abandon"} and way is WAYS["chat engine async stream"]:
        return "what it has started reads on, in a thread of its own"
    return ""


def impossible_embedding(way: Way, outcome: str, wrapped: bool) -> str:
    if outcome == "abandon" and not way.is_async:
        return "nothing can leave a sync call"
    if outcome == "cap mid-stream":
        return "the answer comes at once"
    if is_in_the_dark(way) and outcome == "cap before" and not wrapped:
        return "LlamaIndex asks no limiter: only the wrapper refuses it"
    return ""


def is_in_the_dark(way: Way) -> bool:
    """Whether nothing tells the handler alone which requests are sent. Here all are, before any ends."""
    return way is EMBEDDINGS["embed batch async cached"]


def is_silent(name: str, way: Way) -> bool:
    return way.structured and name in SILENT


def cells() -> Iterator[Any]:
    everything = bool(os.environ.get("APEIROS_LONG"))
    for name in CLIENTS:
        for wrapped in (False, True):
            for title, way in (EMBEDDINGS if name == "embeddings" else WAYS).items():
                for outcome in OUTCOMES:
                    if impossible(name, way, outcome, wrapped):
                        continue
                    # What the wrapper does itself, and of the third client what differs.
                    if (
                        everything
                        or (
                            (not wrapped or outcome in {"ok", "cap before", "cap mid-stream"})
                            and (name != "responses" or title in OF_RESPONSES)
                        )
                        or way.embeds
                    ):
                        shown = "wrapper" if wrapped else "handler"
                        yield pytest.param(
                            name, wrapped, title, outcome, id=f"{name}-{shown}-{title}-{outcome}"
                        )


@pytest.fixture(scope="module")
def table() -> Iterator[dict[Any, Cell]]:
    found: dict[Any, Cell] = {}
    yield found
    for (name, wrapped, way, outcome), cell in found.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in cell.entries.items()) or "no entry"
        shown = "wrapper" if wrapped else "handler"
        print(f"{name:10} {shown:8} {way:28} {outcome:15} {cell.requests} requests, {kinds}, {cell.saw}")


def reply_for(way: Way, outcome: str) -> Reply:
    if outcome == "error":
        return Reply(status=400, error="no", delay=0.2 if is_in_the_dark(way) else 0)
    if outcome == "cancel" or (outcome == "abandon" and not way.streams):
        return Reply("too late", delay=30)
    if outcome == "cap mid-stream":
        return Reply(["word " * 50] * 60, input_tokens=10, output_tokens=3000, chunk_delay=0.01)
    pause = 0.01 if outcome == "abandon" else 0
    return Reply(WORDS, input_tokens=10, output_tokens=60, chunk_delay=pause)


def stop_for(way: Way, outcome: str) -> int | None:
    """After how many pieces to leave; None to read all."""
    return None if outcome != "abandon" else 1 if way.structured else 8


def budget_for(outcome: str) -> float:
    # A prompt has about 10 tokens, an agent's about 700, at a dollar each; a call may write 20.
    return {"cap before": 5, "cap mid-stream": 1_200}.get(outcome, 100_000)


async def cancelled(way: Way, model: Any, server: ScriptedServer) -> None:
    running = asyncio.create_task(way.run(model, None))
    await asyncio.to_thread(server.wait_for_requests, way.in_all if is_in_the_dark(way) else 1, 20)
    running.cancel()
    await running


async def left(way: Way, model: Any, server: ScriptedServer) -> None:
    """Go away while it is under way: the event loop ends it."""
    running = asyncio.create_task(way.run(model, None))
    await asyncio.to_thread(server.wait_for_requests, way.in_all if is_in_the_dark(way) else 1, 20)
    assert not running.done()


def model_for(name: str, way: Way, wrapped: bool, outcome: str, server: ScriptedServer, handler: Any) -> Any:
    if way.embeds:
        cache = SimpleKVStore() if way.cached else None
        texts = embedding(server, embed_batch_size=2, embeddings_cache=cache)
        return BudgetedEmbedding(texts, handler) if wrapped else texts
    options: dict[str, Any] = {"max_tokens": 20} if outcome in {"cap before", "cap mid-stream"} else {}
    model = client(name, server, **options)
    return BudgetedLLM(model, handler, clamp=False) if wrapped else model


# A chat engine reads its stream in a thread of its own, which raises what the caller is told once more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("name", "wrapped", "title", "outcome"), list(cells()))
def test_a_cell(serve: Any, table: Any, name: str, wrapped: bool, title: str, outcome: str) -> None:
    way = (WAYS | EMBEDDINGS)[title]
    reply = reply_for(way, outcome)
    server = serve((lambda request: answer(request, reply)) if not reply.error and not reply.delay else reply)
    saw = "an answer"
    with ApeirosHandler(budget=budget_for(outcome), prices=A_DOLLAR_A_TOKEN) as handler:
        model = model_for(name, way, wrapped, outcome, server, handler)
        try:
            if outcome == "cancel":
                asyncio.run(cancelled(way, model, server))
            elif outcome == "abandon" and not way.streams:
                asyncio.run(left(way, model, server))
            else:
                result = way.run(model, stop_for(way, outcome))
                if way.is_async:
                    asyncio.run(result)
        except BaseException as error:  # noqa: BLE001 - what the caller saw is what is tested
            saw = type(error).__name__
            del error
    result = None
    if outcome in {"abandon", "cap mid-stream"}:
        gc.collect()
    session = handler.session
    lines = [entry for entry in session.entries() if entry.kind != "tool"]
    server.wait_for_requests(len(lines))
    server.wait_until_idle()
    kinds = dict(Counter(line.usage_certainty for line in lines))
    cell = Cell(server.request_count, kinds, session.open_holds, saw)
    table[name, wrapped, title, outcome] = cell

    assert cell.open_holds == 0
    assert session.health.failures == 0
    assert sum(kinds.values()) == cell.requests, "an entry for each request, and no other"
    assert session.spent == sum(entry.amount or 0 for entry in session.entries())
    if way.embeds:
        check_embedding(cell, way, outcome, session)
    else:
        check(cell, name, wrapped, way, outcome, server, session)


def check(
    cell: Cell, name: str, wrapped: bool, way: Way, outcome: str, server: ScriptedServer, session: Any
) -> None:
    known = "reported"
    if is_silent(name, way) or (name == "openai" and not wrapped and (way.streams or way.in_pieces)):
        known = "estimated"  # OpenAI's streams report nothing unless they are asked to
    if outcome == "ok":
        if known == "reported" or not way.structured:
            assert cell == Cell(way.in_all, {known: way.in_all}, 0, "an answer")
        assert (cell.requests, cell.saw) == (way.in_all, "an answer")
        assert session.state()["calls"] == way.in_all
    elif outcome == "error":
        assert (cell.requests, cell.entries, session.spent) == (1, {"assumed": 1}, 0)
        assert cell.saw != "an answer"
    elif outcome == "cancel":
        assert (cell.requests, cell.entries) == (1, {"estimated": 1})
        assert cell.saw == "CancelledError"
    elif outcome == "abandon":
        assert (cell.requests, cell.entries, cell.saw) == (1, {"estimated": 1}, "an answer")
    elif outcome == "cap before":
        assert (cell.requests, cell.entries, cell.saw) == (0, {}, "BudgetExceeded")
    else:
        assert (cell.entries.get("estimated"), cell.saw) == (1, "BudgetExceeded")
        [*_, request] = server.requests
        assert request.disconnected, "the provider was told to stop"
        assert not request.finished
        # The arguments of a tool call come in smaller pieces.
        assert request.chunks_sent < (1_000 if way.structured else len(WORDS))


def check_embedding(cell: Cell, way: Way, outcome: str, session: Any) -> None:
    """Their usage is never reported. Of the requests of a batch in tasks, some may not have been sent."""
    entries = session.entries()
    if outcome == "ok":
        assert cell == Cell(way.in_all, {"estimated": way.in_all}, 0, "an answer")
    elif outcome == "error":
        assert cell.saw == "BadRequestError"
        assert 1 <= cell.requests <= (way.in_all if way.is_async else 1)
        if cell.entries == {"unresolved": cell.requests}:
            assert is_in_the_dark(way)
            return
        failed = [entry for entry in entries if entry.error == "BadRequestError 400"]
        # One that fails ends the others, which may have been answered.
        assert failed
        assert {(entry.usage_certainty, entry.amount) for entry in failed} == {("assumed", 0)}
        assert {entry.error for entry in entries if entry not in failed} <= {"CancelledError"}
    elif outcome in {"cancel", "abandon"}:
        assert cell.saw == ("CancelledError" if outcome == "cancel" else "an answer")
        assert 1 <= cell.requests <= way.in_all
        assert cell.entries in ({"estimated": cell.requests}, {"unresolved": cell.requests})
        assert all(entry.amount for entry in entries)
    else:
        assert (cell.requests, cell.entries, cell.saw) == (0, {}, "BudgetExceeded")

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

from apeiros_callbacks import Price
from apeiros_callbacks.testing import Reply, ScriptedServer
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import client
from tests.llama_index.ways import WAYS, WORDS, Way, answer

CLIENTS = ["openai", "anthropic", "responses"]
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
    if outcome == "abandon" and not way.streams:
        return "nothing is read piece by piece"
    if outcome == "cap mid-stream" and (way.structured or not (way.streams or way.in_pieces)):
        return "the answer comes at once"
    if outcome == "cap mid-stream" and not wrapped:
        return "the handler alone cannot cut a stream"
    if way.structured and outcome == "cap before" and not wrapped and is_silent(name, way):
        return "LlamaIndex does not report it: only the wrapper refuses it"
    if name != "anthropic" and outcome == "cancel" and way is WAYS["chat engine async stream"]:
        return "what it has started reads on, in a thread of its own"
    return ""


def is_silent(name: str, way: Way) -> bool:
    return way.structured and name in SILENT


def cells() -> Iterator[Any]:
    everything = bool(os.environ.get("APEIROS_LONG"))
    for name in CLIENTS:
        for wrapped in (False, True):
            for title, way in WAYS.items():
                for outcome in OUTCOMES:
                    if impossible(name, way, outcome, wrapped):
                        continue
                    # What the wrapper does itself, and of the third client what differs.
                    if everything or (
                        (not wrapped or outcome in {"ok", "cap before", "cap mid-stream"})
                        and (name != "responses" or title in OF_RESPONSES)
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


def reply_for(outcome: str) -> Reply:
    if outcome == "error":
        return Reply(status=400, error="no")
    if outcome == "cancel":
        return Reply("too late", delay=30)
    if outcome == "cap mid-stream":
        return Reply(["word " * 50] * 60, input_tokens=10, output_tokens=3000, chunk_delay=0.01)
    pause = 0.01 if outcome == "abandon" else 0
    return Reply(WORDS, input_tokens=10, output_tokens=60, chunk_delay=pause)


def budget_for(outcome: str) -> float:
    # A prompt has about 10 tokens, an agent's about 700, at a dollar each; a call may write 20.
    return {"cap before": 5, "cap mid-stream": 1_200}.get(outcome, 100_000)


async def cancelled(way: Way, model: Any, server: ScriptedServer) -> None:
    running = asyncio.create_task(way.run(model, None))
    await asyncio.to_thread(server.wait_for_requests, 1, 20)
    running.cancel()
    await running


def model_for(name: str, wrapped: bool, outcome: str, server: ScriptedServer, handler: Any) -> Any:
    options: dict[str, Any] = {"max_tokens": 20} if outcome in {"cap before", "cap mid-stream"} else {}
    model = client(name, server, **options)
    return BudgetedLLM(model, handler, clamp=False) if wrapped else model


# A chat engine reads its stream in a thread of its own, which raises what the caller is told once more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("name", "wrapped", "title", "outcome"), cells())
def test_a_cell(serve: Any, table: Any, name: str, wrapped: bool, title: str, outcome: str) -> None:
    way, reply = WAYS[title], reply_for(outcome)
    server = serve((lambda request: answer(request, reply)) if outcome not in {"error", "cancel"} else reply)
    saw = "an answer"
    with ApeirosHandler(budget=budget_for(outcome), prices=A_DOLLAR_A_TOKEN) as handler:
        model = model_for(name, wrapped, outcome, server, handler)
        try:
            if outcome == "cancel":
                asyncio.run(cancelled(way, model, server))
            else:
                result = way.run(model, 8 if outcome == "abandon" else None)
                if way.is_async:
                    asyncio.run(result)
        except BaseException as error:  # noqa: BLE001 - what the caller saw is what is tested
            saw = type(error).__name__
            del error
    result = None
    if outcome in {"abandon", "cap mid-stream"}:
        gc.collect()
    server.wait_until_idle()
    session = handler.session
    lines = [entry for entry in session.entries() if entry.kind != "tool"]
    kinds = dict(Counter(line.usage_certainty for line in lines))
    cell = Cell(server.request_count, kinds, session.open_holds, saw)
    table[name, wrapped, title, outcome] = cell

    assert cell.open_holds == 0
    assert session.health.failures == 0
    assert sum(kinds.values()) == cell.requests, "an entry for each request, and no other"
    assert session.spent == sum(entry.amount or 0 for entry in session.entries())
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
        assert request.chunks_sent < len(WORDS)

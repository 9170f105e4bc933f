"""Every way to call a model, crossed with every way in which a call can end, for both clients.

    pytest tests/langchain/test_table.py -s     prints the table

In each cell: the requests that reached the server, the ledger's entries and how certain they are, the holds
that are left open, and what the caller saw.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from apeiros_callbacks import Price
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import client
from tests.langchain.garbage import collect
from tests.langchain.ways import WAYS, WORDS, Way, answer, call

CLIENTS = ["openai", "anthropic"]
OUTCOMES = ["ok", "error", "cancel", "abandon", "cap before", "cap mid-stream"]
A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}


TORN_DOWN = {"abatch", "aparallel"}  # one error ends the event loop, which cancels the other call


class Cell(NamedTuple):
    """What one run came to."""

    requests: int
    entries: dict[str, int]
    open_holds: int
    saw: str


def impossible(way: Way, outcome: str) -> str:
    """Why LangChain has no such cell; empty where it has one."""
    if outcome == "cancel" and not way.is_async:
        return "nothing cancels a thread"
    if outcome == "abandon" and not way.streams:
        return "what is not streamed cannot be left half-way"
    if outcome == "cap mid-stream" and not way.streams:
        return "invoke has no hook while the provider writes"
    return ""


CELLS = [
    pytest.param(name, way, outcome, id=f"{name}-{way}-{outcome}")
    for way in WAYS
    for outcome in OUTCOMES
    if not impossible(WAYS[way], outcome)
    for name in CLIENTS
]


@pytest.fixture(scope="module")
def table() -> Iterator[dict[tuple[str, str, str], Cell]]:
    """The cells that were run; printed at the end."""
    found: dict[tuple[str, str, str], Cell] = {}
    yield found
    print()
    for way in WAYS:
        for outcome in OUTCOMES:
            reason = impossible(WAYS[way], outcome)
            if reason:
                print(f"{way:<18} {outcome:<15} impossible: {reason}")
                continue
            for name in CLIENTS:
                cell = found.get((name, way, outcome))
                if cell is not None:
                    lines = ", ".join(f"{count} {what}" for what, count in cell.entries.items()) or "none"
                    print(
                        f"{way:<18} {outcome:<15} {name:<10} requests {cell.requests}, entries {lines}, "
                        f"open {cell.open_holds}, saw {cell.saw}"
                    )


def reply_for(outcome: str) -> Reply:
    if outcome == "error":
        return Reply(status=500, error="no")
    if outcome == "cancel":
        return Reply("late", delay=30)
    pause = 0.01 if outcome in {"abandon", "cap mid-stream"} else 0
    return Reply(WORDS, input_tokens=10, output_tokens=60, chunk_delay=pause)


def budget_for(outcome: str, name: str) -> float:
    # A call reads about 10 tokens, at a dollar each, and may write 20.
    return {"cap before": 5, "cap mid-stream": 60}.get(outcome, 100_000)


async def cancelled(way: Way, model: Any, handler: ApeirosHandler, server: ScriptedServer) -> None:
    running = asyncio.create_task(way.run(model, {"callbacks": [handler]}, None))
    await asyncio.to_thread(server.wait_for_requests, way.at_once, 20)
    running.cancel()
    await running


def run(name: str, way: Way, outcome: str, server: ScriptedServer) -> tuple[Cell, ApeirosHandler]:
    handler = ApeirosHandler(budget=budget_for(outcome, name), prices=A_DOLLAR_A_TOKEN)
    options: dict[str, Any] = {"max_tokens": 20} if outcome == "cap mid-stream" else {}
    if name == "openai":
        options["stream_usage"] = True
    model = client(name, server, **options)
    saw = "an answer"
    try:
        if outcome == "cancel":
            asyncio.run(cancelled(way, model, handler, server))
        else:
            call(way, model, handler, stop=8 if outcome == "abandon" else None)
    except BaseException as error:  # noqa: BLE001 - what the caller saw is what is tested
        saw = type(error).__name__
    collect(handler)
    lines = [entry for entry in handler.session.entries() if entry.kind != "tool"]
    with suppress(TimeoutError):  # what a client wrote before it hung up may not have been read yet
        server.wait_for_requests(len(lines), 5)
    kinds = [line.usage_certainty if line.kind == "llm" else line.kind for line in lines]
    return Cell(server.request_count, dict(Counter(kinds)), handler.session.open_holds, saw), handler


@pytest.mark.parametrize(("name", "way", "outcome"), CELLS)
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_a_cell(serve: Any, table: Any, name: str, way: str, outcome: str) -> None:
    how, reply = WAYS[way], reply_for(outcome)
    server = serve(lambda request: answer(request, reply) if outcome != "error" else reply)
    cell, handler = run(name, how, outcome, server)
    table[name, way, outcome] = cell

    assert cell.open_holds == 0
    assert sum(cell.entries.values()) == cell.requests, "an entry for each request, and no other"
    spent = sum(entry.amount or 0 for entry in handler.session.entries())
    assert spent == handler.session.spent
    if outcome == "ok":
        assert cell == Cell(how.in_all, {"reported": how.in_all}, 0, "an answer")
        assert handler.session.state()["calls"] == how.in_all
    elif outcome == "error":
        assert cell.saw != "an answer"
        if way in TORN_DOWN:
            assert cell.requests in {1, 2}
            assert cell.entries["assumed"] >= 1
            assert cell.entries.keys() <= {"assumed", "estimated"}
        else:
            # A sync generate goes no further than the first that fails.
            assert cell.requests == (1 if way == "generate" else how.at_once)
            assert (cell.entries, spent) == ({"assumed": cell.requests}, 0)
    elif outcome == "cancel":
        assert cell == Cell(how.at_once, {"estimated": how.at_once}, 0, "CancelledError")
    elif outcome == "abandon":
        known = "reported" if how.goes_on else "estimated"
        assert (cell.requests, cell.entries, cell.saw) == (1, {known: 1}, "an answer")
        assert spent == 70 if how.goes_on else spent < 70
    elif outcome == "cap before":
        assert (cell.requests, cell.entries, cell.saw, spent) == (0, {}, "BudgetExceeded", 0)
    else:
        assert (cell.requests, cell.entries, cell.saw) == (1, {"estimated": 1}, "BudgetExceeded")
        assert 45 <= spent <= 63, "cut within a chunk of the cap"
        server.wait_until_idle()
        [request] = server.requests
        assert request.disconnected, "the provider was told to stop"
        assert request.chunks_sent < len(WORDS)

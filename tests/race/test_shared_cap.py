"""Eight processes against one cap: exactly what fits is admitted, to the nano-dollar.

Processes with connections of their own stand in for machines. ``APEIROS_LONG=1`` makes 20 runs of each race
instead of 3; ``pytest -s`` prints how long the longest call waited.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.money import from_nano
from tests.contract.spending import session_on, spend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROCESSES = 8
RUNS = 20 if os.environ.get("APEIROS_LONG") else 3
COST = 1_234_567
MIXED = (700_001, 1_234_567, 3_333_333, 9_999_991)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield str(request.getfixturevalue("database"))
    else:
        yield f"sqlite:///{tmp_path}/ledger.db?timeout=30"


def work(url: str, costs: tuple[int, ...], start: Barrier, told: Queue[Any]) -> None:
    """Make calls of each size until each is refused; tell what was spent, and the longest wait."""
    ledger = open_ledger(url)
    session = session_on(ledger, costs, ledger_timeout=30)
    start.wait()
    spent, longest = 0, 0.0
    for cost in sorted(costs, reverse=True):
        admitted = True
        while admitted:
            began = time.monotonic()
            admitted = spend(session, cost)
            longest = max(longest, time.monotonic() - began)
            spent += cost if admitted else 0
    ledger.close()
    told.put((spent, longest))


def race(url: str, limit: int, costs: list[tuple[int, ...]]) -> tuple[list[int], float]:
    """What each process spent of a cap, and the longest wait of a call in seconds."""
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(PROCESSES), context.Queue()
    with closing(open_ledger(url)) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=from_nano(limit)))
    workers = [
        context.Process(target=work, args=(url, costs[place], start, told)) for place in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    found = [told.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    return [spent for spent, _ in found], max(longest for _, longest in found)


def left_in_ledger(url: str) -> tuple[int, int, list[Any]]:
    """What the ledger says is spent and reserved, and the leases there are."""
    with closing(open_ledger(url)) as ledger:
        read = ledger._store.read  # type: ignore[attr-defined]
        ((spent, reserved),) = read("SELECT spent, reserved FROM scope_total WHERE scope LIKE 'customer:%/%'")
        entries = sum(1_000_000_000 * (one.amount or 0) for one in ledger.entries("customer:acme"))
        assert spent == entries
        return spent, reserved, read("SELECT * FROM lease")


@pytest.mark.parametrize("run", range(RUNS))
def test_calls_of_one_size(url: str, run: int) -> None:
    calls = (3, 40, 400)[run % 3]
    spent, longest = race(url, COST * calls + COST - 1, [(COST,)] * PROCESSES)
    print(f"\n{calls} calls of {PROCESSES} processes: the longest waited {longest * 1000:.0f} ms")
    assert sum(spent) == COST * calls
    assert left_in_ledger(url) == (COST * calls, 0, [])


@pytest.mark.parametrize("run", range(RUNS))
def test_calls_of_many_sizes(url: str, run: int) -> None:
    """The last that is refused is the smallest, so less than that is left."""
    limit = 200_000_003 + 7_919 * run
    costs = [MIXED[place % 4 :: -1] if place % 2 else MIXED for place in range(PROCESSES)]
    spent, _ = race(url, limit, costs)
    assert limit - min(MIXED) < sum(spent) <= limit
    assert left_in_ledger(url) == (sum(spent), 0, [])

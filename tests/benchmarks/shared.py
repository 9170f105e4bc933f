"""What a cap costs that processes share: calls held and settled in a second, and agents on a slow server.

    python tests/benchmarks/shared.py            # all
    python tests/benchmarks/shared.py pairs      # how many, and how long each waits
    python tests/benchmarks/shared.py agents     # 200 agents, and a server that answers in 20 ms

Each pair is one call held on the cap of a customer, settled, and written as an entry that is charged to two
scopes; the time runs until the last entry is in the ledger. After each run the cap must be kept exactly.
A plain loop of one transaction to hold and one to settle, measured on the same kind of machine, is beside
it: 15,481 pairs a second of 8 processes on SQLite, 2,037 on PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from apeiros_callbacks.caps import Cap, customer_scope
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.ledger.allowance import GUARD
from apeiros_callbacks.ledger.audit import check, store_of
from apeiros_callbacks.ledger.cap_rows import row_of_cap
from apeiros_callbacks.ledger.stored import SET_CAP
from apeiros_callbacks.money import from_nano
from apeiros_callbacks.scopes import Accounts, Need
from apeiros_callbacks.waiting import Lender
from langchain_apeiros import ApeirosHandler
from tests.benchmarks.overhead import Instant
from tests.contract.entries import entry
from tests.contract.proxy import Proxy
from tests.contract.servers import Server, a_server

COST = 1_234_567
NEED = Need(COST, 1, 1_580)
USD = from_nano(COST)
AGENTS = 200
WORK = ((5, 0.5), (20, 0.05))
"""Calls of each agent, and the seconds that each takes. The short ones keep one core busy all the time."""


def work(url: str, name: int, pairs: int, customers: int, start: Any, told: Any) -> None:
    """Hold and settle as long as the caps last, at most so often; each process in an order of its own."""
    order = random.Random(name).sample(range(customers), customers)
    ledger = open_ledger(url)
    accounts, lender, now = Accounts(GUARD), Lender(ledger, 60, "refuse"), datetime.now(UTC)
    waits: list[float] = []
    start.wait()
    number = 0
    while number < pairs:
        began = time.perf_counter()
        account = ledger.allowances.of(customer_scope(f"c{order[number % customers]}"), now)
        hold, _ = accounts.hold((account,), NEED)
        if hold is None:
            attempt = lender.attempt()
            while hold is None and account.scope not in attempt.denied:
                lender.lend((account,), NEED, attempt)
                hold, _ = accounts.hold((account,), NEED)
        waits.append(time.perf_counter() - began)
        if hold is None:
            break
        accounts.settle(hold, (account,), NEED, USD)
        ledger.append(entry(f"{name}-{number}", amount=USD), (account.base, account.scope))
        number += 1
    ledger.flush(120)
    ended = time.monotonic()
    ledger.close()
    waits.sort()
    told.put((number, ended, [waits[int(len(waits) * part)] for part in (0.5, 0.99)] + [waits[-1]]))


def pairs_a_second(url: str, processes: int, customers: int, pairs: int) -> str:
    """Run one race; the cap of a single customer is passed by one call less than is asked for."""
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(processes + 1), context.Queue()
    each = pairs // processes
    with closing(open_ledger(url)) as ledger:
        most = each * processes - 1 if customers == 1 else pairs
        caps = [
            Cap(customer_scope(f"c{number}"), usd=from_nano(COST * most + COST - 1))
            for number in range(customers)
        ]
        store_of(ledger).change([(SET_CAP, row_of_cap(cap)) for cap in caps])
    workers = [
        context.Process(target=work, args=(url, name, each, customers, start, told))
        for name in range(processes)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.monotonic()
    found = [told.get() for _ in workers]
    for worker in workers:
        worker.join()
    admitted = sum(count for count, _, _ in found)
    seconds = max(ended for _, ended, _ in found) - began
    middle, rare, longest = (1e3 * max(waits[place] for _, _, waits in found) for place in range(3))
    with closing(open_ledger(url)) as ledger:
        assert check(ledger).problems == ()
        assert admitted == each * processes - (1 if customers == 1 else 0)
        assert sum(one.entries for one in ledger.totals("customer:c") if "/" in one.scope) == admitted
    return f"{admitted / seconds:>8,.0f}/s  p50 {middle:.3f}  p99 {rare:.3f}  longest {longest:,.0f} ms"


def show_pairs(server: Server, pairs: int) -> None:
    print("\nHold, settle and entry written, cap exact")
    for processes in (1, 8):
        for customers in (1, 1_000):
            for kind in ("sqlite", "postgres"):
                with tempfile.TemporaryDirectory() as folder:
                    url = (
                        f"sqlite:///{folder}/ledger.db?timeout=60"
                        if kind == "sqlite"
                        else server.new_database()
                    )
                    found = pairs_a_second(url, processes, customers, pairs)
                print(f"  {kind:<9} {processes} processes, {customers:>5,} customers {found}")


async def agents(handler: ApeirosHandler, calls: int, seconds: float) -> None:
    model = Instant(seconds=seconds)
    config: Any = {"callbacks": [handler]}

    async def agent(name: int) -> None:
        for number in range(calls):
            await model.ainvoke(f"step {number} of agent {name}", config)

    await asyncio.gather(*(agent(name) for name in range(AGENTS)))


def be_far_away(url: str, told: Any) -> None:
    """A server's answers come 20 ms later, by a process of its own: agents do not share their GIL with it."""
    told.put(Proxy(url, delay=0.020).url)
    threading.Event().wait()


def show_agents(server: Server) -> None:
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    far = context.Process(target=be_far_away, args=(server.new_database(), told), daemon=True)
    far.start()
    urls = {"memory": "memory:", "PostgreSQL, 20 ms away": told.get()}
    for calls, takes in WORK:
        print(f"\n{AGENTS} agents of {calls} calls that take {takes:.2f} s each, one customer with a cap")
        best = dict.fromkeys(urls, float("inf"))
        for _ in range(3):
            for name, url in urls.items():
                best[name] = min(best[name], run_agents(url, calls, takes))
        for name, seconds in best.items():
            print(f"  {name:<24}{seconds:6.2f} s  {seconds / best['memory']:.2f} of memory's")
    far.kill()


def run_agents(url: str, calls: int, takes: float) -> float:
    """The seconds until every agent is done."""
    with closing(open_ledger(url)) as ledger:
        ledger.set_cap(Cap(customer_scope("acme"), usd=Decimal(1_000_000)))
        handler = ApeirosHandler(customer="acme", ledger=ledger)
        began = time.perf_counter()
        asyncio.run(agents(handler, calls, takes))
        seconds = time.perf_counter() - began
        ledger.flush(60)
    return seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("what", nargs="?", choices=("pairs", "agents", "all"), default="all")
    options.add_argument("--pairs", type=int, default=100_000)
    given = options.parse_args()
    with a_server() as server:
        if given.what != "agents":
            show_pairs(server, given.pairs)
        if given.what != "pairs":
            show_agents(server)


if __name__ == "__main__":
    main()

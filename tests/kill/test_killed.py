"""kill -9 at any moment of hold, call and settle: nothing acknowledged is lost, nothing is there twice.

Each process is forked from this warm one, which has the same ledger open, and is killed after a random time.
``APEIROS_LONG=1`` kills 200 on each ledger instead of 10.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.ledger.audit import check, store_of
from apeiros_callbacks.money import from_nano
from tests.contract.entries import until
from tests.contract.spending import session_on, spend_until_refused

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

KILLS = 200 if os.environ.get("APEIROS_LONG") else 10
COST = 1_234_567
CALLS = 100_000
LEASE = 2.0
"""Seconds after which the dead lose what they had."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield f"{request.getfixturevalue('database')}&lease={LEASE}"
    else:
        yield f"sqlite:///{tmp_path}/ledger.db?timeout=30&lease={LEASE}"


def victim(url: str, name: str, acknowledged: int) -> None:
    """Hold, call and settle until killed; write the ids of entries that are in the ledger to a pipe."""
    ledger = open_ledger(url)
    session = session_on(ledger, [COST], ledger_timeout=30)
    number = 0
    while True:
        settled = []
        for _ in range(random.randrange(1, 20)):
            call = f"{name}-{number}"
            number += 1
            session.open_tool(call, f"tool-{COST}", customer="acme")
            if random.random() < 0.3:
                time.sleep(random.random() / 1000)
            session.close_tool(call)
            settled.append(call)
        session.open_tool(f"{name}-{number}-open", f"tool-{COST}", customer="acme")  # never closed
        number += 1
        ledger.flush(30)
        os.write(acknowledged, "".join(f"{call}\n" for call in settled).encode())


def kill_one(url: str, name: str) -> list[str]:
    """Fork a process, kill it at a random moment, and give the ids that it had acknowledged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            random.seed(name)
            victim(url, name, write)
        finally:
            os._exit(1)
    os.close(write)
    select.select([read], [], [], random.choice((0.02, 0.2, 30.0)))  # the last: after the first line
    time.sleep(random.random() / 20)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "it went on until it was killed"
    with os.fdopen(read) as lines:
        return [line.removesuffix("\n") for line in lines.readlines() if line.endswith("\n")]


def test_nothing_is_lost_or_doubled(url: str) -> None:
    random.seed(COST)
    with closing(open_ledger(url)) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=from_nano(COST * CALLS)))
        acknowledged: list[str] = []
        for number in range(KILLS):
            acknowledged += kill_one(url, f"victim-{number}")
            assert check(ledger).problems == ()

        found = Counter(entry.id for entry in ledger.entries())
        assert acknowledged
        assert not set(acknowledged) - set(found)
        assert set(found.values()) == {1}
        print(f"\n{KILLS} killed: {len(acknowledged):,} acknowledged, {len(found):,} in the ledger")
        everything_is_given_back(ledger, sum(found.values()))


def everything_is_given_back(ledger: Ledger, spent: int) -> None:
    """What the dead held is free once their time is over, and it is said what they had."""
    store = store_of(ledger)
    was_leased = store.read("SELECT count(*) FROM lease")[0][0]
    ledger.set_cap(Cap("customer:acme", usd=from_nano(COST * (spent + 5))))
    session = session_on(ledger, [COST], ledger_timeout=60)
    count = 0

    def all_is_spent() -> bool:
        nonlocal count
        count += spend_until_refused(session, COST)
        return count >= 5

    until(all_is_spent, seconds=LEASE + 30)
    assert count == 5, "exactly what the cap has left"
    audit = check(ledger)
    assert audit.problems == ()
    assert len(audit.lost) >= was_leased > 0
    assert all(lost.held <= lost.granted for lost in audit.lost)
    assert any(lost.held > 0 for lost in audit.lost), "calls were open when their process died"
    ledger.flush()
    until(lambda: store.read("SELECT sum(reserved) FROM scope_total WHERE scope LIKE 'customer:%'") == [(0,)])

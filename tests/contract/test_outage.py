"""A PostgreSQL server that goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import cast

import pytest

from apeiros_callbacks import Refused
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.errors import LedgerTooNew, LedgerUnavailable
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.ledger.audit import check, store_of
from apeiros_callbacks.ledger.postgres_store import PostgresStore
from apeiros_callbacks.ledger.store import Ask, Batch
from apeiros_callbacks.ledger.url import PostgresUrl, parse_url
from apeiros_callbacks.money import from_nano
from apeiros_callbacks.waiting import awaited
from tests.contract.entries import entry, until
from tests.contract.proxy import Proxy
from tests.contract.servers import Server
from tests.contract.spending import session_on, spend

SCOPE = ("session:3f2a",)
COST = 1_000_000


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    made = Proxy(database)
    yield made
    made.close()


@pytest.fixture
def ledger(proxy: Proxy) -> Iterator[Ledger]:
    with closing(open_ledger(proxy.url)) as opened:
        yield opened


def away(proxy: Proxy, ledger: Ledger) -> None:
    """The server is away, and the ledger has noticed."""
    proxy.go_away()
    ledger.append(entry("noticed"), SCOPE)
    until(lambda: ledger.failure)


def test_what_was_recorded_meanwhile_is_written_when_it_is_back(proxy: Proxy, ledger: Ledger) -> None:
    ledger.append(entry("before"), SCOPE)
    ledger.flush()
    away(proxy, ledger)
    for number in range(100):
        ledger.append(entry(f"r{number}"), SCOPE)
    with pytest.raises(LedgerUnavailable, match=r"cannot be used: .* Not written: 101 entries\."):
        ledger.flush(0.2)
    with pytest.raises(LedgerUnavailable, match="cannot be used"):
        ledger.caps()
    proxy.come_back()
    ledger.flush(30)
    assert ledger.failure is None
    assert [one.id for one in ledger.entries()] == ["before", "noticed", *(f"r{n}" for n in range(100))]


def test_an_answer_that_is_lost_is_asked_for_again(proxy: Proxy, ledger: Ledger) -> None:
    """The server has done what was asked, and the connection ends before it can say so."""
    ledger.set_cap(Cap("customer:acme", usd=1))
    session = session_on(ledger, [COST])
    assert spend(session, COST)
    for number in range(30):
        proxy.go_away()
        proxy.come_back()
        assert spend(session, COST), number
    ledger.flush(30)
    assert [one.amount for one in ledger.totals("customer:acme/")] == [Decimal("0.031")]
    assert check(ledger).problems == ()


def test_a_call_with_a_shared_cap_is_refused(proxy: Proxy, ledger: Ledger) -> None:
    ledger.set_cap(Cap("customer:acme", usd=1))
    session = session_on(ledger, [COST], ledger_timeout=0.3)
    away(proxy, ledger)
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable, match="the cap of customer acme in .* cannot be checked") as caught:
        session.open_tool("t1", f"tool-{COST}", customer="acme")
    assert time.monotonic() - began < 5
    assert isinstance(caught.value, Refused)
    assert str(caught.value).endswith('Set on_ledger_down="allow" to go on by what this process knows.')
    assert session.health.failures == 0
    assert spend(session, COST, customer="zoo"), "which has no cap"

    proxy.come_back()
    until(lambda: ledger.failure is None)
    assert spend(session, COST)


def test_on_an_event_loop_it_is_refused_as_well(proxy: Proxy, ledger: Ledger) -> None:
    ledger.set_cap(Cap("customer:acme", usd=1))
    session = session_on(ledger, [COST], ledger_timeout=0.3)
    away(proxy, ledger)

    async def run() -> int:
        others = 0

        async def other() -> None:
            nonlocal others
            while True:
                await asyncio.sleep(0.01)
                others += 1

        task = asyncio.create_task(other())
        with pytest.raises(LedgerUnavailable):
            await awaited(lambda: session.open_tool("t1", f"tool-{COST}", customer="acme"))
        task.cancel()
        return others

    assert asyncio.run(run()) > 5
    proxy.come_back()


def test_or_it_is_allowed_as_far_as_this_process_knows(proxy: Proxy, ledger: Ledger) -> None:
    ledger.set_cap(Cap("customer:acme", usd=Decimal("0.01")))
    session = session_on(ledger, [COST], ledger_timeout=0.2, on_ledger_down="allow")
    away(proxy, ledger)
    assert [spend(session, COST) for _ in range(12)] == [True] * 10 + [False] * 2
    proxy.come_back()
    ledger.flush(30)
    assert [one.amount for one in ledger.totals("customer:acme/")] == [Decimal("0.010")]
    assert check(ledger).problems == ()


def test_a_server_that_was_never_there() -> None:
    with pytest.raises(
        LedgerUnavailable, match=r"postgresql://app@127.0.0.1:1/costs cannot be used: "
    ) as caught:
        open_ledger("postgresql://app:secret@127.0.0.1:1/costs?timeout=1")
    assert "secret" not in str(caught.value)


def test_a_schema_of_a_newer_version_is_refused(database: str) -> None:
    with closing(open_ledger(database)) as ledger:
        ledger.append(entry("r1"), SCOPE)
        ledger.flush()
        store_of(ledger).change([("UPDATE schema_version SET version = 99", ())])
    with pytest.raises(LedgerTooNew, match=r"has version 99 of the schema, .* Upgrade apeiros-callbacks"):
        open_ledger(database)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing freezes a process here")
@pytest.mark.parametrize("then", ["goes on", "dies"])
def test_the_server_is_frozen(then: str, server: Server) -> None:
    """It takes what it is sent, and answers nothing."""
    with closing(open_ledger(f"{server.new_database()}&timeout=1")) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=1))
        session = session_on(ledger, [COST], ledger_timeout=0.3)
        count = 0
        assert spend(session, COST)
        with server.frozen() as backends:
            with pytest.raises(LedgerUnavailable, match="the cap of customer acme"):
                while True:
                    session.open_tool(f"t{count}", f"tool-{COST}", customer="acme")
                    session.close_tool(f"t{count}")
                    count += 1
            until(lambda: ledger.failure)
            assert "cannot be used: it did not answer within 1 s." in str(ledger.failure)
            with pytest.raises(LedgerUnavailable, match=r"Not written: \d+ entr"):
                ledger.flush(0.2)
            if then == "dies":
                for backend in backends:
                    os.kill(backend, signal.SIGKILL)
        ledger.flush(60)
        assert ledger.failure is None
        assert spend(session, COST)
        (total,) = ledger.totals("customer:acme/")
        assert total.amount == from_nano(COST * (count + 2))
        assert check(ledger).problems == ()


def test_a_table_that_somebody_locks_for_long(database: str) -> None:
    import psycopg

    with closing(open_ledger(f"{database}&timeout=0.5")) as ledger:
        with psycopg.connect(database) as connection:
            connection.execute("LOCK TABLE apeiros.scope_total")
            ledger.append(entry("r1"), SCOPE)
            until(lambda: ledger.failure)
            assert "it did not answer within 0.5 s." in str(ledger.failure)
        ledger.flush(30)
        assert [(one.entries, one.amount) for one in ledger.totals()] == [(1, Decimal("0.0068"))]


def test_what_was_given_up_and_arrives_late_takes_nothing_away(database: str) -> None:
    """Else this process would spend what the server may lend to others."""
    with closing(open_ledger(database)) as ledger:
        ledger.set_cap(Cap("customer:acme", usd=1))
        store = PostgresStore(cast(PostgresUrl, parse_url(database)))
        store.open()
        scope = "customer:acme/2026-11"
        late, again = (Batch(asks=[Ask(scope, least, least, least, least)]) for least in (100, 300))
        store._numbers = iter([7, 6])  # type: ignore[assignment]
        store.write(again, "me")
        store.write(late, "me")
        store.close()
        assert store.read("SELECT granted FROM lease WHERE scope = ?", (scope,)) == [(300,)]
        assert check(ledger).problems == ()


def test_the_server_is_restarted(server: Server, database: str) -> None:
    with closing(open_ledger(database)) as ledger:
        ledger.append(entry("r1"), SCOPE)
        ledger.flush()
        server.restart()
        ledger.append(entry("r2"), SCOPE)
        ledger.flush(30)
        assert [one.id for one in ledger.entries()] == ["r1", "r2"]

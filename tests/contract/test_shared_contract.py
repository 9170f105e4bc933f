"""What every ledger keeps for all who share it: totals, caps and claims; and whom it tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.errors import ConfigError, LedgerUnavailable
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.ledger.allowance import GUARD
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.ledger.memory import MemoryLedger
from apeiros_callbacks.usage import Usage
from tests.contract.entries import NOON, entry, until

ACME = ("session:3f2a", "customer:acme", "customer:acme/2026-11")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}[request.param]


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(open_ledger(url)) as opened:
        yield opened


def test_nothing_has_no_totals(ledger: Ledger) -> None:
    assert ledger.totals() == []


def test_totals_of_each_scope(ledger: Ledger) -> None:
    ledger.append(entry("r1", started_at=NOON - timedelta(hours=1)), ACME)
    ledger.append(entry("r2", amount=Decimal("1.5"), ended_at=NOON + timedelta(hours=1)), ACME)
    ledger.append(entry("r3", kind="tool", usage=Usage(), amount=None), ACME[:1])
    ledger.append(entry("r4", cached=True, amount=Decimal(0)), ACME[:1])

    session, customer, period = (next(one for one in ledger.totals() if one.scope == scope) for scope in ACME)
    assert session.amount == Decimal("1.5068")
    assert (session.calls, session.entries, session.tokens) == (2, 4, 3 * 1580)
    assert (session.first_at, session.last_at) == (NOON - timedelta(hours=1), NOON + timedelta(hours=1))
    assert session.first_at.tzinfo is UTC
    assert customer.amount == period.amount == Decimal("1.5068")
    assert (customer.calls, customer.entries) == (2, 2)


def test_totals_by_the_beginning_of_a_scope(ledger: Ledger) -> None:
    for scope in ("customer:A_b", "customer:a", "customer:a/2026-11", "customer:AXb", "session:x", "ü"):
        ledger.append(entry(scope), (scope,))

    assert [one.scope for one in ledger.totals()] == [
        "customer:AXb", "customer:A_b", "customer:a", "customer:a/2026-11", "session:x", "ü",
    ]  # fmt: skip
    assert [one.scope for one in ledger.totals("customer:a")] == ["customer:a", "customer:a/2026-11"]
    assert [one.scope for one in ledger.totals("customer:A_")] == ["customer:A_b"]


def test_an_entry_that_comes_twice_adds_once(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.append(entry("r1"), ACME)
        ledger.flush()
    ledger.append(entry("r1"), ("session:other",))

    assert [(one.entries, one.amount) for one in ledger.totals()] == [(1, Decimal("0.0068"))] * 4


def test_a_correction_adds_its_dollars_and_replaces_the_tokens(ledger: Ledger) -> None:
    guessed = entry("a#b#7", attempt=12, usage=Usage(input_tokens=1_000, output_tokens=500))
    right = entry(
        "c1",
        kind="correction",
        corrects=guessed.key,
        amount=Decimal("-0.0032"),
        usage=Usage(input_tokens=900, output_tokens=1),
    )
    ledger.append(guessed, ACME)
    ledger.append(right, ACME)

    (total,) = ledger.totals("session:")
    assert (total.amount, total.tokens, total.calls, total.entries) == (Decimal("0.0036"), 901, 1, 2)


def test_caps_come_back_as_they_were_set(ledger: Ledger) -> None:
    acme = Cap(
        "customer:acme",
        usd=Decimal("250.000000001"),
        alert_at=200,
        period="week",
        timezone="America/Los_Angeles",
        plan_price=Decimal("499.90"),
    )
    ledger.set_cap(Cap("customer:acme", usd=1))
    ledger.set_cap(acme)
    ledger.set_cap(Cap("customer:zoo", alert_at=5))

    assert ledger.caps() == {"customer:acme": acme, "customer:zoo": Cap("customer:zoo", alert_at=5)}


def test_a_cap_that_no_counter_can_hold(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match=r"below \$9 billion"):
        ledger.set_cap(Cap("customer:acme", usd=9_000_000_001))
    assert ledger.caps() == {}


def test_a_name_is_claimed_once(ledger: Ledger) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def claim(thread: int) -> None:
        start.wait()
        if ledger.claim("alert:customer:acme/2026-11:80"):
            won.append(thread)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert ledger.claim("another")
    assert not ledger.claim("another")


def test_a_watcher_hears_what_a_period_has_spent(ledger: Ledger) -> None:
    heard: list[tuple[str, Decimal]] = []
    threads: set[int] = set()

    def watcher(scope: str, spent: Decimal) -> None:
        threads.add(threading.get_ident())
        assert ledger.entries(scope)  # it may use the ledger
        heard.append((scope, spent))

    ledger.watch(watcher)
    for number in range(10):
        ledger.append(entry(f"r{number}"), ACME)
        ledger.flush()

    until(lambda: heard and heard[-1][1] == Decimal("0.068"))
    assert {scope for scope, _ in heard} == {"customer:acme/2026-11"}
    assert [spent for _, spent in heard] == sorted(spent for _, spent in heard)
    assert threading.get_ident() not in threads


def test_a_watcher_that_fails_is_logged_and_called_again(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Decimal] = []

    def watcher(_: str, spent: Decimal) -> None:
        heard.append(spent)
        raise OSError("no network")

    ledger.watch(watcher)
    for number in (1, 2):
        ledger.append(entry(f"r{number}"), ACME)
        ledger.flush()
        until(lambda number=number: len(heard) == number)  # type: ignore[misc]

    until(lambda: caplog.text.count("telling what customer:acme/2026-11 has spent went wrong") == 2)


def test_a_closed_ledger_keeps_nothing_more(ledger: Ledger) -> None:
    ledger.close()
    for use in (
        ledger.totals,
        ledger.caps,
        lambda: ledger.claim("a"),
        lambda: ledger.set_cap(Cap("customer:acme")),
    ):
        with pytest.raises(LedgerUnavailable, match="is closed"):
            use()


def test_those_who_open_one_file_share_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(open_ledger(url)) as one:
        one.set_cap(Cap("customer:acme", usd=5))
        assert one.claim("a")
        one.append(entry(), ACME)
    with closing(open_ledger(url)) as other:
        assert other.caps() == {"customer:acme": Cap("customer:acme", usd=5)}
        assert not other.claim("a")
        assert other.totals("customer:acme/")[0].amount == Decimal("0.0068")


def test_opening_a_ledger_lets_nobody_into_what_another_thread_is_changing() -> None:
    entered, goes_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def change() -> None:
        try:
            with GUARD:
                entered.set()
                goes_on.wait(60)
                assert GUARD.is_mine
        except BaseException as failure:  # noqa: BLE001 - for the other thread to see
            failures.append(failure)

    changing = threading.Thread(target=change)
    changing.start()
    assert entered.wait(60)
    MemoryLedger()
    Allowances(ring=lambda: None)
    goes_on.set()
    changing.join()
    assert failures == []

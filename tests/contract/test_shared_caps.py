"""A cap of a customer, whatever ledger keeps it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from apeiros_callbacks import BudgetExceeded
from apeiros_callbacks.call import Outcome
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.money import from_nano
from tests.contract.entries import until
from tests.contract.processes import run
from tests.contract.spending import session_on, spend, spend_until_refused

COST = 1_234_567


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}[request.param]


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(open_ledger(url)) as opened:
        yield opened


def cap(calls: int, more: int = 0, scope: str = "customer:acme") -> Cap:
    """A cap for so many calls of `COST`, and some nano-dollars that are not enough for another."""
    return Cap(scope, usd=from_nano(COST * calls + more))


def test_a_customer_without_a_cap_is_not_limited(ledger: Ledger) -> None:
    session = session_on(ledger, [COST])
    assert all(spend(session, COST) for _ in range(50))
    (total,) = ledger.totals("customer:acme/")
    assert total.amount == from_nano(50 * COST)


def test_as_many_calls_as_fit(ledger: Ledger) -> None:
    ledger.set_cap(cap(7, more=COST - 1))
    session = session_on(ledger, [COST])
    assert spend_until_refused(session, COST) == 7
    assert spend(session, COST, customer="zoo")
    assert session.spent == from_nano(8 * COST)
    assert [one.amount for one in ledger.totals("customer:acme/")] == [from_nano(7 * COST)]


def test_a_cap_of_nothing_admits_nothing(ledger: Ledger) -> None:
    ledger.set_cap(Cap("customer:acme", usd=0))
    session = session_on(ledger, [1])
    assert not spend(session, 1)


def test_the_refusal_says_whose_cap_it_is_and_how_to_raise_it(ledger: Ledger) -> None:
    ledger.set_cap(Cap("customer:acme", usd=Decimal("0.50"), timezone="America/New_York"))
    session = session_on(ledger, [300_000_000], clock=lambda: datetime(2026, 12, 1, 3, tzinfo=UTC))
    assert spend(session, 300_000_000)
    with pytest.raises(BudgetExceeded) as caught:
        session.open_tool("t2", "tool-300000000", customer="acme")
    stop = caught.value
    assert (stop.limit, stop.spent, stop.held, stop.needed) == (
        Decimal("0.5"), Decimal("0.3"), Decimal(0), Decimal("0.3"),
    )  # fmt: skip
    assert str(stop).startswith("budget of $0.50 for customer acme in 2026-11: $0.30 spent; this call")
    assert str(stop).endswith("It was not sent. Raise it with set_customer('acme', monthly=…).")


def test_sessions_share_it_and_threads_do(ledger: Ledger) -> None:
    ledger.set_cap(cap(40, more=COST - 1))
    counts: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        session = session_on(ledger, [COST])
        start.wait()
        counts.append(spend_until_refused(session, COST))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    assert [one.amount for one in ledger.totals("customer:acme/")] == [from_nano(40 * COST)]


def test_a_call_stays_in_the_period_in_which_it_began(ledger: Ledger) -> None:
    now = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)
    ledger.set_cap(cap(1))
    session = session_on(ledger, [COST], clock=lambda: now)
    session.open_tool("t1", f"tool-{COST}", customer="acme")
    assert not spend(session, COST)
    now = datetime(2026, 11, 1, 0, 0, 1, tzinfo=UTC)
    session.close_tool("t1")
    assert spend(session, COST), "it is another month"
    assert not spend(session, COST)
    assert [(one.scope, one.amount) for one in ledger.totals("customer:acme/")] == [
        ("customer:acme/2026-10", from_nano(COST)),
        ("customer:acme/2026-11", from_nano(COST)),
    ]


def test_a_cap_for_each_day_of_its_time_zone(ledger: Ledger) -> None:
    now = datetime(2026, 11, 1, 6, 59, tzinfo=UTC)
    ledger.set_cap(Cap("customer:acme", usd=from_nano(COST), period="day", timezone="America/Los_Angeles"))
    session = session_on(ledger, [COST], clock=lambda: now)
    assert spend_until_refused(session, COST) == 1
    now = datetime(2026, 11, 1, 7, 0, tzinfo=UTC)
    assert spend_until_refused(session, COST) == 1
    assert [one.scope for one in ledger.totals("customer:acme/")] == [
        "customer:acme/2026-10-31",
        "customer:acme/2026-11-01",
    ]


def test_a_cap_is_raised_and_removed(ledger: Ledger) -> None:
    ledger.set_cap(cap(1))
    session = session_on(ledger, [COST])
    assert spend_until_refused(session, COST) == 1
    ledger.set_cap(cap(3))
    assert spend_until_refused(session, COST) == 2
    ledger.set_cap(Cap("customer:acme", alert_at=1))
    assert all(spend(session, COST) for _ in range(10))
    ledger.set_cap(cap(15))
    assert spend_until_refused(session, COST) == 2


def test_what_was_not_sent_is_given_back(ledger: Ledger) -> None:
    ledger.set_cap(cap(1))
    session = session_on(ledger, [COST])
    for number in range(5):
        session.open_tool(f"t{number}", f"tool-{COST}", customer="acme")
        from apeiros_callbacks.call import Outcome

        session.close_call(f"t{number}", Outcome(ending="unsent"))
    assert spend_until_refused(session, COST) == 1


def test_a_session_s_own_budget_is_kept_beside_the_cap(ledger: Ledger) -> None:
    ledger.set_cap(cap(100))
    session = session_on(ledger, [COST], budget=from_nano(3 * COST))
    assert spend_until_refused(session, COST) == 3
    assert spend_until_refused(session_on(ledger, [COST]), COST) == 97


def test_only_watched_caps_are_passed_and_noted(ledger: Ledger) -> None:
    ledger.set_cap(cap(2))
    session = session_on(ledger, [COST], enforce=False)
    assert all(spend(session, COST) for _ in range(4))
    assert [finding.type for finding in session.findings] == ["budget_exceeded"]
    assert not spend(session_on(ledger, [COST]), COST)


def test_what_was_spent_before_counts(url: str, ledger: Ledger) -> None:
    if url == "memory:":
        pytest.skip("a ledger in memory ends with its process")
    ledger.set_cap(cap(5))
    assert all(spend(session_on(ledger, [COST]), COST) for _ in range(3))
    ledger.close()
    with closing(open_ledger(url)) as again:
        assert spend_until_refused(session_on(again, [COST]), COST) == 2


def test_what_is_freed_here_is_there_for_others_at_once(url: str, ledger: Ledger) -> None:
    """A call that was not sent after all writes nothing that would tell them."""
    if url == "memory:":
        pytest.skip("a ledger in memory is of one process")
    ledger.set_cap(cap(3))
    session = session_on(ledger, [COST])
    for number in range(3):
        session.open_tool(f"t{number}", f"tool-{COST}", customer="acme")
    ledger.flush()  # it is known that nothing is to spare
    session.close_call("t1", Outcome(ending="unsent"))
    ledger.flush()
    spent, _ = run(
        """
        from tests.contract.spending import session_on, spend_until_refused
        cost = int(sys.argv[2])
        print(spend_until_refused(session_on(url, [cost]), cost))
        """,
        url,
        COST,
    )
    assert spent == "1\n"


def test_a_child_session_and_its_parent_count_a_call_once(ledger: Ledger) -> None:
    ledger.set_cap(cap(3))
    parent = session_on(ledger, [COST])
    child = session_on(ledger, [COST], parent=parent)
    assert spend_until_refused(child, COST) == 3
    ledger.flush()
    until(lambda: [one.entries for one in ledger.totals("customer:acme/")] == [3])

"""Holds: all or nothing, settled at most once, never past the cap."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apeiros_callbacks import Budget
from apeiros_callbacks.errors import InvalidBudget
from apeiros_callbacks.scopes import Account, Accounts, Hold, Need

CENT = 10_000_000


def test_a_bare_number_is_dollars() -> None:
    assert Budget.of(0.1) == Budget(usd=Decimal("0.1"))
    assert Budget.of(None) is None


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"usd": -1},
        {"usd": True},
        {"usd": "0.50"},
        {"calls": 0},
        {"calls": 1.5},
        {"tokens": -1},
        {"tokens": True},
    ],
    ids=str,
)
def test_a_limit_that_cannot_be(limits: dict[str, object]) -> None:
    with pytest.raises(InvalidBudget):
        Budget(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, 0, -0.5, Decimal("1e-12")])
def test_too_little_is_one_message(wrong: float | Decimal) -> None:
    with pytest.raises(
        InvalidBudget, match=r"^budget must be more than 0 US dollars, .*; for no limit leave"
    ):
        Budget(wrong)


def test_the_refusal_carries_its_numbers() -> None:
    account = Account("session s", Budget(usd=0.5))
    accounts = Accounts()
    first, _ = accounts.hold((account,), Need(35 * CENT, 1, 10))
    assert first is not None
    accounts.settle(first, (account,), Need(35 * CENT, 1, 10), Decimal("0.35"))
    accounts.hold((account,), Need(10 * CENT, 1, 10))
    hold, refusal = accounts.hold((account,), Need(6 * CENT, 1, 10), model="gpt-4o")
    assert hold is None
    assert refusal is not None
    assert (refusal.limit, refusal.spent, refusal.held, refusal.needed) == tuple(
        Decimal(part) for part in ("0.5", "0.35", "0.1", "0.06")
    )
    assert str(refusal) == (
        "budget of $0.50 for session s: $0.35 spent and $0.10 held by open calls; "
        "this call to gpt-4o needs about $0.06. It was not sent."
    )


def test_several_scopes_are_held_all_or_none() -> None:
    wide, narrow = Account("wide", Budget(usd=1)), Account("narrow", Budget(usd=0.1))
    accounts = Accounts()
    hold, refusal = accounts.hold((wide, narrow), Need(20 * CENT))
    assert hold is None
    assert refusal is not None
    assert refusal.scope == "narrow"
    assert wide.held == narrow.held == Need(0)


def test_a_hold_is_settled_once() -> None:
    account = Account("s", Budget(usd=1))
    accounts = Accounts()
    hold, _ = accounts.hold((account,), Need(20 * CENT))
    assert hold is not None
    assert accounts.settle(hold, (account,), Need(5 * CENT), Decimal("0.05"))
    assert not accounts.settle(hold, (account,), Need(5 * CENT), Decimal("0.05"))
    assert not accounts.release(hold)
    assert (account.spent.nano, account.held.nano, account.spent_usd) == (5 * CENT, 0, Decimal("0.05"))


def test_a_hold_grows_only_as_far_as_the_cap() -> None:
    account = Account("s", Budget(usd=0.1))
    accounts = Accounts()
    hold, _ = accounts.hold((account,), Need(5 * CENT))
    assert hold is not None
    assert accounts.extend(hold, Need(9 * CENT)) is None
    refusal = accounts.extend(hold, Need(11 * CENT))
    assert refusal is not None
    assert refusal.mid_stream
    assert hold.need.nano == account.held.nano == 9 * CENT


def test_the_cap_holds_under_threads() -> None:
    account = Account("s", Budget(usd=1))
    accounts = Accounts()
    gate = threading.Barrier(20)
    admitted: list[Hold] = []

    def work() -> None:
        gate.wait()
        for _ in range(200):
            hold, _ = accounts.hold((account,), Need(CENT))
            if hold is not None:
                admitted.append(hold)
                accounts.settle(hold, (account,), Need(CENT), Decimal("0.01"))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 100
    assert (account.spent.nano, account.held.nano) == (100 * CENT, 0)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(["hold", "grow", "settle", "release"]), st.integers(0, 60)), max_size=60
    )
)
def test_counters_equal_the_sums(steps: list[tuple[str, int]]) -> None:
    account, accounts = Account("s", Budget(usd=1)), Accounts()
    holds: list[Hold] = []
    spent = 0
    for what, cents in steps:
        if what == "hold":
            hold, _ = accounts.hold((account,), Need(cents * CENT))
            if hold is not None:
                holds.append(hold)
        elif holds:
            hold = holds[cents % len(holds)]
            if what == "grow":
                accounts.extend(hold, Need(cents * CENT))
            elif what == "settle" and accounts.settle(hold, (account,), hold.need, None):
                spent += hold.need.nano
            elif what == "release":
                accounts.release(hold)
        assert account.spent.nano == spent
        assert account.held.nano == sum(hold.need.nano for hold in holds if hold.open)
        assert account.spent.nano + account.held.nano <= 100 * CENT

"""Looking after a ledger: whether it is right, putting it right, and making it smaller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from apeiros_callbacks import Price
from apeiros_callbacks.commands import app
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.ledger.audit import check, repair, store_of
from apeiros_callbacks.ledger.corrections import correct, reprice
from apeiros_callbacks.ledger.pruning import prune
from apeiros_callbacks.prices import PriceBook
from apeiros_callbacks.usage import Usage
from tests.contract.entries import NOON, entry

ACME = ("session:3f2a", "customer:acme", "customer:acme/2026-11")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(open_ledger(url)) as opened:
        yield opened


def fill(ledger: Ledger) -> list[Entry]:
    """Entries of three months, with a correction of the first in the last."""
    made = [
        entry(f"r{number}", started_at=moment, ended_at=moment)
        for number, moment in enumerate(NOON - timedelta(days=20 * back) for back in range(4, -1, -1))
    ]
    made.append(
        entry(
            "c0",
            kind="correction",
            corrects="r0#1",
            amount=Decimal("-0.001"),
            usage=Usage(input_tokens=1_000),
        )
    )
    for one in made:
        ledger.append(one, ACME)
    ledger.flush()
    return made


def test_a_ledger_is_consistent(ledger: Ledger) -> None:
    fill(ledger)
    assert check(ledger).problems == ()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE scope_total SET spent = spent + 7 WHERE scope = 'customer:acme'",
            "customer:acme does not count",
        ),
        ("UPDATE scope_total SET tokens = 0 WHERE scope = 'customer:acme'", "customer:acme does not count"),
        ("DELETE FROM scope_total WHERE scope = 'session:3f2a'", "session:3f2a does not count"),
        (
            "UPDATE scope_total SET reserved = 5 WHERE scope = 'customer:acme'",
            "customer:acme has $0.000000005 reserved, and its allowances are $0.000000000",
        ),
    ],
)
def test_what_is_wrong_is_found_and_repaired(ledger: Ledger, damage: str, said: str) -> None:
    fill(ledger)
    right = ledger.totals()
    store_of(ledger).change([(damage, ())])

    (problem,) = check(ledger).problems
    assert problem.startswith(said)
    assert repair(ledger).problems == ()
    assert ledger.totals() == right
    ledger.append(entry("later"), ACME)
    assert check(ledger).problems == ()


def test_charges_of_nothing_are_found(ledger: Ledger) -> None:
    fill(ledger)
    if ledger.url.startswith("sqlite"):
        pytest.skip("a foreign key keeps them out")
    store_of(ledger).change([("DELETE FROM entry WHERE id = 'r3'", ())])
    assert "3 charges are of entries that are not there" in check(ledger).problems


def test_pruning_keeps_what_everything_adds_up_to(ledger: Ledger) -> None:
    made = fill(ledger)
    before = {one.scope: one for one in ledger.totals()}

    # r0 stays with its correction; r1 is of September, r2 of October, r3 and r4 are later.
    assert prune(ledger, datetime(2026, 11, 1, tzinfo=UTC)) == 2
    assert [one.id for one in ledger.entries()] == ["r0", "r3", "r4", "c0"]
    after = {one.scope: one for one in ledger.totals()}
    assert {scope: one for scope, one in after.items() if scope in before} == before
    assert [(scope, after[scope].entries) for scope in sorted(set(after) - set(before))] == [
        ("pruned/2026-09", 1), ("pruned/2026-10", 1),
    ]  # fmt: skip
    assert check(ledger).problems == ()

    assert prune(ledger, datetime(2026, 11, 1, tzinfo=UTC)) == 0
    assert prune(ledger, datetime(2026, 12, 1, tzinfo=UTC)) == 4
    assert ledger.entries() == []
    assert {one.scope: one for one in ledger.totals() if one.scope in before} == before
    assert check(ledger).problems == ()
    assert sum(one.amount for one in ledger.totals("pruned/")) == sum(one.amount or 0 for one in made)
    assert repair(ledger).problems == ()


def test_a_ledger_in_memory_is_not_pruned() -> None:
    with pytest.raises(ConfigError, match="not kept in a file"):
        prune(open_ledger("memory:"), NOON)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def any_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    urls = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}
    url = urls.get(request.param) or request.getfixturevalue("database")
    with closing(open_ledger(url)) as opened:
        yield opened


def test_a_correction_says_the_difference_on_every_scope_once(any_ledger: Ledger) -> None:
    ledger = any_ledger
    ledger.append(entry("r1", amount=Decimal("0.0068")), ACME)

    made = correct(ledger, "r1#1", Decimal("0.01"), why="the bill of November")
    assert made is not None
    assert (made.amount, made.kind, made.corrects) == (Decimal("0.0032"), "correction", "r1#1")
    assert made.price_source == "the bill of November"
    assert correct(ledger, "r1#1", Decimal("0.01")) is None
    again = correct(ledger, "r1#1", 0)
    assert again is not None
    assert again.amount == Decimal("-0.01")

    assert len(ledger.entries()) == 3
    assert {(one.scope, one.amount, one.entries, one.tokens) for one in ledger.totals()} == {
        (scope, Decimal(0), 3, 1580) for scope in ACME
    }
    assert check(ledger).problems == ()
    with pytest.raises(ConfigError, match="there is no entry 'r2#1'"):
        correct(ledger, "r2#1", 1)


def test_entries_are_priced_again_once(any_ledger: Ledger) -> None:
    ledger = any_ledger
    old, other, unpriced, free = (
        entry("old", started_at=NOON - timedelta(days=40)),
        entry("other", model="my-model", amount=Decimal("5.8")),
        entry("unpriced", model="my-model", amount=None, price_certainty="unpriced", unit_prices={}),
        entry("bill", model="my-model", amount=Decimal(3), unit_prices={}),
    )
    for one in (old, other, unpriced, free):
        ledger.append(one, ACME)
    book = PriceBook({"my-model": Price(input=1, output=10)})  # 1,200 and 380 tokens are half a cent

    made = reprice(ledger, book, since=NOON, model="my-model")
    assert [(one.corrects, one.amount) for one in made] == [
        ("other#1", Decimal("-5.795")), ("unpriced#1", Decimal("0.005")),
    ]  # fmt: skip
    assert {one.price_certainty for one in made} == {"override"}
    assert reprice(ledger, book, since=NOON, model="my-model") == []
    assert ledger.totals("session:")[0].amount == Decimal("0.0068") + Decimal("0.005") * 2 + 3
    assert check(ledger).problems == ()


def test_the_commands(url: str) -> None:
    run = CliRunner()
    with closing(open_ledger(url)) as ledger:
        fill(ledger)
        store_of(ledger).change([("UPDATE scope_total SET spent = 1 WHERE scope = 'customer:acme'", ())])

    found = run.invoke(app, ["check", "--ledger", url])
    assert found.exit_code == 1
    assert "wrong: customer:acme does not count what its entries say: $0.000000001 instead of" in found.output
    assert "consistent" in run.invoke(app, ["repair", "--ledger", url]).output
    done = run.invoke(app, ["correct", "r4#1", "--amount", "0.5", "--why", "bill", "--ledger", url])
    assert done.output == "corrected by +$0.493200\n"
    done = run.invoke(app, ["correct", "r4#1", "--amount", "0.5", "--ledger", url])
    assert done.output == "it stands at that amount already\n"
    done = run.invoke(app, ["reprice", "--since", "2026-11", "--ledger", url])
    assert done.output == "corrected 0 entries by +$0.000000 in all\n"
    assert "removed 2 entries" in run.invoke(app, ["prune", "--before", "2026-11", "--ledger", url]).output
    found = run.invoke(app, ["check", "--ledger", url])
    assert (found.exit_code, found.output) == (0, f"{url} is consistent\n")
    assert run.invoke(app, ["correct", "nothing#1", "--amount", "1", "--ledger", url]).exit_code == 1

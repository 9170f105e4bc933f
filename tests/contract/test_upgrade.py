"""A ledger that the first version of the schema wrote opens with all that it has."""

from __future__ import annotations

import shutil
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.ledger.audit import check
from apeiros_callbacks.usage import Usage
from tests.contract.entries import entry

STORED = Path(__file__).parent / "stored"
WRITTEN = [
    entry("r1"),
    entry("r2", amount=None, price_certainty="unpriced", kind="tool"),
    entry("r3", amount=Decimal("0.0000000125"), agent="researcher"),
    entry(
        "c1",
        kind="correction",
        corrects="r1#1",
        amount=Decimal("-0.0008"),
        usage=Usage(input_tokens=1000, output_tokens=80),
    ),
]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        shutil.copy(STORED / "first.db", tmp_path / "ledger.db")
        return f"sqlite:///{tmp_path}/ledger.db"
    import psycopg

    database: str = request.getfixturevalue("database")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute((STORED / "first.sql").read_text())
    return database


def test_it_is_upgraded_with_all_entries(url: str) -> None:
    for _ in range(2):
        with closing(open_ledger(url)) as ledger:
            assert ledger.entries() == WRITTEN
            assert ledger.entries("session:3f2a") == [WRITTEN[0], WRITTEN[1], WRITTEN[3]]
            assert {
                one.scope: (one.amount, one.entries, one.calls, one.tokens) for one in ledger.totals()
            } == {
                "customer:acme": (Decimal("0.000000012"), 1, 1, 1580),
                "session:3f2a": (Decimal("0.006"), 3, 1, 1580 + 1080),
                "session:b": (Decimal("0.000000012"), 1, 1, 1580),
            }
            assert check(ledger).problems == ()
    with closing(open_ledger(url)) as ledger:
        ledger.append(entry("r1", amount=Decimal(9)), ("session:3f2a",))
        ledger.append(entry("r4"), ("session:3f2a",))
        assert [one.id for one in ledger.entries()] == ["r1", "r2", "r3", "c1", "r4"]
        assert check(ledger).problems == ()

"""What every ledger has for those who report: pieces, sums over a time, and findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from apeiros_callbacks import Finding, Session
from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.usage import Usage
from tests.contract.entries import NOON, entry
from tests.contract.processes import run

A, B = ("session:a",), ("session:b",)
LOOP = Finding(
    type="retry_loop",
    severity="notice",
    message="the same prompt runs 3 times in a row.",
    numbers={"times": 3, "share": 0.5, "cost": "0.01"},
    wasted=Decimal("0.0000000001"),
    agent="writer",
    step=4,
    peak=3.0,
)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}[request.param]


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(open_ledger(url)) as opened:
        yield opened


def noted(finding: Finding = LOOP, session: str = "a", source: str = "one", minute: int = 0) -> Noted:
    moment = NOON + timedelta(minutes=minute)
    return Noted(session_id=session, source=source, finding=finding, first_at=moment, last_at=moment)


class TestPages:
    def test_a_ledger_is_read_piece_by_piece(self, ledger: Ledger) -> None:
        for number in range(7):
            ledger.append(entry(f"r{number}"), A if number % 2 else B)

        place, read = 0, list[str]()
        while page := ledger.page(after=place, most=3):
            assert len(page) <= 3
            read += [line.entry.id for line in page]
            place = page[-1].place
        assert read == [f"r{number}" for number in range(7)]

    def test_the_last_ones_and_then_those_that_come(self, ledger: Ledger) -> None:
        for number in range(5):
            ledger.append(entry(f"r{number}"), A)
        last = ledger.page("session:a", most=2)
        assert [line.entry.id for line in last] == ["r3", "r4"]
        assert ledger.page("session:a", after=last[-1].place) == []

        ledger.append(entry("r5"), B)
        ledger.append(entry("r6"), A)
        assert [line.entry.id for line in ledger.page("session:a", after=last[-1].place)] == ["r6"]

    def test_a_scope_that_nobody_was_charged_to(self, ledger: Ledger) -> None:
        ledger.append(entry(), A)
        assert ledger.page("session:x") == ledger.page("session:x", after=0) == ledger.page(most=0) == []


class TestSums:
    def test_by_model_over_a_time(self, ledger: Ledger) -> None:
        hours = [timedelta(hours=hour) for hour in range(4)]
        for number, (hour, model) in enumerate(zip(hours, ("x", "y", "y", "y"), strict=True)):
            moment = NOON + hour
            ledger.append(entry(f"r{number}", model=model, started_at=moment, ended_at=moment), A)

        sums = ledger.sums("model", NOON, NOON + hours[3])
        assert [(one.scope, one.amount, one.calls, one.tokens, one.entries) for one in sums] == [
            ("y", Decimal("0.0136"), 2, 3160, 2),
            ("x", Decimal("0.0068"), 1, 1580, 1),
        ]
        assert (sums[0].first_at, sums[0].last_at) == (NOON + hours[1], NOON + hours[2])
        assert [one.entries for one in ledger.sums("model", NOON + hours[1])] == [3]

    def test_a_correction_replaces_tokens_and_adds_dollars(self, ledger: Ledger) -> None:
        ledger.append(entry("r1"), A)
        right = Usage(input_tokens=100)
        ledger.append(
            entry("c1", kind="correction", corrects="r1#1", usage=right, amount=Decimal("-0.0060")), A
        )
        (one,) = ledger.sums("session", NOON)
        assert (one.scope, one.amount, one.calls, one.tokens) == ("3f2a", Decimal("0.0008"), 1, 100)

    def test_what_has_no_name(self, ledger: Ledger) -> None:
        ledger.append(entry("r1", amount=None), A)
        ledger.append(entry("r2", customer_id="acme"), A)
        assert [(one.scope, one.amount) for one in ledger.sums("customer", NOON)] == [
            ("acme", Decimal("0.0068")),
            ("", Decimal(0)),
        ]


class TestFindings:
    def test_a_finding_comes_back(self, ledger: Ledger) -> None:
        ledger.note(noted())
        (found,) = ledger.findings()
        assert found == replace(noted(), source="")
        assert str(found.finding.wasted) == "1E-10"
        assert found.last_at.tzinfo is UTC

    def test_one_line_is_kept_up_to_date(self, ledger: Ledger) -> None:
        thrice = replace(LOOP, severity="critical", count=3, peak=5.0, wasted=Decimal(1), message="5 times")
        ledger.note(noted())
        ledger.flush()
        ledger.note(replace(noted(thrice, minute=2), first_at=NOON))
        ledger.note(noted(replace(LOOP, tool="search")))
        ledger.note(noted(session="b"))

        found = {line.line: line for line in ledger.findings()}
        assert len(found) == 3
        line = found["a", "retry_loop", "writer", None]
        assert line.finding == thrice
        assert (line.first_at, line.last_at) == (NOON, NOON + timedelta(minutes=2))

    def test_what_several_processes_count_adds_up(self, ledger: Ledger) -> None:
        worst = replace(LOOP, count=4, peak=9.0, message="9 times", wasted=Decimal(2))
        ledger.note(noted(worst, source="one"))
        ledger.note(noted(replace(LOOP, wasted=Decimal(1)), source="two", minute=1))
        (line,) = ledger.findings()
        assert (line.finding.count, line.finding.wasted, line.finding.message) == (5, 3, "9 times")
        assert (line.first_at, line.last_at) == (NOON, NOON + timedelta(minutes=1))

    def test_some_of_them(self, ledger: Ledger) -> None:
        for minute, name in enumerate("abc"):
            ledger.note(noted(session=name, minute=minute))
            ledger.note(noted(session=name, minute=-minute, source="two"))
        assert [one.session_id for one in ledger.findings()] == ["a", "b", "c"]
        assert [one.session_id for one in ledger.findings("b")] == ["b"]
        assert [one.session_id for one in ledger.findings("x", "c", "a")] == ["a", "c"]
        assert [one.session_id for one in ledger.findings(most=2)] == ["b", "c"]
        recent = ledger.findings(since=NOON + timedelta(minutes=2))
        assert [(one.session_id, one.finding.count) for one in recent] == [("c", 2)]
        assert ledger.findings("x") == []

    def test_any_text(self, ledger: Ledger) -> None:
        odd = replace(LOOP, agent="'); DROP TABLE finding; --\ud800", peak=float("nan"))
        ledger.note(noted(odd, session="株式会社"))
        (found,) = ledger.findings("株式会社")
        assert str(found.finding.agent).startswith("'); DROP TABLE")

    def test_a_closed_ledger_takes_none(self, url: str) -> None:
        ledger = open_ledger(url)
        ledger.close()
        with pytest.raises(LedgerUnavailable, match="closed"):
            ledger.note(noted())
        with pytest.raises(LedgerUnavailable, match="closed"):
            ledger.findings()


_LOOPS = """
    from apeiros_callbacks import Session
    from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
    from apeiros_callbacks.usage import Usage
    session = Session(id="nightly", ledger=url)
    prompt = Prompt((hash("again"),), lambda _: Piece("again"))
    for number in range(5):
        call = Call(id=f"{sys.argv[2]}{number}", provider="openai", model="gpt-4o", prompt=prompt)
        session.open_call(call)
        usage = Usage(input_tokens=10, output_tokens=1)
        session.close_call(call.id, Outcome(ending="answered", usage=usage))
    session.ledger.close()
"""


def test_what_a_session_finds_is_there_for_the_next_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(open_ledger(url)) as ledger:
        for name in ("first", "second"):
            run(_LOOPS, url, name)
        found = [one for one in ledger.findings("nightly") if one.finding.type == "retry_loop"]
        assert [one.finding.count for one in found] == [6]  # 3, 4 and 5 times in a row, in each of them
    with closing(open_ledger(url)) as again:
        assert [one.finding for one in again.findings("nightly")] == [one.finding for one in again.findings()]


def test_a_reset_session_counts_on() -> None:
    session = Session(ledger="memory:")
    session._watch.note(LOOP)
    session.reset()
    session._watch.note(LOOP)
    assert [one.count for one in session.findings] == [1]
    assert [one.finding.count for one in session.ledger.findings(session.id)] == [2]

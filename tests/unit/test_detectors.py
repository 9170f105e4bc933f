"""The five detectors, each at its threshold and just below."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from apeiros_callbacks import Budget, Entry, Finding, Usage
from apeiros_callbacks.detectors import Detector, Lanes, built_in_detectors
from apeiros_callbacks.detectors.budget_exceeded import BudgetExceededDetector
from apeiros_callbacks.scopes import Account, Accounts, Need

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LANE = ("agent", "thread")


def entry(input_tokens: int = 0, output_tokens: int = 0, amount: str = "0.01", **more: Any) -> Entry:
    fields: dict[str, Any] = {
        "id": "x",
        "kind": "llm",
        "session_id": "s",
        "usage": Usage(input_tokens=input_tokens, output_tokens=output_tokens),
        "amount": Decimal(amount),
        "usage_certainty": "reported",
        "price_certainty": "listed",
        "started_at": NOW,
        "ended_at": NOW,
        "agent": "agent",
    }
    return Entry(**fields | more)


def detector(kind: str) -> Detector:
    return next(found for found in built_in_detectors() if found.type == kind)


def feed(kind: str, *entries: Entry) -> list[Finding]:
    watcher, lanes = detector(kind), Lanes()
    found = [watcher.closed(lanes.closed(LANE, 1, line)) for line in entries]
    return [finding for finding in found if finding is not None]


def test_the_third_equal_prompt_in_a_row_is_a_retry_loop() -> None:
    watcher, lanes = detector("retry_loop"), Lanes()
    seen = []
    for prompt in (1, 1, 2, 2, 2, 2):
        seen.append(watcher.opened(lanes.opened(LANE, prompt, None)))
        lanes.closed(LANE, prompt, entry(10, amount="0.02"))
    assert [finding is not None for finding in seen] == [False, False, False, False, True, True]
    assert seen[4] is not None
    assert (seen[4].message, seen[4].wasted) == ("the same prompt runs 3 times in a row.", Decimal("0.02"))


def test_lanes_do_not_mix() -> None:
    watcher, lanes = detector("retry_loop"), Lanes()
    assert not any(watcher.opened(lanes.opened((agent, None), 1, None)) for agent in ("a", "b", "c"))


def test_answers_from_a_cache_are_no_retries() -> None:
    watcher, lanes = detector("retry_loop"), Lanes()
    for _ in range(5):
        assert watcher.opened(lanes.opened(LANE, 1, None)) is None
        lanes.closed(LANE, 1, entry(cached=True, amount="0"))


@pytest.mark.parametrize(("before", "after", "found"), [(1000, 1200, 0), (1000, 1201, 1), (1000, 900, 0)])
def test_context_bloat(before: int, after: int, found: int) -> None:
    findings = feed("context_bloat", entry(before), entry(after))
    assert len(findings) == found
    if findings:
        assert findings[0].message == "the context grew by 20% in one step, from 1,000 to 1,201 tokens."


@pytest.mark.parametrize(("after", "found"), [(199, 0), (200, 1)])
def test_token_acceleration(after: int, found: int) -> None:
    assert len(feed("token_acceleration", entry(50, 50), entry(after - 100, 100))) == found


@pytest.mark.parametrize(("after", "tool", "found"), [(499, True, 0), (500, True, 1), (500, False, 0)])
def test_tool_amplification(after: int, tool: bool, found: int) -> None:
    steps = [entry(100)] + [entry(kind="tool", model="search")] * tool + [entry(after)]
    findings = feed("tool_amplification", *steps)
    assert len(findings) == found
    if findings:
        assert (findings[0].tool, findings[0].wasted) == ("search", Decimal("0.008"))


def test_crossing_the_budget_is_found_with_the_excess() -> None:
    account, accounts = Account("s", Budget(usd=0.10)), Accounts()
    watcher, lanes = BudgetExceededDetector(), Lanes()
    seen = []
    for _ in range(3):
        accounts.correct((account,), Need(50_000_000), Decimal("0.05"))
        seen.append(watcher.closed(lanes.closed(LANE, 1, entry(10, amount="0.05"), (account,))))
    assert [finding is not None for finding in seen] == [False, False, True]
    assert seen[2] is not None
    assert seen[2].wasted == Decimal("0.05")


def test_a_finding_seen_again_updates_its_line() -> None:
    first, second = feed("context_bloat", entry(100), entry(200), entry(300))
    line = first.again(second)
    assert (line.count, line.peak, line.message) == (2, 1.0, first.message)
    assert line.wasted == first.wasted + second.wasted
    assert line.as_dict()["type"] == "context_bloat"

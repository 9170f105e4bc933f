"""Entries to fill a ledger with."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.usage import Usage

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

# Every field differs from its default, and each number from each other.
FULL = Entry(
    id="0191-run",
    attempt=3,
    kind="correction",
    corrects="0190-run#2",
    session_id="9c41",
    customer_id="Ærø Søfart ✓ 株式会社",
    agent="researcher\n'); DROP TABLE entry; --",
    step=7,
    provider="azure",
    model="gpt-4o-2024-08-06",
    requested_model="my-deployment",
    usage=Usage(
        input_tokens=1_000,
        output_tokens=400,
        cache_read_tokens=300,
        cache_write_tokens=200,
        cache_write_1h_tokens=100,
        reasoning_tokens=50,
        input_audio_tokens=40,
        output_audio_tokens=30,
        web_searches=3,
        file_searches=2,
    ),
    amount=Decimal("0.0000000125"),
    usage_certainty="estimated",
    price_certainty="partial",
    cached=True,
    unit_prices={"input": Decimal("2.50"), "cache_read": Decimal("1.25E-7"), 'a "bucket"': Decimal(0)},
    price_source="prices=",
    started_at=NOON - timedelta(seconds=1),
    ended_at=datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=9, minutes=30))),
    routed_from="gpt-5",
    routed_to="gpt-4o",
    routed_why="80% of the budget is spent",
    error="ReadTimeout",
)


def entry(id: str = "r1", **changes: Any) -> Entry:  # noqa: A002 - the field's name
    """An ordinary call, changed where a test says so."""
    plain: dict[str, Any] = {
        "kind": "llm",
        "session_id": "3f2a",
        "provider": "openai",
        "model": "gpt-4o",
        "requested_model": "gpt-4o",
        "usage": Usage(input_tokens=1200, output_tokens=380),
        "amount": Decimal("0.0068"),
        "usage_certainty": "reported",
        "price_certainty": "listed",
        "unit_prices": {"input": Decimal("2.5"), "output": Decimal(10)},
        "price_source": "genai-prices 0.2.3",
        "started_at": NOON,
        "ended_at": NOON,
    }
    return Entry(id=id, **plain | changes)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)

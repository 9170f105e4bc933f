"""What a scope has in all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.money import from_nano, to_nano

__all__ = ["ScopeTotals", "totals_of", "totals_of_row"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeTotals:
    """Sums over all entries that a scope was ever charged with."""

    scope: str
    """Such as ``"customer:acme"``, or ``"customer:acme/2026-11"`` for a period of it."""
    amount: Decimal
    """US dollars, each entry rounded to the nano-dollar; entries of unknown amount add nothing."""
    calls: int
    """LLM calls, answers from a cache not counted."""
    tokens: int
    """Tokens read and written; a correction replaces those of the entry it corrects."""
    entries: int
    first_at: datetime
    """The earliest start of an entry, in UTC."""
    last_at: datetime
    """The latest end of an entry, in UTC."""


def totals_of(scope: str, entries: Iterable[Entry], tokens: dict[str, int]) -> ScopeTotals:
    """Add up the entries of a scope.

    Args:
        scope: its name.
        entries: at least one.
        tokens: what each entry of the ledger read and wrote, by its key.
    """
    lines = list(entries)
    return ScopeTotals(
        scope=scope,
        amount=from_nano(sum(to_nano(line.amount) for line in lines if line.amount is not None)),
        calls=sum(1 for line in lines if line.kind == "llm" and not line.cached),
        tokens=sum(tokens[line.key] - tokens.get(line.corrects or "", 0) for line in lines),
        entries=len(lines),
        first_at=min(line.started_at for line in lines).astimezone(UTC),
        last_at=max(line.ended_at for line in lines).astimezone(UTC),
    )


def totals_of_row(row: Sequence[Any]) -> ScopeTotals:
    """The totals of a row of scope, spent, calls, tokens, entries, first_at and last_at."""
    scope, spent, calls, tokens, entries, first_at, last_at = row
    return ScopeTotals(
        scope=scope,
        amount=from_nano(spent),
        calls=calls,
        tokens=tokens,
        entries=entries,
        first_at=_EPOCH + timedelta(microseconds=first_at),
        last_at=_EPOCH + timedelta(microseconds=last_at),
    )

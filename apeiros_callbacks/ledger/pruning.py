"""Removing old entries, while what they add up to stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger.audit import store_of
from apeiros_callbacks.ledger.protocol import Ledger

__all__ = ["prune"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# An entry that a later one corrects stays with it: its tokens are what the correction replaces.
_OLD = """
SELECT old.seq FROM entry AS old WHERE old.ended_at < ? AND NOT EXISTS (
    SELECT 1 FROM entry AS later WHERE later.corrects = old.id || '#' || old.attempt AND later.ended_at >= ?
)
"""
_ADD = """
ON CONFLICT (scope) DO UPDATE SET
    spent = {table}.spent + excluded.spent, calls = {table}.calls + excluded.calls,
    tokens = {table}.tokens + excluded.tokens, entries = {table}.entries + excluded.entries,
    first_at = CASE WHEN excluded.first_at < {table}.first_at
        THEN excluded.first_at ELSE {table}.first_at END,
    last_at = CASE WHEN excluded.last_at > {table}.last_at
        THEN excluded.last_at ELSE {table}.last_at END
"""
_COLUMNS = "scope, spent, calls, tokens, entries, first_at, last_at"
_KEEP = f"""
INSERT INTO pruned ({_COLUMNS})
SELECT scope, sum(spent), sum(calls), sum(tokens), count(*), min(first_at), max(last_at)
FROM charge JOIN counted ON counted.seq = charge.entry WHERE charge.entry IN ({_OLD}) GROUP BY scope
{_ADD.format(table="pruned")}
"""  # noqa: S608 - our own text
_MONTH = """
INSERT INTO {table} ({columns})
SELECT CAST(? AS TEXT), sum(spent), sum(calls), sum(tokens), count(*), min(first_at), max(last_at)
FROM counted WHERE seq IN ({old}) AND last_at >= ? AND last_at < ? GROUP BY 1 {add}
"""
_KEEP_MONTH, _COUNT_MONTH = (
    _MONTH.format(table=table, columns=_COLUMNS, old=_OLD, add=_ADD.format(table=table))
    for table in ("pruned", "scope_total")
)


def prune(ledger: Ledger, before: datetime) -> int:
    """Remove the entries of calls that ended before a moment.

    What scopes have in all stays, of customers also by their periods; `Ledger.totals` has it, and what was
    removed of each month (in UTC) under ``pruned/2026-11``. Entries that a later one corrects stay.

    Args:
        ledger: one in a file or on a server.
        before: a moment with a time zone.

    Returns:
        How many entries were removed.

    Raises:
        ConfigError: the ledger is in memory, or the moment has no time zone.
        LedgerError: it cannot be changed.
    """
    if before.tzinfo is None:
        raise ConfigError(f"before= needs a time zone, got {before!r}")
    store = store_of(ledger)
    ledger.flush()
    end = (before - _EPOCH) // _MICROSECOND
    old = (end, end)
    ((first,),) = store.read("SELECT min(ended_at) FROM entry WHERE ended_at < ?", (end,))
    if first is None:
        return 0
    by_month = [
        (statement, (f"pruned/{name}", *old, begin, stop))
        for name, begin, stop in _months(first, end)
        for statement in (_KEEP_MONTH, _COUNT_MONTH)
    ]
    statements: list[tuple[str, Sequence[Any]]] = [
        *store.alone,
        *by_month,
        (_KEEP, old),
        (f"DELETE FROM charge WHERE entry IN ({_OLD})", old),  # noqa: S608 - our own text
        # Of those that are not charged to anything any more; the order of corrections does not matter then.
        (f"DELETE FROM entry WHERE seq IN ({_OLD})", old),  # noqa: S608 - our own text
        ("DELETE FROM expired_lease WHERE expired_at < ?", (end,)),
    ]
    return store.change(statements)[-2]


def _months(first: int, end: int) -> Iterator[tuple[str, int, int]]:
    """The months in UTC that two moments are in and between: name, begin and end."""
    month = (_EPOCH + timedelta(microseconds=first)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while (begin := (month - _EPOCH) // _MICROSECOND) < end:
        following = (month + timedelta(days=32)).replace(day=1)
        yield f"{month:%Y-%m}", begin, (following - _EPOCH) // _MICROSECOND
        month = following

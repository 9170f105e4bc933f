"""Whether a ledger's counters are what its entries say, and making them so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger.memory import MemoryLedger
from apeiros_callbacks.ledger.protocol import Ledger
from apeiros_callbacks.ledger.store import Store
from apeiros_callbacks.ledger.stored import StoredLedger
from apeiros_callbacks.money import from_nano, show_usd

__all__ = ["Audit", "LostAllowance", "check", "repair", "store_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SUMS = """
SELECT scope, sum(spent) AS spent, sum(calls) AS calls, sum(tokens) AS tokens, sum(entries) AS entries,
    min(first_at) AS first_at, max(last_at) AS last_at
FROM (
    SELECT charge.scope AS scope, counted.spent AS spent, calls, tokens, 1 AS entries, first_at, last_at
    FROM charge JOIN counted ON counted.seq = charge.entry
    UNION ALL SELECT scope, spent, calls, tokens, entries, first_at, last_at FROM pruned
) AS part WHERE true GROUP BY scope
"""
_WRONG_SUMS = f"""
WITH sums AS ({SUMS})
SELECT total.scope, total.spent, coalesce(sums.spent, 0) FROM scope_total AS total
LEFT JOIN sums ON sums.scope = total.scope
WHERE total.spent <> coalesce(sums.spent, 0) OR total.calls <> coalesce(sums.calls, 0)
    OR total.tokens <> coalesce(sums.tokens, 0) OR total.entries <> coalesce(sums.entries, 0)
UNION ALL
SELECT sums.scope, 0, sums.spent FROM sums
WHERE NOT EXISTS (SELECT 1 FROM scope_total AS total WHERE total.scope = sums.scope)
ORDER BY 1
"""  # noqa: S608 - our own text
_WRONG_RESERVED = """
SELECT scope, reserved, leased FROM (
    SELECT total.scope AS scope, reserved,
        (SELECT coalesce(sum(granted), 0) FROM lease WHERE lease.scope = total.scope) AS leased
    FROM scope_total AS total
) AS both_sides WHERE reserved <> leased ORDER BY scope
"""
_STRAY = "SELECT count(*) FROM charge LEFT JOIN entry ON entry.seq = charge.entry WHERE entry.seq IS NULL"
_LOST = "SELECT scope, owner, granted, idle, expired_at FROM expired_lease ORDER BY expired_at, scope, owner"
_UNRESOLVED = "SELECT count(*) FROM entry WHERE usage_certainty = 'unresolved'"

_FORGET_SUMS = """
UPDATE scope_total SET spent = 0, calls = 0, tokens = 0, entries = 0, first_at = NULL, last_at = NULL,
    reserved = (SELECT coalesce(sum(granted), 0) FROM lease WHERE lease.scope = scope_total.scope)
"""
_SUM_UP = f"""
INSERT INTO scope_total (scope, spent, calls, tokens, entries, first_at, last_at) {SUMS}
ON CONFLICT (scope) DO UPDATE SET
    spent = excluded.spent, calls = excluded.calls, tokens = excluded.tokens, entries = excluded.entries,
    first_at = excluded.first_at, last_at = excluded.last_at
"""


@dataclass(frozen=True, slots=True)
class LostAllowance:
    """What a process had set aside when it ended without a word."""

    scope: str
    owner: str
    """Host, process id and a random word."""
    granted: Decimal
    """US dollars that were set aside; nobody could use them until they were taken back."""
    held: Decimal
    """US dollars of them that its open calls held when it was last heard of. Some may have been spent: the
    provider's bill says, the ledger does not."""
    expired_at: datetime


@dataclass(frozen=True, slots=True)
class Audit:
    """What `check` found."""

    problems: tuple[str, ...]
    """Where the ledger contradicts itself; empty when it does not. `repair` mends the counters."""
    lost: tuple[LostAllowance, ...]
    unresolved: int
    """Entries of calls that were sent and whose end was never seen."""


def check(ledger: Ledger) -> Audit:
    """Compare a ledger's counters with its entries and leases. It may be in use meanwhile.

    A ledger in memory has no counters, so nothing to compare.

    Raises:
        LedgerError: it cannot be read.

    Example:
        >>> from apeiros_callbacks.ledger import open_ledger
        >>> check(open_ledger("memory:")).problems
        ()
    """
    if isinstance(ledger, MemoryLedger):
        unresolved = sum(1 for entry in ledger.entries() if entry.usage_certainty == "unresolved")
        return Audit((), (), unresolved)
    store = store_of(ledger)
    ledger.flush()
    problems = list(store.damage())
    for scope, counted, summed in store.read(_WRONG_SUMS):
        amounts = "" if counted == summed else f": {_usd(counted)} instead of {_usd(summed)}"
        problems.append(f"{scope} does not count what its entries say{amounts}")
    for scope, counted, leased in store.read(_WRONG_RESERVED):
        problems.append(f"{scope} has {_usd(counted)} reserved, and its allowances are {_usd(leased)}")
    ((stray,),) = store.read(_STRAY)
    if stray:
        problems.append(f"{stray:,} charges are of entries that are not there")
    ((unresolved,),) = store.read(_UNRESOLVED)
    lost = tuple(
        LostAllowance(
            scope,
            owner,
            from_nano(granted),
            from_nano(max(0, granted - idle)),
            _EPOCH + timedelta(microseconds=expired_at),
        )
        for scope, owner, granted, idle, expired_at in store.read(_LOST)
    )
    return Audit(tuple(problems), lost, unresolved)


def repair(ledger: Ledger) -> Audit:
    """Rebuild all counters from the entries and the leases, and check them.

    Raises:
        LedgerError: it cannot be changed.
    """
    if not isinstance(ledger, MemoryLedger):
        store = store_of(ledger)
        ledger.flush()
        store.change([*store.alone, (_FORGET_SUMS, ()), (_SUM_UP, ())])
    return check(ledger)


def store_of(ledger: Ledger) -> Store:
    """Where a ledger is kept.

    Raises:
        ConfigError: it is not kept anywhere.
    """
    if not isinstance(ledger, StoredLedger):
        raise ConfigError(f"the ledger {ledger.url} is not kept in a file or on a server.")
    return ledger.store


def _usd(nano: int) -> str:
    return show_usd(from_nano(int(nano)), 9)

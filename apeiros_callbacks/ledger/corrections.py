"""Putting a line of the ledger right, by a new line that says the difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger.protocol import Ledger
from apeiros_callbacks.money import Dollars, exact_usd
from apeiros_callbacks.prices import PriceBook

__all__ = ["Line", "correct", "lines", "reprice"]


@dataclass(frozen=True, slots=True)
class Line:
    """An entry with what corrected it."""

    entry: Entry
    corrections: tuple[Entry, ...]
    """Oldest first."""

    @property
    def amount(self) -> Decimal | None:
        """US dollars as they stand, exact; None when nobody knows."""
        amounts = [one.amount for one in (self.entry, *self.corrections) if one.amount is not None]
        return sum(amounts, Decimal(0)) if amounts else None

    @property
    def last(self) -> Entry:
        """The entry as it stands, but for its amount."""
        return self.corrections[-1] if self.corrections else self.entry


def lines(entries: Iterable[Entry]) -> list[Line]:
    """Entries with their corrections, in the order of the entries."""
    found: dict[str, list[Entry]] = {}
    root: dict[str, str] = {}
    for entry in entries:
        origin = root.get(entry.corrects or "", entry.corrects) if entry.kind == "correction" else None
        root[entry.key] = origin or entry.key
        found.setdefault(root[entry.key], []).append(entry)
    return [Line(group[0], tuple(group[1:])) for group in found.values()]


def correct(ledger: Ledger, key: str, amount: Dollars, why: str = "corrected") -> Entry | None:
    """Say what an entry really cost.

    Doing so twice is doing so once: the second time there is no difference.

    Args:
        ledger: where the entry is.
        key: the entry's `Entry.key`, such as ``"0191-run#1"``.
        amount: US dollars that it cost in all.
        why: goes to the correction's `Entry.price_source`.

    Returns:
        The correction; None when the entry stands at that amount already.

    Raises:
        ConfigError: there is no such entry, or the amount is not valid.
        LedgerError: the ledger cannot be read or written.
    """
    line = next((line for line in lines(ledger.entries()) if line.entry.key == key), None)
    if line is None:
        raise ConfigError(f"there is no entry {key!r} in the ledger {ledger.url}")
    usd = exact_usd(amount, "amount")
    right = replace(line.last, amount=usd, price_certainty="override", unit_prices={}, price_source=why)
    return _append(ledger, line, right)


def reprice(
    ledger: Ledger,
    book: PriceBook,
    *,
    since: datetime,
    until: datetime | None = None,
    model: str | None = None,
) -> list[Entry]:
    """Price entries again, each at the prices of its own time, and correct those that come out different.

    Doing so twice is doing so once. Entries whose amount a person or the provider said are left alone.

    Args:
        ledger: where the entries are.
        book: the prices, with those that were mistyped before put right.
        since: the first start of a call, with a time zone.
        until: the first start that is not meant; None for no end.
        model: only calls that this model answered; None for all.

    Returns:
        The corrections.

    Raises:
        LedgerError: the ledger cannot be read or written.
    """
    made: list[Entry] = []
    for line in lines(ledger.entries()):
        entry, last = line.entry, line.last
        meant = since <= entry.started_at and (until is None or entry.started_at < until)
        if (
            not meant
            or entry.cached
            or (model is not None and entry.model != model)
            or not _is_priced_here(line)
        ):
            continue
        if entry.kind == "tool":
            rates = book.tool(entry.model)
        else:
            rates = book.rates(entry.provider, entry.model, entry.started_at) or book.rates(
                entry.provider, entry.requested_model, entry.started_at
            )
        if rates is None:
            continue
        charge = rates.charge(last.usage)
        if charge.amount is None:
            continue
        right = replace(
            last,
            amount=charge.amount,
            price_certainty=charge.certainty,
            unit_prices=charge.unit_prices,
            price_source=charge.source,
        )
        correction = _append(ledger, line, right)
        if correction is not None:
            made.append(correction)
    return made


def _is_priced_here(line: Line) -> bool:
    """The amount is from prices per unit, or not known: a person or the provider may know better."""
    last = line.last
    if last.usage_certainty in {"assumed", "unresolved"}:
        return False
    return last.amount is None or bool(last.unit_prices)


def _append(ledger: Ledger, line: Line, right: Entry) -> Entry | None:
    change = (right.amount or Decimal(0)) - (line.amount or Decimal(0))
    if not change and line.amount is not None:
        return None
    now = datetime.now(UTC)
    correction = replace(
        right,
        # Of two who correct the same line at once, one is written: both would say the same difference.
        id=f"{line.entry.key}/correction-{len(line.corrections) + 1}",
        attempt=1,
        kind="correction",
        corrects=line.last.key,
        amount=change,
        started_at=now,
        ended_at=now,
    )
    ledger.append(correction, ledger.scopes(line.entry))
    ledger.flush()
    return correction

"""Ledger lines and findings as plain data, for JSON and CSV: amounts as text, times in ISO 8601."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.ledger.totals import ScopeTotals
from apeiros_callbacks.usage import Usage

__all__ = ["CSV_COLUMNS", "amount_text", "csv_row", "entry_data", "finding_data", "totals_data"]

_USAGE = tuple(field.name for field in fields(Usage))
CSV_COLUMNS = tuple(
    column
    for field in fields(Entry)
    if field.name != "unit_prices"
    for column in (_USAGE if field.name == "usage" else (field.name,))
)
"""The fields of an entry in one row, with those of its usage; without the prices that it was charged at."""


def amount_text(amount: Decimal | None) -> str | None:
    """US dollars, exact and without an exponent; None where unknown."""
    return None if amount is None else f"{amount:f}"


def entry_data(entry: Entry) -> dict[str, Any]:
    """An entry, for `json.dumps`."""
    prices = {bucket: amount_text(price) for bucket, price in entry.unit_prices.items()}
    return {field.name: _value(getattr(entry, field.name)) for field in fields(entry)} | {
        "unit_prices": prices
    }


def csv_row(entry: Entry) -> list[Any]:
    """The cells of `CSV_COLUMNS`; empty where unknown."""
    data = entry_data(entry)
    cells = {**data, **data["usage"]}
    return [cells[column] for column in CSV_COLUMNS]


def finding_data(noted: Noted) -> dict[str, Any]:
    """A finding, for `json.dumps`."""
    return {
        "session_id": noted.session_id,
        **noted.finding.as_dict(),
        "wasted": amount_text(noted.finding.wasted),
        "first_at": _value(noted.first_at),
        "last_at": _value(noted.last_at),
    }


def totals_data(totals: ScopeTotals) -> dict[str, Any]:
    """Sums of a scope, for `json.dumps`, without the scope's name."""
    return {
        "first_at": _value(totals.first_at),
        "last_at": _value(totals.last_at),
        "calls": totals.calls,
        "tokens": totals.tokens,
        "entries": totals.entries,
        "cost": amount_text(totals.amount),
    }


def _value(value: Any) -> Any:
    match value:
        case Usage():
            return asdict(value)
        case Decimal():
            return amount_text(value)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case _:
            return value

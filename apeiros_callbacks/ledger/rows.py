"""An `Entry` as a row of the table ``entry``, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, TypeAlias

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.money import to_nano
from apeiros_callbacks.usage import Usage

__all__ = ["COLUMNS", "Item", "entry_of", "insert", "legible", "row_of", "select"]

Item: TypeAlias = tuple[Entry, tuple[str, ...]]
"""An entry and the scopes it is charged to."""

_WHAT = (
    "id", "attempt", "kind", "corrects", "session_id", "customer_id", "agent", "step", "provider", "model",
    "requested_model",
)  # fmt: skip
_USAGE = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "web_searches", "file_searches",
)  # fmt: skip
_AMOUNT = ("amount", "amount_nano")
_HOW = ("usage_certainty", "price_certainty", "cached")
_PRICES = ("unit_prices", "price_source")
_TIMES = ("started_at", "ended_at")
_WHY = ("routed_from", "routed_to", "routed_why", "error")
COLUMNS = (*_WHAT, *_USAGE, *_AMOUNT, *_HOW, *_PRICES, *_TIMES, *_WHY)

_what = attrgetter(*_WHAT)
_usage = attrgetter(*_USAGE)
_how = attrgetter(*_HOW)
_why = attrgetter(*_WHY)

_quoted = json.encoder.encode_basestring_ascii
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Python gives up the GIL in each statement and may wait 5 ms for it while another thread computes, so
# rows go many to a statement. There is one for each small number of rows and for each power of two above:
# fewer in all than the 128 that a connection keeps prepared.
_SMALL, _MOST_ROWS = 32, 256


def row_of(entry: Entry) -> tuple[Any, ...]:
    """The values of `COLUMNS`.

    Raises:
        TypeError, ValueError, AttributeError, ArithmeticError: it is not an entry.
    """
    amount = entry.amount
    return (
        *_what(entry),
        *_usage(entry.usage),
        None if amount is None else str(amount),
        None if amount is None else to_nano(amount),
        *_how(entry),
        _json(entry.unit_prices),
        entry.price_source,
        (entry.started_at - _EPOCH) // _MICROSECOND,
        (entry.ended_at - _EPOCH) // _MICROSECOND,
        *_why(entry),
    )


def _json(prices: Mapping[str, Decimal]) -> str:
    # `json.dumps` takes twice as long, and this is done for every entry while callers wait for the GIL.
    pairs = [f"{_quoted(bucket)}: {_quoted(str(price))}" for bucket, price in prices.items()]
    return f"{{{', '.join(pairs)}}}"


def entry_of(row: Sequence[Any]) -> Entry:
    """The entry of a row that `select` found.

    Raises:
        ValueError: the row holds what no entry can, for instance a part of more tokens than its whole.
        ArithmeticError: an amount is not a number.
    """
    stored = dict(zip(COLUMNS, row, strict=True))
    amount = stored.pop("amount")
    del stored["amount_nano"]
    usage = Usage(**{bucket: stored.pop(bucket) for bucket in _USAGE})
    prices = {bucket: Decimal(price) for bucket, price in json.loads(stored.pop("unit_prices")).items()}
    return Entry(
        amount=None if amount is None else Decimal(amount),
        usage=usage,
        unit_prices=prices,
        cached=bool(stored.pop("cached")),
        started_at=_EPOCH + timedelta(microseconds=stored.pop("started_at")),
        ended_at=_EPOCH + timedelta(microseconds=stored.pop("ended_at")),
        **stored,
    )


def select(scope: str | None) -> tuple[str, tuple[str, ...]]:
    """The statement that reads all entries, or those of a scope, oldest first; and its values."""
    columns = ", ".join(f"entry.{name}" for name in COLUMNS)
    if scope is None:
        return f"SELECT {columns} FROM entry ORDER BY seq", ()  # noqa: S608 - our own column names
    of_scope = "FROM charge JOIN entry ON entry.seq = charge.entry WHERE charge.scope = ?"
    return f"SELECT {columns} {of_scope} ORDER BY charge.entry", (legible(scope),)


def insert(connection: sqlite3.Connection, items: Sequence[Item], *, clean: bool = False) -> None:
    """Insert entries and their charges; what is there already stays as it is.

    Args:
        connection: one with an open transaction.
        items: what to insert, in order.
        clean: replace what SQLite cannot hold in a text.

    Raises:
        sqlite3.Error: the file cannot take them.
        TypeError, ValueError, AttributeError, ArithmeticError: an entry is not one.
    """
    rows = [row_of(entry) for entry, _ in items]
    charges = [(scope, entry.id, entry.attempt) for entry, scopes in items for scope in scopes]
    if clean:
        rows = [_clean(row) for row in rows]
        charges = [_clean(row) for row in charges]
    _execute(connection, _insert_entries, rows)
    _execute(connection, _insert_charges, charges)


def _execute(
    connection: sqlite3.Connection, statement: Callable[[int], str], rows: Sequence[tuple[Any, ...]]
) -> None:
    start = 0
    while left := min(len(rows) - start, _MOST_ROWS):
        size = left if left <= _SMALL else 1 << left.bit_length() - 1
        values = chain.from_iterable(rows[start : start + size])
        connection.execute(statement(size), list(values))
        start += size


@lru_cache
def _insert_entries(rows: int) -> str:
    columns = ", ".join(COLUMNS)
    values = _values(rows, len(COLUMNS))
    return f"INSERT INTO entry ({columns}) {values} ON CONFLICT (id, attempt) DO NOTHING"


@lru_cache
def _insert_charges(rows: int) -> str:
    return (
        f"WITH given (scope, id, attempt) AS ({_values(rows, 3)})"  # noqa: S608 - marks only
        " INSERT INTO charge (scope, entry)"
        " SELECT given.scope, entry.seq FROM given CROSS JOIN entry"
        " ON entry.id = given.id AND entry.attempt = given.attempt WHERE true"
        " ON CONFLICT DO NOTHING"
    )


def _values(rows: int, width: int) -> str:
    return "VALUES " + ", ".join([f"({', '.join('?' * width)})"] * rows)


def _clean(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(legible(value) if isinstance(value, str) else value for value in row)


def legible(text: str) -> str:
    """A text without lone surrogates, which UTF-8 and so SQLite cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")

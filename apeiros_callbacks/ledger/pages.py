"""Reading a ledger in pieces: a million entries do not fit into memory, and a report waits for none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.ledger.instants import instant_of
from apeiros_callbacks.ledger.rows import COLUMNS, entry_of

__all__ = ["FIELDS", "GroupName", "Line", "line_of_row", "page_of", "page_statement", "sums_statement"]

GroupName: TypeAlias = Literal["session", "customer", "agent", "model"]

FIELDS: Final[dict[GroupName, str]] = {
    "session": "session_id",
    "customer": "customer_id",
    "agent": "agent",
    "model": "model",
}
"""The field of an entry that a group is named after."""


_COLUMNS = ", ".join(f"entry.{name}" for name in COLUMNS)


class Line(NamedTuple):
    """An entry, and its place among those of its ledger."""

    place: int
    """Higher than that of any entry that was there before."""
    entry: Entry


def page_of(lines: Iterable[Line], after: int | None, most: int) -> list[Line]:
    """What `Ledger.page` gives, of lines in the order of their places."""
    if after is None:
        return list(lines)[-most:] if most else []
    return list(islice((line for line in lines if line.place > after), most))


def line_of_row(row: Sequence[Any]) -> Line:
    """The line of a row that `page_statement` found."""
    return Line(row[0], entry_of(row[1:]))


def page_statement(scope: str | None, after: int | None, most: int) -> tuple[str, tuple[Any, ...]]:
    """The statement that reads place and columns for `Ledger.page`; and its values."""
    place, source = ("entry.seq", "entry")
    values: tuple[Any, ...] = ()
    conditions: list[str] = []
    if scope is not None:
        place, source = "charge.entry", "charge JOIN entry ON entry.seq = charge.entry"
        conditions.append("charge.scope = ?")
        values = (scope,)
    if after is not None:
        conditions.append(f"{place} > ?")
        values = (*values, after)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f"ORDER BY {place} {'DESC' if after is None else 'ASC'} LIMIT ?"
    return f"SELECT {place}, {_COLUMNS} FROM {source} {where} {order}", (*values, most)  # noqa: S608


def sums_statement(by: GroupName, since: datetime, until: datetime | None) -> tuple[str, tuple[Any, ...]]:
    """The statement that adds up for `Ledger.sums`; and its values."""
    name = f"coalesce(entry.{FIELDS[by]}, '')"
    end = 2**63 - 1 if until is None else instant_of(until)
    statement = (
        f"SELECT {name}, {_sum('spent')}, {_sum('calls')}, {_sum('tokens')}, count(*),"  # noqa: S608
        " min(counted.first_at), max(counted.last_at)"
        " FROM entry JOIN counted ON counted.seq = entry.seq"
        f" WHERE entry.started_at >= ? AND entry.started_at < ? GROUP BY {name} ORDER BY 2 DESC, 1"
    )
    return statement, (instant_of(since), end)


def _sum(column: str) -> str:
    return f"CAST(sum(counted.{column}) AS bigint)"  # PostgreSQL adds integers up to a decimal

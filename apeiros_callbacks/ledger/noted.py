"""Findings as a ledger keeps them: one line for each pattern of a session, brought up to date in place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from apeiros_callbacks.finding import Finding
from apeiros_callbacks.ledger.instants import instant_of, moment_at
from apeiros_callbacks.ledger.rows import legible

__all__ = ["NOTE_FINDING", "Noted", "findings_statement", "merged", "noted_of_row", "row_of_noted"]

_COLUMNS = (
    "session_id, type, agent, tool, source, severity, message, numbers, wasted, step, count, peak,"
    " first_at, last_at"
)

NOTE_FINDING = (
    f"INSERT INTO finding ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (session_id, type, agent, tool, source) DO UPDATE SET"
    " severity = excluded.severity, message = excluded.message, numbers = excluded.numbers,"
    " wasted = excluded.wasted, step = excluded.step, count = excluded.count, peak = excluded.peak,"
    " last_at = excluded.last_at WHERE excluded.count >= finding.count"
)
"""Writes what `row_of_noted` gives. Again is the same as once, and a late one undoes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A finding of a session, and when it was seen."""

    session_id: str
    source: str
    """Who counts: each process that runs a session counts what it sees itself. Empty for all together."""
    finding: Finding
    """As it stands: how often it was seen until now, and at its worst."""
    first_at: datetime
    last_at: datetime

    @property
    def line(self) -> tuple[object, ...]:
        """What is one line of a report."""
        return (self.session_id, *self.finding.line)


def merged(notes: Iterable[Noted]) -> list[Noted]:
    """One for each line, of whatever sources; the one that was seen last comes last."""
    lines: dict[tuple[object, ...], Noted] = {}
    for note in sorted(notes, key=lambda note: (note.last_at, note.source)):
        before = lines.pop(note.line, None)
        if before is None:
            lines[note.line] = replace(note, source="")
        else:
            first_at = min(before.first_at, note.first_at)
            finding = before.finding.again(note.finding)
            lines[note.line] = replace(note, source="", finding=finding, first_at=first_at)
    return list(lines.values())


def row_of_noted(note: Noted) -> tuple[Any, ...]:
    """The values of `NOTE_FINDING`."""
    finding = note.finding
    return (
        legible(note.session_id),
        finding.type,
        legible(finding.agent or ""),
        legible(finding.tool or ""),
        note.source,
        finding.severity,
        legible(finding.message),
        json.dumps(dict(finding.numbers)),
        str(finding.wasted),
        finding.step,
        finding.count,
        finding.peak if math.isfinite(finding.peak) else 0.0,
        instant_of(note.first_at),
        instant_of(note.last_at),
    )


def noted_of_row(row: Sequence[Any]) -> Noted:
    """What a row that `findings_statement` found says."""
    session_id, kind, agent, tool, source, severity, message, numbers, wasted, step, count, peak = row[:12]
    finding = Finding(
        type=kind,
        severity=severity,
        message=message,
        numbers=json.loads(numbers),
        wasted=Decimal(wasted),
        agent=agent or None,
        step=step,
        tool=tool or None,
        count=count,
        peak=peak,
    )
    first_at, last_at = map(moment_at, row[12:])
    return Noted(session_id=session_id, source=source, finding=finding, first_at=first_at, last_at=last_at)


def findings_statement(
    sessions: Sequence[str], since: datetime | None, most: int | None
) -> tuple[str, tuple[Any, ...]]:
    """The statement that reads all there is of the lines seen last; and its values."""
    conditions: list[str] = []
    values: list[Any] = []
    if sessions:
        conditions.append(f"session_id IN ({', '.join('?' * len(sessions))})")
        values += sessions
    if since is not None:
        conditions.append("last_at >= ?")
        values.append(instant_of(since))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    limit = "" if most is None else " ORDER BY max(last_at) DESC LIMIT ?"
    line = "session_id, type, agent, tool"
    latest = f"SELECT {line} FROM finding{where} GROUP BY {line}{limit}"  # noqa: S608 - our own columns
    statement = f"SELECT {_COLUMNS} FROM finding WHERE ({line}) IN ({latest})"  # noqa: S608
    return statement, (*values, *(() if most is None else (most,)))

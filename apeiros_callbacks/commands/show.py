"""``apeiros show``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.text import Text

from apeiros_callbacks.commands.asked import AsJson, Asked, LedgerUrl, reading
from apeiros_callbacks.commands.moments import clock_time
from apeiros_callbacks.commands.output import CANNOT, WRONG, finding_lines, output, print_json, say, stop
from apeiros_callbacks.commands.records import entry_data, finding_data, totals_data
from apeiros_callbacks.commands.sessions import SESSION
from apeiros_callbacks.display import CALL_COLUMNS, call_rows, health_text
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.layout import Column, Layout, plain
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.ledger.totals import ScopeTotals
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.report import Health

__all__ = ["show"]

_TIMELINE = (
    Column("time"),
    Column("#", right=True, rank=4),
    Column("agent", rank=3, most=16),
    Column("model", most=26),
    Column("in", right=True, rank=2),
    Column("cached", right=True, rank=5),
    Column("out", right=True, rank=1),
    Column("cost", right=True),
    Column("spent", right=True),
)


def show(
    session: Annotated[str, typer.Argument(metavar="ID", help="A session, or how its name begins.")],
    most: Annotated[int, typer.Option("--last", "-n", min=1, help="How many of its lines.")] = 50,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show a session call by call, with what was found in between."""
    with reading(ledger) as asked:
        totals = _named(asked, session)
        name = totals.scope.removeprefix(SESSION)
        entries = [line.entry for line in asked.ledger.page(totals.scope, most=most)]
        findings = asked.ledger.findings(name)
    earlier = totals.entries - len(entries)
    if as_json:
        print_json(
            {"session_id": name}
            | totals_data(totals)
            | {
                "earlier_entries": earlier,
                "lines": [entry_data(entry) for entry in entries],
                "findings": [finding_data(one) for one in findings],
            }
        )
        return
    say(_headline(name, totals, entries))
    if len(entries) < min(most, totals.entries):
        say(f"{earlier:,} earlier lines were pruned; they are counted", style="dim")
    elif earlier:
        shown = "The last line" if len(entries) == 1 else f"The last {len(entries):,} lines"
        said = f"{shown}; all: apeiros show {plain(name)} --last {totals.entries}"
        say(said, style="dim")
    say()
    for line in _timeline(totals, entries, findings, output().width):
        output().print(line, soft_wrap=True)
    if doubts := health_text(_health(entries)):
        say(f"\n{doubts}")


def _named(asked: Asked, name: str) -> ScopeTotals:
    begun = asked.ledger.totals(f"{SESSION}{name}")
    found = [one for one in begun if one.scope == f"{SESSION}{name}"] or begun
    if not found:
        stop(CANNOT, f'There is no session {name!r} in {asked.url}. "apeiros sessions" lists them.')
    if len(found) > 1:
        some = ", ".join(one.scope.removeprefix(SESSION) for one in found[:5])
        more = " …" if len(found) > 5 else ""
        stop(WRONG, f"{len(found):,} sessions begin with {name!r}: {some}{more}")
    return found[0]


def _headline(name: str, totals: ScopeTotals, entries: Sequence[Entry]) -> str:
    customers = sorted({entry.customer_id for entry in entries if entry.customer_id})
    of = f", customer {', '.join(customers)}" if customers else ""
    first, last = totals.first_at.astimezone(), totals.last_at.astimezone()
    end = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    calls = f"{totals.calls:,} call{'' if totals.calls == 1 else 's'}"
    return plain(
        f"session {name}{of}: {show_usd(totals.amount)} spent, {calls}, {totals.tokens:,} tokens"
    ) + (f"\n{first:%Y-%m-%d %H:%M:%S} to {end}")


def _timeline(
    totals: ScopeTotals, entries: Sequence[Entry], findings: Sequence[Noted], width: int
) -> Iterable[Text]:
    """The calls, and each finding where it was first seen."""
    shown = sum((entry.amount for entry in entries if entry.amount is not None), start=totals.amount * 0)
    cells = call_rows(entries, before=totals.entries - len(entries), spent=totals.amount - shown)
    rows = [(clock_time(entry.started_at), *row) for entry, row in zip(entries, cells, strict=True)]
    unused = {
        name
        for place, name in enumerate(("time", *CALL_COLUMNS))
        if name in {"agent", "cached"} and all(row[place] in {"-", "0", ""} for row in rows)
    }
    kept = [place for place, column in enumerate(_TIMELINE) if column.name not in unused]
    rows = [tuple(row[place] for place in kept) for row in rows]
    layout = Layout([_TIMELINE[place] for place in kept], rows, width)
    yield layout.header
    waiting = sorted(findings, key=lambda one: one.first_at)
    for entry, line in zip(entries, layout.lines(rows), strict=True):
        while waiting and waiting[0].first_at <= entry.started_at:
            yield from finding_lines(waiting.pop(0).finding, width)
        yield line
    for noted in waiting:
        yield from finding_lines(noted.finding, width)


def _health(entries: Iterable[Entry]) -> Health:
    lines = list(entries)
    corrected = {entry.corrects for entry in lines}
    health = Health()
    for entry in lines:
        if entry.key not in corrected:
            health = health.counting(entry)
    return health

"""``apeiros tail``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from apeiros_callbacks.commands import moments
from apeiros_callbacks.commands.asked import LedgerUrl, reading
from apeiros_callbacks.commands.moments import clock_time
from apeiros_callbacks.commands.output import errors, finding_lines, output
from apeiros_callbacks.commands.records import entry_data, finding_data
from apeiros_callbacks.commands.sessions import SESSION
from apeiros_callbacks.display import CALL_COLUMNS, call_rows
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.layout import Column, Layout, plain
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.ledger.pages import Line

__all__ = ["tail"]

# The rows to come are not known: what is longer than this moves what is to the right of it.
_COLUMNS = (
    Column("time", least=8),
    Column("session", least=12),
    Column("agent", rank=4, least=10, most=10),
    Column("model", rank=1, least=20, most=20),
    Column("in", right=True, rank=3, least=7),
    Column("out", right=True, rank=2, least=6),
    Column("cost", right=True, least=9),
)
_SHOWN = tuple(CALL_COLUMNS.index(column.name) for column in _COLUMNS if column.name in CALL_COLUMNS)
_PAUSE = 0.5
_PAGE = 500
_OVERLAP = 200


def tail(
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")] = None,
    most: Annotated[int, typer.Option("--last", "-n", min=0, help="How many lines to begin with.")] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for more, until Ctrl-C.")] = True,
    ledger: LedgerUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print a line of JSON for each.")
    ] = False,
) -> None:
    """Show calls and findings of all processes as they come in."""
    with reading(ledger, create=follow) as asked:
        scope = None if session is None else f"{SESSION}{session}"
        began = moments.now()
        lines = asked.ledger.page(scope, most=max(most, _OVERLAP))
        if not lines:
            said = "Nothing is recorded yet; waiting." if follow else asked.is_empty_because
            errors().print(said, soft_wrap=True)
        shown = _Shown(as_json)
        first = [line.entry for line in lines[max(0, len(lines) - most) :]]
        shown.entries(first)
        of_session = [session] if session else []
        if first:
            shown.findings(asked.ledger.findings(*of_session, since=first[0].started_at))
        while follow:
            time.sleep(_PAUSE)
            lines = _after(asked.ledger, scope, lines[-_OVERLAP:], shown)
            shown.findings(asked.ledger.findings(*of_session, since=began))


def _after(ledger: Ledger, scope: str | None, before: list[Line], shown: _Shown) -> list[Line]:
    """Show what came after some lines, also in between: a server's transactions end in another order."""
    seen = {line.place for line in before}
    lines, place = list(before), before[0].place - 1 if before else 0
    while page := ledger.page(scope, after=place, most=_PAGE):
        place = page[-1].place
        new = [line for line in page if line.place not in seen]
        shown.entries([line.entry for line in new])
        lines += new
    return sorted(lines, key=lambda line: line.place)


class _Shown:
    """Prints what comes, each thing once."""

    def __init__(self, as_json: bool) -> None:
        self._console = output()
        self._as_json = as_json
        self._layout: Layout | None = None
        self._found: dict[tuple[object, ...], str] = {}

    def entries(self, entries: list[Entry]) -> None:
        """Print entries, and the header above the first."""
        if self._as_json:
            self._lines(json.dumps(entry_data(entry), ensure_ascii=False) for entry in entries)
            return
        rows = [
            (clock_time(entry.started_at), entry.session_id, *(row[place] for place in _SHOWN))
            for entry, row in zip(entries, call_rows(entries), strict=True)
        ]
        if not rows:
            return
        if self._layout is None:
            self._layout = Layout(_COLUMNS, rows, self._console.width)
            self._console.print(self._layout.header, soft_wrap=True)
        for line in self._layout.lines(rows):
            self._console.print(line, soft_wrap=True)

    def findings(self, findings: list[Noted]) -> None:
        """Print findings that are new, or worse than when they were printed."""
        for noted in findings:
            if self._found.get(noted.line) == noted.finding.severity:
                continue
            self._found[noted.line] = noted.finding.severity
            if self._as_json:
                self._lines([json.dumps({"finding": finding_data(noted)}, ensure_ascii=False)])
                continue
            self._console.print(
                f"{clock_time(noted.last_at)}  {plain(noted.session_id)}", style="dim", soft_wrap=True
            )
            for line in finding_lines(noted.finding, self._console.width):
                self._console.print(line, soft_wrap=True)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            typer.echo(line)

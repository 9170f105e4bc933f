"""``apeiros tail``."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from apeiros_callbacks.commands.asked import AsJson, Asked, LedgerUrl, reading
from apeiros_callbacks.commands.moments import clock_time, now
from apeiros_callbacks.commands.output import errors, finding_lines, output
from apeiros_callbacks.commands.records import entry_data, finding_data
from apeiros_callbacks.commands.sessions import SESSION
from apeiros_callbacks.display import call_row
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.layout import Column, Layout
from apeiros_callbacks.ledger.noted import Noted

__all__ = ["tail"]

# The rows to come are not known: what is longer than this moves what is to the right of it.
_COLUMNS = (
    Column("time", least=8),
    Column("session", least=12),
    Column("agent", rank=2, least=10, most=10),
    Column("model", least=20, most=20),
    Column("in", right=True, rank=1, least=7),
    Column("out", right=True, rank=1, least=6),
    Column("cost", right=True, least=9),
)
_PAUSE = 0.5
_PAGE = 500


def tail(
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")] = None,
    most: Annotated[int, typer.Option("--last", "-n", min=0, help="How many lines to begin with.")] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for more, until Ctrl-C.")] = True,
    ledger: LedgerUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
) -> None:
    """Show calls and findings as they come in, from whatever process."""
    with reading(ledger) as asked:
        scope = None if session is None else f"{SESSION}{session}"
        began = now()
        lines = asked.ledger.page(scope, most=most)
        last = asked.ledger.page(scope, most=1)
        place = last[-1].place if last else 0
        if not last and not as_json:
            errors().print(asked.is_empty_because if not follow else "Nothing yet.", style="dim")
        shown = _Shown(as_json)
        shown.entries([line.entry for line in lines])
        while follow:
            time.sleep(_PAUSE)
            while page := asked.ledger.page(scope, after=place, most=_PAGE):
                shown.entries([line.entry for line in page])
                place = page[-1].place
            shown.findings(asked.ledger.findings(session, since=began))

"""``apeiros findings``."""

from __future__ import annotations

from typing import Annotated

import typer

from apeiros_callbacks.commands.asked import AsJson, LedgerUrl, Since, reading
from apeiros_callbacks.commands.moments import short_time
from apeiros_callbacks.commands.output import WRONG, finding_lines, output, print_json, say, stop
from apeiros_callbacks.commands.records import finding_data
from apeiros_callbacks.detectors import DETECTOR_TYPES
from apeiros_callbacks.layout import plain

__all__ = ["findings"]


def findings(
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only of this type, such as retry_loop.")
    ] = None,
    since: Since = None,
    most: Annotated[int, typer.Option("--last", "-n", min=1, help="How many.")] = 20,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what the detectors found, the latest first."""
    if kind is not None and kind not in DETECTOR_TYPES:
        stop(WRONG, f"There is no finding {kind!r}. The types are: {', '.join(DETECTOR_TYPES)}.")
    with reading(ledger) as asked:
        found = asked.ledger.findings(
            *([session] if session else []), since=since, most=None if kind else most
        )
        if not found and not asked.ledger.page(most=1) and not as_json:
            say(asked.is_empty_because)
            return
    found = [one for one in reversed(found) if kind in {None, one.finding.type}][:most]
    if as_json:
        print_json([finding_data(one) for one in found])
        return
    if not found:
        say("Nothing was found.")
    console = output()
    for noted in found:
        console.print(f"{short_time(noted.last_at)}  session {plain(noted.session_id)}", style="dim")
        for line in finding_lines(noted.finding, console.width):
            console.print(line, soft_wrap=True)

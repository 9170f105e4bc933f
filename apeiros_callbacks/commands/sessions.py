"""``apeiros sessions``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from apeiros_callbacks.commands.asked import AsJson, LedgerUrl, Since, reading
from apeiros_callbacks.commands.moments import short_time
from apeiros_callbacks.commands.output import print_json, print_rows, say
from apeiros_callbacks.commands.records import totals_data
from apeiros_callbacks.layout import Column
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.money import show_usd

__all__ = ["SESSION", "sessions"]

SESSION = "session:"
"""How the scope of a session begins."""

_COLUMNS = (
    Column("session"),
    Column("last", rank=2),
    Column("calls", right=True, rank=3),
    Column("tokens", right=True, rank=4),
    Column("cost", right=True),
    Column("findings", right=True, rank=1),
)


_AT_ONCE = 1_000


def sessions(
    most: Annotated[int, typer.Option("--last", "-n", min=1, help="How many.")] = 20,
    since: Since = None,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions, the latest first."""
    with reading(ledger) as asked:
        found = [one for one in asked.ledger.totals(SESSION) if since is None or one.last_at >= since]
        found.sort(key=lambda one: one.last_at, reverse=True)
        shown = [(one.scope.removeprefix(SESSION), one) for one in found[:most]]
        found_in = _findings(asked.ledger, [name for name, _ in shown])
    if as_json:
        print_json(
            [{"session_id": name} | totals_data(one) | {"findings": found_in[name]} for name, one in shown]
        )
        return
    if not shown:
        say("No session called since then." if since else asked.is_empty_because)
        return
    print_rows(
        _COLUMNS,
        [
            (
                name,
                short_time(one.last_at),
                f"{one.calls:,}",
                f"{one.tokens:,}",
                show_usd(one.amount),
                f"{found_in[name] or ''}",
            )
            for name, one in shown
        ],
    )
    if len(found) > most:
        say(f"\n{len(found) - most:,} more: apeiros sessions --last {len(found)}", style="dim")


def _findings(ledger: Ledger, names: Sequence[str]) -> Counter[str]:
    """How many lines of findings each session has."""
    several = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
    return Counter(noted.session_id for some in several for noted in ledger.findings(*some))

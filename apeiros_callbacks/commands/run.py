"""``apeiros run``."""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from apeiros_callbacks.commands.asked import LedgerUrl, asked_url
from apeiros_callbacks.commands.demo import ADAPTERS
from apeiros_callbacks.commands.output import CANNOT, OVER_BUDGET, errors, finding_lines, stop
from apeiros_callbacks.display import session_line
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.layout import plain
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.session import Session

__all__ = ["run"]


def run(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A Python file.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Its own arguments, options included.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars; no limit, unless given.")] = None,
    name: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="A name, to go on where it stopped.")
    ] = None,
    ledger: LedgerUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the sum as a line of JSON, on stderr.")
    ] = False,
) -> None:
    """Run a script, record what its models cost, and refuse the call that would pass the budget.

    Options of this command go before the script. The exit code is the script's; 3 where a call was refused or
    more than the budget was spent, and the script has no complaint of its own. What it is about is said on
    stderr, so that the script's own output is left as it is.
    """
    if not script.is_file():
        stop(CANNOT, f"There is no script {str(script)!r}.")
    if not entry_points(group=ADAPTERS):
        stop(
            CANNOT,
            "No adapter is installed, so nothing would be recorded or refused. Install the one for your "
            "framework: pip install ./integrations/langchain-apeiros",
        )
    code, session = _run(script, arguments or [], budget, name, asked_url(ledger))
    is_over = any(finding.type == "budget_exceeded" for finding in session.findings)
    _sum_up(session, is_over, as_json)
    raise typer.Exit(OVER_BUDGET if is_over and code == 0 else code)

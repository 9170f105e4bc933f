"""What the demonstrations of all adapters have alike: the task, its scripted answers, and what is shown.

The agent, the tool and the client are the framework's and real; without a model of the user's the answers
come from a scripted server in this process, which bills a token for every four characters it is sent.
"""

from __future__ import annotations

import json
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apeiros_callbacks.display import CALL_COLUMNS, call_rows, findings_text
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.money import Dollars, show_usd
from apeiros_callbacks.scopes import Budget
from apeiros_callbacks.session import Session
from apeiros_callbacks.testing import Reply, Request, ToolCall

__all__ = ["AGENT", "HANDBOOK", "TASK", "answer", "conclude", "limit_of", "redraw", "report", "shortfall"]

_SCRIPTED_BUDGET, _REAL_BUDGET = 0.50, 0.002
AGENT: Final = "analyst"
HANDBOOK = "You are the analyst of a small fund. Read a report before you speak of it. " * 80
TASK = "Read the reports of all quarters since 2016, one by one, and tell me how the company did."


def report(quarter: int) -> str:
    """Read the report of a quarter, counted from the first of 2016."""
    line = f"In quarter {quarter} the company sold more units than planned, and earned less on each. "
    return line * 500


def limit_of(budget: Dollars | None, *, is_real: bool) -> Budget | None:
    """The budget of a demonstration: less where the answers are a provider's, for which somebody pays.

    Raises:
        InvalidBudget: it is not valid.
    """
    return Budget.of(budget if budget is not None else _REAL_BUDGET if is_real else _SCRIPTED_BUDGET)


def conclude(console: Console, session: Session, refusal: BudgetExceeded | None) -> bool:
    """Say how the run ended.

    Returns:
        Whether more than the budget was spent.
    """
    if not session.entries():
        console.print("No call was sent.")
    elif not console.is_terminal:
        console.print()  # a live table ends its line only on a terminal
    if refusal is None:
        console.print("The agent finished within its budget.")
    else:
        console.print(Text("BudgetExceeded: ", style="bold red") + Text(str(refusal)))
        console.print(f"\n{shortfall(refusal)}")
    if found := [finding for finding in session.findings if finding.type != "budget_exceeded"]:
        console.print(Text(f"\n{findings_text(found)}"))
    console.print(f"\n{show_usd(session.spent)} spent, {show_usd(session.remaining)} left of the budget.")
    limit = session.budget
    return limit is not None and limit.usd is not None and session.spent > limit.usd


def shortfall(refusal: BudgetExceeded) -> str:
    """What is left beside what is needed, with as many digits as tell them apart."""
    left = refusal.limit - refusal.spent - refusal.held
    digits = next((d for d in range(4, 9) if show_usd(left, d) != show_usd(refusal.needed, d)), 9)
    shown = show_usd(left, digits), show_usd(refusal.needed, digits)
    return "Why: {} is left, and the next call needs about {}.".format(*shown)


def answer(request: Request) -> Reply:
    """Ask for one report after another; the provider's cache has what it was sent before."""
    messages: list[dict[str, Any]] = request.body["messages"]
    sizes = [len(json.dumps(message)) // 4 for message in messages]
    read = sum(1 for message in messages if message["role"] == "tool")
    before = sum(sizes[:-1]) if read > 1 else 0
    return Reply(
        tool_calls=[ToolCall("report", {"quarter": read + 1})],
        input_tokens=sum(sizes),
        cache_read_tokens=before // 2 // 128 * 128,
        output_tokens=180 + 20 * read,
    )


def redraw(live: Live, session: Session, console: Console) -> None:
    """Show the calls so far."""
    live.update(_table(session, console), refresh=True)


# What a narrow terminal goes without, the least needed first.
_UNNEEDED = ("agent", "cached", "#", "in", "out", "model")
_WIDE = 1_000


def _table(session: Session, console: Console) -> Table:
    """The calls so far, with as many columns as fit: an amount or a count is never cut."""
    rows = call_rows(session.entries())
    limit = session.budget.usd if session.budget else None
    title = f"{show_usd(session.spent)} spent of {show_usd(limit)}"
    wide = console.options.update_width(_WIDE)
    table = Table()
    for left_out in range(len(_UNNEEDED) + 1):
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
        kept = [i for i, name in enumerate(CALL_COLUMNS) if name not in _UNNEEDED[:left_out]]
        for i in kept:
            table.add_column(CALL_COLUMNS[i], justify="left" if i < 3 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(row[i] for i in kept))
        if console.measure(table, options=wide).maximum <= console.width:
            break
    return table

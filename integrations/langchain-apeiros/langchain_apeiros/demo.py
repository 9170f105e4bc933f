"""What ``apeiros demo`` runs: an agent that reads until its next call would not fit.

The agent, the tool and the client are real; without a model of the user's the answers come from a
scripted server in this process, which bills a token for every four characters it is sent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]
from langchain.chat_models import init_chat_model
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Session
from apeiros_callbacks.display import CALL_COLUMNS, call_rows, findings_text
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.testing import Reply, Request, ScriptedServer, ToolCall
from langchain_apeiros.handler import ApeirosHandler

__all__ = ["run"]

SCRIPTED_BUDGET, REAL_BUDGET = 0.50, 0.002
HANDBOOK = "You are the analyst of a small fund. Read a report before you speak of it. " * 80
TASK = "Read the reports of all quarters since 2016, one by one, and tell me how the company did."


def report(quarter: int) -> str:
    """Read the report of a quarter, counted from the first of 2016."""
    line = f"In quarter {quarter} the company sold more units than planned, and earned less on each. "
    return line * 500


def run(console: Console, *, model: str | None, budget: float | None) -> bool:
    """Run the agent into its budget.

    Args:
        console: where to show it.
        model: a real model as ``provider:name``; the scripted server otherwise.
        budget: US dollars.

    Returns:
        Whether more than the budget was spent.

    Raises:
        ConfigError: the budget is not valid.
    """
    # LangChain logs every error a handler raises; the demo shows it in its own words.
    logging.getLogger("langchain_core.callbacks.manager").setLevel(logging.ERROR)
    limit = Budget.of(budget if budget is not None else REAL_BUDGET if model else SCRIPTED_BUDGET)
    handler = ApeirosHandler(budget=limit)
    with _chat_model(model) as chat, Live(console=console, auto_refresh=False) as live:
        shown = _Shown(handler, live, console)
        agent: Any = create_agent(  # pyright: ignore[reportUnknownVariableType]
            chat, [report], system_prompt=HANDBOOK, name="analyst"
        )
        refusal: BudgetExceeded | None = None
        try:
            agent.invoke(
                {"messages": [HumanMessage(TASK)]},
                {"callbacks": [handler, shown], "recursion_limit": 200},
            )
        except BudgetExceeded as exceeded:
            refusal = exceeded
    _conclude(console, handler, refusal)
    return limit is not None and limit.usd is not None and handler.session.spent > limit.usd


def _conclude(console: Console, handler: ApeirosHandler, refusal: BudgetExceeded | None) -> None:
    session = handler.session
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


def shortfall(refusal: BudgetExceeded) -> str:
    """What is left beside what is needed, with as many digits as tell them apart."""
    left = refusal.limit - refusal.spent - refusal.held
    digits = next((d for d in range(4, 9) if show_usd(left, d) != show_usd(refusal.needed, d)), 9)
    shown = show_usd(left, digits), show_usd(refusal.needed, digits)
    return "Why: {} is left, and the next call needs about {}.".format(*shown)


@contextmanager
def _chat_model(name: str | None) -> Generator[BaseChatModel]:
    if name is not None:
        try:
            model = init_chat_model(name)
        except Exception as problem:  # each provider's client has errors of its own for a missing key
            raise ConfigError(f"--model {name}: {problem}") from problem
        yield model
        return
    with ScriptedServer(_answer) as server:
        yield ChatOpenAI(
            model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("not-needed"), max_retries=0
        )


def _answer(request: Request) -> Reply:
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


class _Shown(BaseCallbackHandler):
    """Redraws the table after each call. Attached after the handler, so that it sees what that recorded."""

    def __init__(self, handler: ApeirosHandler, live: Live, console: Console) -> None:
        self._handler = handler
        self._live = live
        self._console = console

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.refresh()

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.refresh()

    def refresh(self) -> None:
        self._live.update(_table(self._handler.session, self._console), refresh=True)


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

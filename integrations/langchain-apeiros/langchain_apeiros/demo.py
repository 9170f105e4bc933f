"""What ``apeiros demo`` runs: an agent that reads until its next call would not fit."""

from __future__ import annotations

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
from rich.console import Console
from rich.live import Live

from apeiros_callbacks import BudgetExceeded, ConfigError
from apeiros_callbacks.demonstration import AGENT, HANDBOOK, TASK, answer, conclude, limit_of, redraw, report
from apeiros_callbacks.testing import ScriptedServer
from langchain_apeiros.handler import ApeirosHandler

__all__ = ["run"]


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
    handler = ApeirosHandler(budget=limit_of(budget, is_real=model is not None))
    with _chat_model(model) as chat, Live(console=console, auto_refresh=False) as live:
        shown = _Shown(handler, live, console)
        agent: Any = create_agent(  # pyright: ignore[reportUnknownVariableType]
            chat, [report], system_prompt=HANDBOOK, name=AGENT
        )
        refusal: BudgetExceeded | None = None
        try:
            agent.invoke(
                {"messages": [HumanMessage(TASK)]},
                {"callbacks": [handler, shown], "recursion_limit": 200},
            )
        except BudgetExceeded as exceeded:
            refusal = exceeded
    return conclude(console, handler.session, refusal)


@contextmanager
def _chat_model(name: str | None) -> Generator[BaseChatModel]:
    if name is not None:
        try:
            model = init_chat_model(name)
        except Exception as problem:  # each provider's client has errors of its own for a missing key
            raise ConfigError(f"--model {name}: {problem}") from problem
        yield model
        return
    with ScriptedServer(answer) as server:
        yield ChatOpenAI(
            model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("not-needed"), max_retries=0
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
        redraw(self._live, self._handler.session, self._console)

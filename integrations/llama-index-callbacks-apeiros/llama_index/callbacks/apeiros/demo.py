"""What ``apeiros demo`` runs for LlamaIndex: an agent that reads until its next call would not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.llms.openai import OpenAI
from rich.console import Console
from rich.live import Live

from apeiros_callbacks import BudgetExceeded, ConfigError
from apeiros_callbacks.demonstration import AGENT, HANDBOOK, TASK, answer, conclude, limit_of, redraw, report
from apeiros_callbacks.testing import ScriptedServer
from llama_index.callbacks.apeiros.handler import ApeirosHandler
from llama_index.callbacks.apeiros.llm import BudgetedLLM

__all__ = ["run"]

_STEPS = 200
_WHOLE = 1_000_000
"""Tokens of history; LlamaIndex's own limit would leave some of it out."""


def run(console: Console, *, model: str | None, budget: float | None) -> bool:
    """Run the agent into its budget.

    Args:
        console: where to show it.
        model: a real model as ``openai:name``; the scripted server otherwise.
        budget: US dollars.

    Returns:
        Whether more than the budget was spent.

    Raises:
        ConfigError: the budget is not valid, or the model cannot be made.
    """
    handler = ApeirosHandler(budget=limit_of(budget, is_real=model is not None))
    refusal: BudgetExceeded | None = None
    with _llm(model) as llm, Live(console=console, auto_refresh=False) as live:
        try:
            asyncio.run(_run(BudgetedLLM(llm, handler, clamp=False), live, console))
        except BudgetExceeded as exceeded:
            refusal = exceeded
        redraw(live, handler.session, console)
    return conclude(console, handler.session, refusal)


async def _run(llm: BudgetedLLM, live: Live, console: Console) -> None:
    agent: Any = FunctionAgent(name=AGENT, tools=[report], llm=llm, system_prompt=HANDBOOK)
    memory = ChatMemoryBuffer.from_defaults(token_limit=_WHOLE)
    running = agent.run(user_msg=TASK, memory=memory, max_iterations=_STEPS)
    async for _ in running.stream_events():
        redraw(live, llm.session, console)
    await running


@contextmanager
def _llm(name: str | None) -> Generator[OpenAI]:
    if name is None:
        with ScriptedServer(answer) as server:
            yield OpenAI(model="gpt-4o", api_base=server.openai_url, api_key="not-needed", max_retries=0)
        return
    provider, _, model = name.rpartition(":")
    if provider not in {"", "openai"}:
        raise ConfigError(
            f"--model {name}: with LlamaIndex this shows models of OpenAI, such as openai:gpt-5-nano"
        )
    try:
        llm = OpenAI(model=model)
        _ = llm.metadata, llm._get_client()  # pyright: ignore[reportPrivateUsage]
    except Exception as problem:  # the client's own, for a missing key or a model that it does not know
        raise ConfigError(f"--model {name}: {problem}") from problem
    yield llm

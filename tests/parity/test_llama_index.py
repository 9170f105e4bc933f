"""The task as LlamaIndex runs it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.openai", reason="this environment has no LlamaIndex")

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI

from apeiros_callbacks.testing import ScriptedServer
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.parity.task import AGENT, BUDGET, EXPECTED, TASK, entries_of, look_up, script


@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
def test_the_task_comes_to_the_expected_entries(wrapped: bool) -> None:
    with ScriptedServer(script) as server, ApeirosHandler(budget=BUDGET) as handler:
        model: Any = OpenAI(model="gpt-4o", api_base=server.openai_url, api_key="test")
        if wrapped:
            model = BudgetedLLM(model, handler)
        # A stream of OpenAI's reports its usage only where the wrapper asks for it.
        agent = FunctionAgent(name=AGENT, tools=[look_up], llm=model, streaming=wrapped)
        asyncio.run(_run(agent))
    assert entries_of(handler.session) == EXPECTED
    assert handler.session.open_holds == 0


async def _run(agent: Any) -> None:
    await agent.run(TASK)

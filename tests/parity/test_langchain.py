"""The task as LangChain runs it."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from apeiros_callbacks.testing import ScriptedServer
from langchain_apeiros import ApeirosHandler
from tests.parity.task import AGENT, BUDGET, EXPECTED, TASK, entries_of, look_up, script


def test_the_task_comes_to_the_expected_entries() -> None:
    handler = ApeirosHandler(budget=BUDGET)
    with ScriptedServer(script) as server:
        model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("test"))
        agent: Any = create_agent(model, [look_up], name=AGENT)
        agent.invoke({"messages": [("user", TASK)]}, {"callbacks": [handler]})
    assert entries_of(handler.session) == EXPECTED
    assert handler.session.open_holds == 0

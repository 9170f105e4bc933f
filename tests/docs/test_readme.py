"""What the README says is what happens."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from apeiros_callbacks import BudgetExceeded, Session, open_ledger
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.report import roll_up
from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall
from langchain_apeiros import ApeirosHandler

README = (Path(__file__).parents[2] / "README.md").read_text()
LONG_QUESTION = "word " * 40_000


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def python_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def output_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```text\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def anonymous(shown: str) -> str:
    """What was shown, without the random name of its session."""
    return re.sub(r"\b[0-9a-f]{12}\b", "…", shown)


def test_the_example_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    with ScriptedServer([Reply("ok", input_tokens=40_000, output_tokens=50)]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        with contextlib.redirect_stdout(shown):
            exec(python_blocks()[0], {"long_question": LONG_QUESTION})  # noqa: S102 - it is our own page
        assert server.request_count == 4
    assert anonymous(shown.getvalue()) == anonymous(output_after("example-output"))


def test_the_other_example_runs() -> None:
    exec(python_blocks()[1], {})  # noqa: S102


def test_a_session_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Session": Session, "ApeirosHandler": ApeirosHandler}
    exec(python_after("session"), names)  # noqa: S102
    assert names["writer"].session is names["reader"].session
    assert names["session"].id == "nightly-report"
    names["session"].ledger.close()


def test_a_cheaper_fallback_is_served() -> None:
    with ScriptedServer([Reply("ok", input_tokens=10, output_tokens=10)]) as server:
        dear, cheap = (
            ChatOpenAI(model=name, base_url=server.openai_url, api_key=SecretStr("test"))
            for name in ("gpt-4", "gpt-4o-mini")
        )
        handler = ApeirosHandler(budget=0.01)
        names = {"dear": dear, "cheap": cheap, "handler": handler, "BudgetExceeded": BudgetExceeded}
        exec(python_after("fallback"), names)  # noqa: S102
        assert [request.model for request in server.requests] == ["gpt-4o-mini"]
    assert [entry.model for entry in handler.session.entries()] == ["gpt-4o-mini"]


def test_a_run_goes_on_where_it_stopped() -> None:
    ran: list[str] = []

    def look_up(word: str) -> str:
        """Look a word up."""
        ran.append(word)
        return word * 100

    script = [
        Reply("", [ToolCall("look_up", {"word": "sky"})], input_tokens=100_000, output_tokens=20),
        Reply("blue", input_tokens=100_300, output_tokens=20),
    ]
    with ScriptedServer(script) as server:
        model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("test"))
        agent = create_agent(model, [look_up], checkpointer=InMemorySaver())
        handler = ApeirosHandler(budget=0.30)
        names = {"agent": agent, "handler": handler, "BudgetExceeded": BudgetExceeded}
        exec(python_after("resume"), names)  # noqa: S102
        assert server.request_count == 2
    result: Any = names["result"]
    assert (result["messages"][-1].content, ran) == ("blue", ["sky"])
    assert [entry.kind for entry in handler.session.entries()] == ["llm", "tool", "llm"]


def test_a_ledger_is_read_later_and_a_stream_without_usage_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(id="first", ledger="sqlite:///ledger.db")
    config: Any = {"callbacks": [ApeirosHandler(session=session)]}
    with ScriptedServer([Reply("ok", input_tokens=1_000, output_tokens=10)]) as server:
        for asked in (None, True):
            model = ChatOpenAI(
                model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("test"), stream_usage=asked
            )
            list(model.stream("hello", config))
    session.ledger.close()
    ledgers: list[Ledger] = []

    def opened(url: str) -> Ledger:
        ledgers.append(open_ledger(url))
        return ledgers[-1]

    names: dict[str, Any] = {"open_ledger": opened, "roll_up": roll_up}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(python_after("ledger"), names)  # noqa: S102
    ledgers[0].close()
    assert [entry.usage_certainty for entry in names["entries"]] == ["estimated", "reported"]
    assert shown.getvalue() == f"gpt-4o 2 {session.spent}\n"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target

"""What the README says is what happens."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

import langchain_apeiros
from apeiros_callbacks import Session
from apeiros_callbacks.testing import Reply, ScriptedServer

README = (Path(__file__).parents[2] / "README.md").read_text()
LONG_QUESTION = "word " * 40_000


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def output_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```text\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(budget: Any = None, **options: Any) -> Any:
        return original(session=Session(budget, id="first-run", **options))

    original = langchain_apeiros.ApeirosHandler
    monkeypatch.setattr(langchain_apeiros, "ApeirosHandler", named)
    shown = io.StringIO()
    with ScriptedServer([Reply("ok", input_tokens=40_000, output_tokens=50)]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        with contextlib.redirect_stdout(shown):
            exec(python_blocks()[0], {"long_question": LONG_QUESTION})  # noqa: S102 - it is our own page
        assert server.request_count == 4
    assert shown.getvalue() == output_after("example-output")


def test_the_other_example_runs() -> None:
    exec(python_blocks()[1], {})  # noqa: S102


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target

"""The page about many machines says what happens."""

from __future__ import annotations

import contextlib
import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from typer.testing import CliRunner

from apeiros_callbacks import BudgetExceeded
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.commands import app
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_apeiros import ApeirosHandler

PAGE = (Path(__file__).parents[2] / "docs" / "many_machines.md").read_text()


def python_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_examples_run(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db" if kind == "sqlite" else request.getfixturevalue("database")
    shown = io.StringIO()
    with ScriptedServer([Reply("ok", input_tokens=1_000, output_tokens=10)]) as server:
        model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("test"))
        names: dict[str, Any] = {"url": url, "chain": model, "ApeirosHandler": ApeirosHandler}
        exec(python_after("cap"), names)  # noqa: S102 - it is our own page
        with contextlib.redirect_stdout(shown):
            exec(python_after("handler"), names)  # noqa: S102
        month = names["ledger"].caps()["customer:acme"].period_at(datetime.now(UTC))
        assert shown.getvalue() == f"customer:acme/{month} 0.0026 1\n"
        names["ledger"].set_cap(Cap("customer:acme", usd=Decimal("0.0027"), timezone="America/Los_Angeles"))
        with pytest.raises(BudgetExceeded, match="customer acme in"):
            names["chain"].invoke(
                "hello", {"callbacks": [names["handler"]], "metadata": {"customer": "acme"}}
            )


@pytest.mark.parametrize("command", re.findall(r"`apeiros (\w+)", PAGE))
def test_its_commands_are_there(command: str) -> None:
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0

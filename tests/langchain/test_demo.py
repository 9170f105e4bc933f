"""``apeiros demo``, as a person runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from decimal import Decimal

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

from apeiros_callbacks import BudgetExceeded


def apeiros(*arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("OPENAI_API_KEY", None)
    command = [sys.executable, "-m", "apeiros_callbacks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def test_the_demo_ends_in_the_refusal() -> None:
    shown = apeiros("demo")
    assert shown.returncode == 0, shown.stderr
    assert "$0.3476 spent of $0.5000" in shown.stdout
    assert "BudgetExceeded: budget of $0.50 for session" in shown.stdout
    assert "It was not sent." in " ".join(shown.stdout.split())
    assert "Why: $0.1524 is left, and the next call needs about $0.1570." in shown.stdout
    assert "context_bloat ×5" in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("columns", "header", "row"),
    [
        (80, "# agent model in cached out cost spent", "3 analyst gpt-4o 11,600 0 200 $0.0310 $0.0366"),
        (60, "# model in cached out cost spent", "3 gpt-4o 11,600 0 200 $0.0310 $0.0366"),
        (40, "model out cost spent", "gpt-4o 200 $0.0310 $0.0366"),
        (24, "cost spent", "$0.0310 $0.0366"),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_and_whole_amounts(columns: int, header: str, row: str) -> None:
    shown = apeiros("demo", "--budget", "0.10", columns=columns).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert header in lines
    assert row in lines
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= columns


def test_a_budget_below_the_first_call_sends_none() -> None:
    shown = apeiros("demo", "--budget", "0.01").stdout
    assert shown.startswith("No call was sent.\nBudgetExceeded: budget of $0.01")
    assert "Why: $0.0100 is left, and the next call needs about $0.0243." in shown
    assert "\n\n\n" not in shown


def test_the_reason_has_the_digits_that_tell_it() -> None:
    from apeiros_callbacks.demonstration import shortfall

    numbers = (Decimal(part) for part in ("0.002", "0.0019", "0", "0.00010004"))
    assert shortfall(BudgetExceeded("session s", "usd", *numbers)) == (
        "Why: $0.00010000 is left, and the next call needs about $0.00010004."
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--framework", "llama-index"], "./integrations/llama-index-callbacks-apeiros[demo]"),
        (
            ["demo", "--framework", "foo"],
            "no framework 'foo'. The names are: langchain, llama-index.",
        ),
        (["demo", "--budget", "-1"], "must be more than 0"),
        (["demo", "--model", "openai:gpt-5-nano"], "OPENAI_API_KEY"),
        (["demo", "--model", "nonsense"], "nonsense"),
    ],
)
def test_a_demo_that_cannot_run_says_why(arguments: list[str], said: str) -> None:
    shown = apeiros(*arguments)
    assert shown.returncode == 2
    assert said in " ".join((shown.stdout + shown.stderr).split())
    assert "Traceback" not in shown.stderr


def test_the_version() -> None:
    assert apeiros("--version").stdout.startswith("apeiros-callbacks 0.")
    assert re.search(r"--version +Show the version", apeiros("--help").stdout)

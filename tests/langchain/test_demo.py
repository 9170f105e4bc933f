"""``apeiros demo``, as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")


def apeiros(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("OPENAI_API_KEY", None)
    command = [sys.executable, "-m", "apeiros_callbacks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def test_the_demo_ends_in_the_refusal() -> None:
    shown = apeiros("demo")
    assert shown.returncode == 0, shown.stderr
    assert "$0.3476 spent of $0.50" in shown.stdout
    assert "BudgetExceeded: budget of $0.50 for session" in shown.stdout
    assert "It was not sent." in " ".join(shown.stdout.split())
    assert "context bloat" in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert shown.stderr == ""


def test_the_demo_takes_a_budget() -> None:
    assert "spent of $0.10" in apeiros("demo", "--budget", "0.10").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--framework", "llama-index"], "No adapter 'llama-index' is installed"),
        (["demo", "--budget", "-1"], "must not be negative"),
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

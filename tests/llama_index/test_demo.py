"""``apeiros demo --framework llama-index``, as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def apeiros(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("OPENAI_API_KEY", None)
    command = [sys.executable, "-m", "apeiros_callbacks", "demo", "--framework", "llama-index", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def test_the_demo_ends_in_the_refusal() -> None:
    shown = apeiros()
    assert shown.returncode == 0, shown.stderr
    assert "spent of $0.5000" in shown.stdout
    assert "BudgetExceeded: budget of $0.50 for session" in shown.stdout
    assert "It was not sent." in " ".join(shown.stdout.split())
    assert "analyst  gpt-4o" in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "-1"], "must be more than 0"),
        (["--model", "openai:gpt-5-nano"], "OPENAI_API_KEY"),
        (["--model", "mistral:x"], "models of OpenAI"),
    ],
)
def test_a_demo_that_cannot_run_says_why(arguments: list[str], said: str) -> None:
    shown = apeiros(*arguments)
    assert shown.returncode == 2
    assert said in " ".join((shown.stdout + shown.stderr).split())
    assert "Traceback" not in shown.stderr

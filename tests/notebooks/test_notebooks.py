"""The notebooks run from top to bottom, and show what they showed when they were written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="this environment has no notebook runner")
nbformat = pytest.importorskip("nbformat", reason="this environment has no notebook runner")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def outputs(notebook: Any) -> list[str]:
    """What each code cell shows, as text."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [
                output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs
            ]
            # A kernel hands on in pieces what a cell prints, cut where it happened to be.
            shown.append(re.sub(r"0x[0-9a-f]+", "0x…", "".join(texts)))
    return shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_shows_what_it_showed(path: Path) -> None:
    needed = "llama_index.llms.openai" if "llama_index" in path.name else "langchain_openai"
    pytest.importorskip(needed, reason=f"this environment has no {needed}")
    written = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(run, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert outputs(run) == outputs(written)


def test_the_first_notebook_shows_the_refusal() -> None:
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    text = "\n".join(outputs(notebook))
    assert "budget of $0.50 for session first-budget" in text
    assert "It was not sent." in text
    assert "4 requests reached the provider\n4 entries in the ledger" in text
    html = [
        output["data"]["text/html"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert any("critical: budget_exceeded" in shown for shown in html)


def test_the_notebook_of_customers_stops_one_and_tells_once() -> None:
    (path,) = (path for path in NOTEBOOKS if path.name == "04_customers_and_months.ipynb")
    text = "\n".join(outputs(nbformat.read(path, as_version=4)))
    assert "budget of $0.35 for customer acme in 2026-11: $0.3015 spent" in text
    assert "6 requests reached the provider" in text
    assert "$0.2010 of a cap of $0.35 spent: the alert at $0.20 is reached." in text
    assert "acme 2026-12 0.1005 of 0.35 ok\nzoo 2026-11 0.402 of 5.0 ok" in text
    assert '"margin": 0.6885' in text


def test_the_second_notebook_steps_down_and_saves() -> None:
    notebook = nbformat.read(NOTEBOOKS[1], as_version=4)
    text = "\n".join(outputs(notebook))
    assert "agent researcher in session stopped has $0.30" in text
    steps = re.findall(
        r"^(\w+) +(gpt-\S+) +(gpt-\S+) +[\d.]+  \d+% of the budget of agent", text, re.MULTILINE
    )
    assert steps == [
        ("researcher", "gpt-4o-mini", "gpt-4o"),
        ("researcher", "gpt-4o-mini", "gpt-4o"),
        ("writer", "gpt-4.1-mini", "gpt-4.1"),
        ("writer", "gpt-4.1-nano", "gpt-4.1"),
    ]
    assert "saved $0.2607 of $0.5540: 47%" in text
    assert "12 calls" in text


def test_the_third_notebook_refuses_steps_down_and_cuts() -> None:
    notebook = nbformat.read(NOTEBOOKS[2], as_version=4)
    text = "\n".join(outputs(notebook))
    assert "budget of $0.50 for session a-query-engine: $0.4020 spent" in text
    assert "4 requests reached the provider" in text
    assert "llm researcher gpt-4o-mini instead of gpt-4o" in text
    assert "a stream reached the budget of $0.5 and was cut: True" in text
    assert "the provider was told to stop: True" in text

"""What the races share: scripted servers, an event loop that outlives a run, and a look at what is held."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from apeiros_callbacks import Session
from apeiros_callbacks.call import Call, OpenCall
from apeiros_callbacks.testing import ScriptedServer

Serve = Callable[..., ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start scripted servers that stop with the test."""
    with ExitStack() as running:
        yield lambda script: running.enter_context(ScriptedServer(script))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all runs of a test: a client's connections end with their loop."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, OpenCall]:
    """The admitted calls by id, with what is held for each."""
    admitted: dict[str, OpenCall] = {}
    open_call = Session.open_call

    def noted(session: Session, call: Call) -> OpenCall:
        admitted[call.id] = open_call(session, call)
        return admitted[call.id]

    monkeypatch.setattr(Session, "open_call", noted)
    return admitted


@pytest.fixture(autouse=True)
def impatient_threads() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual, so that they meet in the middle of a step."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 100)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings do not reach the tests."""
    for name in (
        "APEIROS_LEDGER",
        "APEIROS_ENFORCE",
        "APEIROS_PRICES",
        "OPENAI_BASE_URL",
        "LANGSMITH_TRACING",
        "LANGCHAIN_TRACING_V2",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def figures() -> Iterator[list[tuple[Any, ...]]]:
    """Rows of a table that is printed at the end; ``pytest -s`` shows it."""
    rows: list[tuple[Any, ...]] = []
    yield rows
    if rows:
        table = [tuple(str(cell) for cell in row) for row in (FIGURES, *rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        print()
        for row in table:
            print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


FIGURES = (
    "mode",
    "at once",
    "shape",
    "prices",
    "max_tokens",
    "runs",
    "admitted",
    "settled",
    "overshoot",
    "bound",
)

"""What the LlamaIndex tests share: scripted servers, one event loop, and settings that are nobody's."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.openai", reason="this environment has no LlamaIndex")

from llama_index.core import Settings

from apeiros_callbacks.testing import Reply, ScriptedServer

Serve = Callable[..., ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start scripted servers that stop with the test."""
    running: list[AbstractContextManager[Any]] = []

    def start(*replies: Any, **options: Any) -> ScriptedServer:
        script = replies[0] if len(replies) == 1 and callable(replies[0]) else list(replies)
        server = ScriptedServer(script or [Reply("ok")], **options)
        server.__enter__()
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    """Run coroutines on one event loop: a client keeps its connections, which belong to a loop."""
    with asyncio.Runner() as runner:
        yield lambda coroutine: runner.run(coroutine, context=contextvars.copy_context())


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A developer's own settings do not reach the tests, nor do those of one test another."""
    for name in ("APEIROS_LEDGER", "APEIROS_ENFORCE", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    yield
    for name in ("_callback_manager", "_llm", "_embed_model"):
        setattr(Settings, name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # LlamaIndex reads chat streams in threads of its own, which raise what the caller is told once more, at
    # times only when the next test runs.
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(
                pytest.mark.filterwarnings("default::pytest.PytestUnhandledThreadExceptionWarning")
            )

"""What the LangChain tests share: a scripted server, the two clients, and the ways to call them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="this environment has no LangChain")

from apeiros_callbacks.testing import Reply, ScriptedServer

Serve = Callable[..., ScriptedServer]


_addresses: set[str] = set()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start scripted servers that stop with the test."""
    running: list[AbstractContextManager[Any]] = []

    def start(*replies: Any, **options: Any) -> ScriptedServer:
        script = replies[0] if len(replies) == 1 and callable(replies[0]) else list(replies)
        while True:
            server = ScriptedServer(script or [Reply("ok")], **options)
            server.__enter__()
            running.append(server)
            # LangChain's clients keep connections by address, also those of an event loop that is closed.
            if server.openai_url not in _addresses:
                _addresses.add(server.openai_url)
                return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all calls of a module: a client keeps its connections, which belong to a loop."""
    made = asyncio.new_event_loop()
    yield made
    made.run_until_complete(made.shutdown_asyncgens())
    made.close()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings do not reach the tests."""
    for name in (
        "APEIROS_LEDGER",
        "APEIROS_ENFORCE",
        "OPENAI_BASE_URL",
        "LANGSMITH_TRACING",
        "LANGCHAIN_TRACING_V2",
    ):
        monkeypatch.delenv(name, raising=False)

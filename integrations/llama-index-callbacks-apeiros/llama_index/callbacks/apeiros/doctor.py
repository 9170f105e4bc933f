"""What ``apeiros doctor`` tries with the LlamaIndex that is installed: every way to call a model.

The client is OpenAI's of LlamaIndex, and a scripted server in this process answers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import TextNode

import apeiros_callbacks as apeiros
from apeiros_callbacks import BudgetExceeded, Ladder
from apeiros_callbacks.checkup import (
    ATTEMPTS,
    BUDGET,
    FIT,
    QUESTION,
    READ,
    WRITTEN,
    Check,
    check,
    in_turn,
    refuses_and_records,
    seen,
)
from apeiros_callbacks.testing import Reply, ScriptedServer
from llama_index.callbacks.apeiros.ambient import instrument, uninstrument
from llama_index.callbacks.apeiros.embedding import BudgetedEmbedding
from llama_index.callbacks.apeiros.handler import ApeirosHandler
from llama_index.callbacks.apeiros.llm import BudgetedLLM

__all__ = ["checks", "versions"]

_PACKAGES = ("llama-index-core", "llama-index-llms-openai", "openai")
_REPORTED = {"stream_options": {"include_usage": True}}


def versions() -> dict[str, str]:
    """The versions of LlamaIndex's packages and the client; those that are not installed are left out."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def checks() -> Iterator[Check]:
    """Try every way to call a model, one after the other."""
    for name, six in _WAYS.items():
        yield check(name, partial(_refuses_and_records, six))
    for name, look in _MORE.items():
        yield check(name, look)


def _model(server: ScriptedServer, name: str = "gpt-4o", **options: Any) -> Any:
    from llama_index.llms.openai import OpenAI

    settings: dict[str, Any] = {"api_key": "not-needed", "max_retries": 0, "reuse_client": False}
    return OpenAI(model=name, api_base=server.openai_url, **settings, **options)


def _answers(**changes: Any) -> ScriptedServer:
    told: dict[str, Any] = {"text": "ok", "input_tokens": READ, "output_tokens": WRITTEN}
    return ScriptedServer([Reply(**(told | changes))])


# Every way to call a model six times, within a budget that three calls fit.

_Way = Callable[[Any], None]


def _refuses_and_records(six: _Way) -> str:
    refused = False
    with _answers() as server, ApeirosHandler(budget=BUDGET, ledger="memory:") as handler:
        try:
            six(_model(server, additional_kwargs=_REPORTED if six in _STREAMS else {}))
        except BudgetExceeded:
            refused = True
        return refuses_and_records(handler.session, server.request_count, refused)


def _messages() -> list[ChatMessage]:
    return [ChatMessage(role="user", content=QUESTION)]


async def _read(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


def _achat(model: Any) -> None:
    async def six() -> None:
        for _ in range(ATTEMPTS):
            await model.achat(_messages())

    asyncio.run(six())


def _astream_chat(model: Any) -> None:
    async def six() -> None:
        for _ in range(ATTEMPTS):
            await _read(await model.astream_chat(_messages()))

    asyncio.run(six())


def _acomplete(model: Any) -> None:
    async def six() -> None:
        for _ in range(ATTEMPTS):
            await model.acomplete(QUESTION)

    asyncio.run(six())


def _gather(model: Any) -> None:
    async def six() -> None:
        calls = [model.achat(_messages()) for _ in range(ATTEMPTS)]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer

    asyncio.run(six())


def _query_engine(model: Any) -> None:
    engine = SummaryIndex([TextNode(text=QUESTION)]).as_query_engine(llm=model)
    in_turn(lambda: engine.query("What is it about?"))


def _agent(model: Any) -> None:
    agent: Any = FunctionAgent(name="doctor", tools=[], llm=model, streaming=False)

    async def six() -> None:
        for _ in range(ATTEMPTS):
            await agent.run(user_msg=QUESTION)

    asyncio.run(six())


def _stream_chat(model: Any) -> None:
    in_turn(lambda: list(model.stream_chat(_messages())))


_WAYS: dict[str, _Way] = {
    "chat": lambda model: in_turn(lambda: model.chat(_messages())),
    "stream_chat": _stream_chat,
    "complete": lambda model: in_turn(lambda: model.complete(QUESTION)),
    "achat": _achat,
    "astream_chat": _astream_chat,
    "acomplete": _acomplete,
    "achat, at once": _gather,
    "query engine": _query_engine,
    "FunctionAgent": _agent,
}
_STREAMS = {_stream_chat, _astream_chat}


# What else can go wrong.


def _cut() -> str:
    words, stopped = 20_000, False
    with _answers(text=["word "] * words) as server:
        handler = ApeirosHandler(budget=0.15, ledger="memory:")
        read = 0
        try:
            for _ in BudgetedLLM(_model(server), handler).stream_chat(_messages()):
                read += 1
        except BudgetExceeded as cut:
            stopped = cut.mid_stream
        spent = handler.session.spent
    return seen(f"cut after {read:,} of {words:,} words, ${spent:.4f} spent", stopped and read < words)


def _failed() -> str:
    with ScriptedServer([Reply(status=500)]) as server:
        with ApeirosHandler(budget=BUDGET, ledger="memory:") as handler, suppress(Exception):
            _model(server).chat(_messages())
        spent, held = handler.session.spent, handler.session.open_holds
    return seen(f"${spent} spent, {held} held", not spent and not held)


def _downgraded() -> str:
    with _answers() as server:
        handler = ApeirosHandler(budget=BUDGET, ledger="memory:")
        ladder = Ladder(_model(server), _model(server, "gpt-4o-mini"))
        in_turn(lambda: BudgetedLLM(ladder, handler).chat(_messages()))
        asked = [request.model for request in server.requests]
    cheaper = asked.count("gpt-4o-mini")
    said = f"{len(asked) - cheaper} sent, then {cheaper} to a cheaper model"
    return seen(said, asked == ["gpt-4o"] * FIT + ["gpt-4o-mini"] * (ATTEMPTS - FIT))


def _embedded() -> str:
    from llama_index.core.embeddings import MockEmbedding

    class Counted(MockEmbedding):
        sent: int = 0

        def _get_query_embedding(self, query: str) -> list[float]:
            self.sent += 1
            return super()._get_query_embedding(query)

    model = Counted(embed_dim=1, model_name="text-embedding-3-small")
    handler = ApeirosHandler(
        budget=0.002, ledger="memory:", models={"text-embedding-3-small": "openai:text-embedding-3-small"}
    )
    refused = False
    try:
        in_turn(lambda: BudgetedEmbedding(model, handler).get_query_embedding(QUESTION))
    except BudgetExceeded:
        refused = True
    recorded = len(handler.session.entries())
    said = f"{model.sent} of {ATTEMPTS} sent, {recorded} recorded"
    return seen(said, refused and 1 <= model.sent == recorded)


def _ambient() -> str:
    instrument()
    session = apeiros.start_session(ledger="memory:")
    try:
        with _answers() as server:
            _model(server).chat(_messages())
    finally:
        apeiros.end_session(session)
        uninstrument()
    recorded = len(session.entries())
    return seen(f"1 call without a callback manager, {recorded} recorded", recorded == 1)


_MORE: dict[str, Callable[[], str]] = {
    "a stream cut": _cut,
    "a failed call": _failed,
    "BudgetedLLM": _downgraded,
    "BudgetedEmbedding": _embedded,
    "instrument()": _ambient,
}

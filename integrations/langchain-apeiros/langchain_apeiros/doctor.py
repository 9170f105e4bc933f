"""What ``apeiros doctor`` tries with the LangChain that is installed: every way to call a model.

The model is a fake that counts what reaches it, so that nothing is sent and nothing is spent. Each of its
answers costs $0.1005, or what its tokens come to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableParallel
from pydantic import Field

import apeiros_callbacks as apeiros
from apeiros_callbacks import BudgetExceeded
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
from langchain_apeiros.ambient import instrument, uninstrument
from langchain_apeiros.embeddings import BudgetedEmbeddings
from langchain_apeiros.handler import ApeirosHandler
from langchain_apeiros.routing import with_downgrade

__all__ = ["checks", "versions"]

_PACKAGES = ("langchain-core", "langchain", "langgraph")


@dataclass
class _Count:
    """What reached a model, whatever copies were made of it."""

    sent: int = 0
    written: int = 0


class _Model(BaseChatModel):
    """Answers at once, says what it used, and counts."""

    name_: str = "gpt-4o"
    words: int = WRITTEN
    count: _Count = Field(default_factory=_Count)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="openai", ls_model_name=self.name_, ls_model_type="chat")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.count.sent += 1
        usage: Any = {"input_tokens": READ, "output_tokens": WRITTEN, "total_tokens": READ + WRITTEN}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ok", usage_metadata=usage))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.count.sent += 1
        for number in range(self.words):
            self.count.written += 1
            read = 0 if number else READ
            usage: Any = {"input_tokens": read, "output_tokens": 1, "total_tokens": read + 1}
            chunk = ChatGenerationChunk(message=AIMessageChunk(content="word ", usage_metadata=usage))
            if run_manager is not None:
                run_manager.on_llm_new_token("word ", chunk=chunk)
            yield chunk

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


class _Embeddings(Embeddings):
    """Counts how often it was asked."""

    model = "text-embedding-3-small"
    sent = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.sent += 1
        return [[0.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def versions() -> dict[str, str]:
    """The versions of LangChain's packages; those that are not installed are left out."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def checks() -> Iterator[Check]:
    """Try every way to call a model, one after the other."""
    for name, six in _WAYS.items():
        yield check(name, partial(_refuses_and_records, six))
    for name, look in _MORE.items():
        yield check(name, look)


# Every way to call a model six times, within a budget that three calls fit.

_Way = Callable[[_Model, Any], None]


def _refuses_and_records(six: _Way) -> str:
    model, handler = _Model(), ApeirosHandler(budget=BUDGET, ledger="memory:")
    refused = False
    try:
        six(model, {"callbacks": [handler]})
    except BudgetExceeded:
        refused = True
    return refuses_and_records(handler.session, model.count.sent, refused)


def _chain(model: _Model, config: Any) -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | model | StrOutputParser()
    in_turn(lambda: chain.invoke({"text": QUESTION}, config))


def _parallel(model: _Model, config: Any) -> None:
    RunnableParallel({str(i): model for i in range(ATTEMPTS)}).invoke(QUESTION, config)


def _batch(model: _Model, config: Any) -> None:
    _raise_first(model.batch([QUESTION] * ATTEMPTS, config, return_exceptions=True))


def _abatch(model: _Model, config: Any) -> None:
    _raise_first(asyncio.run(model.abatch([QUESTION] * ATTEMPTS, config, return_exceptions=True)))


def _raise_first(answers: list[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _ainvoke(model: _Model, config: Any) -> None:
    async def six() -> None:
        for _ in range(ATTEMPTS):
            await model.ainvoke(QUESTION, config)

    asyncio.run(six())


def _astream(model: _Model, config: Any) -> None:
    async def six() -> None:
        for _ in range(ATTEMPTS):
            async for _ in model.astream(QUESTION, config):
                pass

    asyncio.run(six())


def _agent(model: _Model, config: Any) -> None:
    agent = _made_agent(model)
    in_turn(lambda: agent.invoke({"messages": [("user", QUESTION)]}, config))


def _aagent(model: _Model, config: Any) -> None:
    agent = _made_agent(model)

    async def six() -> None:
        for _ in range(ATTEMPTS):
            await agent.ainvoke({"messages": [("user", QUESTION)]}, config)

    asyncio.run(six())


def _made_agent(model: _Model) -> Any:
    from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]

    agent: Any = create_agent(model, [])  # pyright: ignore[reportUnknownVariableType]
    return agent


_WAYS: dict[str, _Way] = {
    "invoke": lambda model, config: in_turn(lambda: model.invoke(QUESTION, config)),
    "stream": lambda model, config: in_turn(lambda: list(model.stream(QUESTION, config))),
    "batch": _batch,
    "ainvoke": _ainvoke,
    "astream": _astream,
    "abatch": _abatch,
    "chain": _chain,
    "RunnableParallel": _parallel,
    "create_agent": _agent,
    "create_agent, async": _aagent,
}


# What else can go wrong.


def _cut() -> str:
    model = _Model(words=20_000)
    handler = ApeirosHandler(budget=0.15, ledger="memory:")
    stopped: BudgetExceeded | None = None
    try:
        list(model.stream(QUESTION, {"callbacks": [handler]}))
    except BudgetExceeded as cut:
        stopped = cut
    spent, written = handler.session.spent, model.count.written
    holds = stopped is not None and stopped.mid_stream and written < model.words and spent <= stopped.limit
    return seen(f"cut after {written:,} of {model.words:,} words, ${spent:.4f} spent", holds)


def _twice() -> str:
    model, handler = _Model(), ApeirosHandler(ledger="memory:")
    model.with_config(callbacks=[handler]).invoke("hello", {"callbacks": [handler, handler]})
    recorded = len(handler.session.entries())
    return seen(f"1 call, {recorded} recorded", recorded == 1)


def _failed() -> str:
    class Broken(_Model):
        def _generate(self, *_: Any, **__: Any) -> ChatResult:
            raise ConnectionRefusedError("nobody is there")

    handler = ApeirosHandler(budget=BUDGET, ledger="memory:")
    with suppress(ConnectionRefusedError):
        Broken().invoke("hello", {"callbacks": [handler]})
    spent, held = handler.session.spent, handler.session.open_holds
    return seen(f"${spent} spent, {held} held", not spent and not held)


def _cached() -> str:
    from langchain_core.caches import InMemoryCache

    model, handler = _Model(cache=InMemoryCache()), ApeirosHandler(ledger="memory:")
    for _ in range(2):
        model.invoke("hello", {"callbacks": [handler]})
    first, again = (entry.amount for entry in handler.session.entries())
    return seen(f"it costs ${again}; the first one cost ${first}", model.count.sent == 1 and again == 0)


def _downgraded() -> str:
    dear, cheap = _Model(), _Model(name_="gpt-4o-mini")
    handler = ApeirosHandler(budget=BUDGET, ledger="memory:")
    model = with_downgrade(dear, [cheap], handler)
    for number in range(ATTEMPTS):
        model.invoke(f"{number} {QUESTION}", {"callbacks": [handler]})
    sent = dear.count.sent, cheap.count.sent
    return seen(f"{sent[0]} sent, then {sent[1]} to a cheaper model", sent == (FIT, ATTEMPTS - FIT))


def _embedded() -> str:
    model, handler = _Embeddings(), ApeirosHandler(budget=0.002, ledger="memory:")
    embeddings = BudgetedEmbeddings(model, handler, provider="openai")
    try:
        in_turn(lambda: embeddings.embed_query(QUESTION))
    except BudgetExceeded:
        recorded = len(handler.session.entries())
        return seen(f"{model.sent} of {ATTEMPTS} sent, {recorded} recorded", recorded == model.sent)
    raise AssertionError(f"{model.sent} of {ATTEMPTS} sent, none refused")


def _ambient() -> str:
    instrument()
    session = apeiros.start_session(ledger="memory:")
    try:
        _Model().invoke("hello")
    finally:
        apeiros.end_session(session)
        uninstrument()
    recorded = len(session.entries())
    return seen(f"1 call without callbacks=, {recorded} recorded", recorded == 1)


_MORE: dict[str, Callable[[], str]] = {
    "a stream cut": _cut,
    "attached twice": _twice,
    "a failed call": _failed,
    "a cached answer": _cached,
    "with_downgrade": _downgraded,
    "BudgetedEmbeddings": _embedded,
    "instrument()": _ambient,
}

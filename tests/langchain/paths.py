"""Every way to call a chat model six times. Each gives what the caller saw, attempt by attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableParallel

ATTEMPTS = 6
Seen = list[Any]
"""One item an attempt: the answer, or the exception the caller got."""
Path = Callable[[BaseChatModel, Any, str], Seen]


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - what the caller saw is what is tested
        return error


def _six(call: Callable[[], Any]) -> Seen:
    return [_attempt(call) for _ in range(ATTEMPTS)]


def _config(handler: Any) -> dict[str, Any]:
    return {"callbacks": [handler]}


def invoke(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    return _six(lambda: model.invoke(prompt, _config(handler)))


def stream(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    return _six(lambda: list(model.stream(prompt, _config(handler))))


def chain(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    composed = ChatPromptTemplate.from_messages([("user", "{text}")]) | model | StrOutputParser()
    return _six(lambda: composed.invoke({"text": prompt}, _config(handler)))


def agent(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    made = create_agent(model, [look_up])
    return _six(lambda: made.invoke({"messages": [("user", prompt)]}, _config(handler)))


def batch(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    return model.batch([prompt] * ATTEMPTS, _config(handler), return_exceptions=True)


def batch_raising(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    return [_attempt(lambda: model.batch([prompt] * ATTEMPTS, _config(handler)))]


def parallel(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    six = RunnableParallel({str(i): model for i in range(ATTEMPTS)})
    return [_attempt(lambda: six.invoke(prompt, _config(handler)))]


def ainvoke(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    async def six() -> Seen:
        seen: Seen = []
        for _ in range(ATTEMPTS):
            try:
                seen.append(await model.ainvoke(prompt, _config(handler)))
            except Exception as error:  # noqa: BLE001
                seen.append(error)
        return seen

    return asyncio.run(six())


def astream(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    async def six() -> Seen:
        seen: Seen = []
        for _ in range(ATTEMPTS):
            try:
                seen.append([chunk async for chunk in model.astream(prompt, _config(handler))])
            except Exception as error:  # noqa: BLE001
                seen.append(error)
        return seen

    return asyncio.run(six())


def aagent(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    made = create_agent(model, [])

    async def six() -> Seen:
        seen: Seen = []
        for _ in range(ATTEMPTS):
            try:
                seen.append(await made.ainvoke({"messages": [("user", prompt)]}, _config(handler)))
            except Exception as error:  # noqa: BLE001
                seen.append(error)
        return seen

    return asyncio.run(six())


def abatch(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    async def six() -> Seen:
        return await model.abatch([prompt] * ATTEMPTS, _config(handler), return_exceptions=True)

    return asyncio.run(six())


def gather(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    async def six() -> Seen:
        calls = [model.ainvoke(prompt, _config(handler)) for _ in range(ATTEMPTS)]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(six())


def abatch_torn_down(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    return [_attempt(lambda: asyncio.run(model.abatch([prompt] * ATTEMPTS, _config(handler))))]


def aparallel_torn_down(model: BaseChatModel, handler: Any, prompt: str) -> Seen:
    six = RunnableParallel({str(i): model for i in range(ATTEMPTS)})
    return [_attempt(lambda: asyncio.run(six.ainvoke(prompt, _config(handler))))]


SEQUENTIAL = [invoke, stream, chain, agent, ainvoke, astream, aagent]
CONCURRENT = [batch, batch_raising, parallel, abatch, gather]
TORN_DOWN = [abatch_torn_down, aparallel_torn_down]

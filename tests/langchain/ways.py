"""Every way to have a model called, in one shape: what a caller does, once, and sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableParallel

from apeiros_callbacks.testing import Reply, Request, ToolCall

PROMPT = "hello"
WORDS = ["word "] * 60


@dataclass(frozen=True)
class Way:
    """One way to call.

    `run` takes the model, the config and after how many pieces of a stream to stop; None for all of it. It
    is a coroutine function where `is_async`.
    """

    run: Callable[..., Any]
    is_async: bool = False
    streams: bool = False
    at_once: int = 1
    """Calls that are made side by side."""
    in_all: int = 1
    """Calls of a run that goes well."""
    goes_on: bool = False
    """What it started runs to its end in a thread of its own, whoever still listens."""


def _messages(text: str = PROMPT) -> dict[str, Any]:
    return {"messages": [("user", text)]}


def answer(request: Request, reply: Reply) -> Reply:
    """An agent's model: it calls its tool once, and then answers."""
    body = request.body
    has_result = any(word in str(body.get("messages")) for word in ("'tool'", "'tool_result'"))
    if body.get("tools") and not has_result:
        return Reply("", [ToolCall("ask", {"question": "why"})], input_tokens=10, output_tokens=5)
    return reply


def _taken(stream: Any, stop: int | None) -> list[Any]:
    taken = []
    for piece in stream:
        taken.append(piece)
        if stop is not None and len(taken) >= stop:
            break
    return taken


async def _taken_async(stream: Any, stop: int | None) -> list[Any]:
    taken = []
    async for piece in stream:
        taken.append(piece)
        if stop is not None and len(taken) >= stop:
            break
    close = getattr(stream, "aclose", None)
    if stop is not None and close is not None:
        await close()
    return taken


def _nested(model: Any, config: Any) -> Any:
    def ask(question: str) -> str:
        """Ask a model."""
        return str(model.invoke(question).content)

    return create_agent(model, [ask])


def _with_subagent(model: Any, config: Any) -> Any:
    inner = create_agent(model, [], name="inner")

    def ask(question: str) -> str:
        """Ask another agent."""
        return str(inner.invoke(_messages(question))["messages"][-1].content)

    return create_agent(model, [ask], name="outer")


def _agent(model: Any, config: Any) -> Any:
    return create_agent(model, [])


async def _astream_events_v2(model: Any, config: Any, stop: int | None) -> Any:
    return await _taken_async(model.astream_events(PROMPT, config, version="v2"), stop)


async def _astream_events_v3(model: Any, config: Any, stop: int | None) -> Any:
    return await _taken_async(await model.astream_events(PROMPT, config, version="v3"), stop)


async def _ainvoke(model: Any, config: Any, stop: int | None) -> Any:
    return await model.ainvoke(PROMPT, config)


async def _astream(model: Any, config: Any, stop: int | None) -> Any:
    return await _taken_async(model.astream(PROMPT, config), stop)


async def _abatch(model: Any, config: Any, stop: int | None) -> Any:
    return await model.abatch([PROMPT, PROMPT], config)


async def _aparallel(model: Any, config: Any, stop: int | None) -> Any:
    return await RunnableParallel(a=model, b=model).ainvoke(PROMPT, config)


async def _aagent(model: Any, config: Any, stop: int | None) -> Any:
    return await _agent(model, config).ainvoke(_messages(), config)


async def _aagent_stream(model: Any, config: Any, stop: int | None) -> Any:
    stream = _agent(model, config).astream(_messages(), config, stream_mode="messages")
    return await _taken_async(stream, stop)


async def _agenerate(model: Any, config: Any, stop: int | None) -> Any:
    return await model.agenerate([[HumanMessage(PROMPT)]] * 2, callbacks=config["callbacks"])


WAYS: dict[str, Way] = {
    "invoke": Way(lambda model, config, stop: model.invoke(PROMPT, config)),
    "ainvoke": Way(_ainvoke, is_async=True),
    "stream": Way(lambda model, config, stop: _taken(model.stream(PROMPT, config), stop), streams=True),
    "astream": Way(_astream, is_async=True, streams=True),
    "astream_events v2": Way(_astream_events_v2, is_async=True, streams=True),
    "stream_events v3": Way(
        lambda model, config, stop: _taken(model.stream_events(PROMPT, config, version="v3"), stop),
        streams=True,
    ),
    "astream_events v3": Way(_astream_events_v3, is_async=True, streams=True),
    "batch": Way(lambda model, config, stop: model.batch([PROMPT, PROMPT], config), at_once=2, in_all=2),
    "abatch": Way(_abatch, is_async=True, at_once=2, in_all=2),
    "parallel": Way(
        lambda model, config, stop: RunnableParallel(a=model, b=model).invoke(PROMPT, config),
        at_once=2,
        in_all=2,
    ),
    "aparallel": Way(_aparallel, is_async=True, at_once=2, in_all=2),
    "generate": Way(
        lambda model, config, stop: model.generate(
            [[HumanMessage(PROMPT)]] * 2, callbacks=config["callbacks"]
        ),
        in_all=2,
    ),
    "agenerate": Way(_agenerate, is_async=True, at_once=2, in_all=2),
    "agent": Way(lambda model, config, stop: _agent(model, config).invoke(_messages(), config)),
    "aagent": Way(_aagent, is_async=True),
    "agent stream": Way(
        lambda model, config, stop: _taken(
            _agent(model, config).stream(_messages(), config, stream_mode="messages"), stop
        ),
        streams=True,
        goes_on=True,
    ),
    "aagent stream": Way(_aagent_stream, is_async=True, streams=True),
    "subagent": Way(
        lambda model, config, stop: _with_subagent(model, config).invoke(_messages(), config),
        in_all=3,
    ),
    "nested tool call": Way(
        lambda model, config, stop: _nested(model, config).invoke(_messages(), config), in_all=3
    ),
}


def call(way: Way, model: Any, handler: Any, stop: int | None = None) -> Any:
    """Call in one of the ways, to its end or until `stop` pieces came."""
    result = way.run(model, {"callbacks": [handler]}, stop)
    return asyncio.run(result) if way.is_async else result

"""What a generator of an integration holds: the request it has sent, the connection it reads from."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import Any

from apeiros_callbacks.call import Ending

__all__ = ["aclose_sources", "close_sources", "inner_of", "is_over", "sources", "unread_ending"]

_DEEPEST = 6
_CLIENTS = ("chat", "completions", "responses", "messages")


def inner_of(generator: object) -> object | None:
    """The integration's own generator, inside of the one that LlamaIndex wraps around it."""
    return _variables(generator).get("f_return_val")


def is_over(generator: object) -> bool:
    """Whether a generator has ended."""
    return getattr(generator, "gi_frame", None) is None and getattr(generator, "ag_frame", None) is None


def unread_ending(generator: object) -> Ending:
    """How a stream has ended that nobody read: some integrations send when it is made, some when it is read.

    It was sent when the integration's generator holds an answer, and not when it holds a client; where it
    holds neither, nobody knows.
    """
    variables = list(_variables(inner_of(generator)).values())
    if any(_is_connection(value) for value in variables):
        return "cut"
    return "unsent" if any(hasattr(value, name) for value in variables for name in _CLIENTS) else "lost"


def sources(generator: object) -> list[Any]:
    """What a suspended generator reads from: generators, the nearest first, then streams of an SDK.

    An OpenAI stream and its own generator hold each other (openai 2.54): closing what reads from them leaves
    the connection open until the garbage collector comes, and the provider goes on writing. And what raises
    keeps the generators that it went through for as long as somebody keeps the error.
    """
    generators: list[Any] = []
    connections: list[Any] = []
    level: list[object] = [generator]
    for _ in range(_DEEPEST):
        inside = [held for one in level for held in _held(one)]
        connections.extend(one for one in inside if _is_connection(one) and hasattr(one, "close"))
        level = [one for one in inside if isinstance(one, GeneratorType | AsyncGeneratorType)]
        generators.extend(level)
        if not level:
            break
    return [*generators, *connections]


def close_sources(found: list[Any]) -> None:
    """Close what a sync generator read from, after it was closed itself."""
    for source in found:
        source.close()
    if not any(_is_connection(source) for source in found):
        gc.collect()  # of an SDK that is not known here: as the collector would, but now


async def aclose_sources(found: list[Any]) -> None:
    """The same, of an async generator."""
    for source in found:
        closing = source.aclose() if isinstance(source, AsyncGeneratorType) else source.close()
        if inspect.isawaitable(closing):
            await closing


def _held(generator: object) -> Iterator[object]:
    """What a generator refers to: its variables, and what it iterates over."""
    for held in gc.get_referents(generator):
        yield held
        if isinstance(held, FrameType):
            yield from gc.get_referents(held)


def _variables(generator: object) -> dict[str, object]:
    frame = getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)
    return {} if frame is None else dict(frame.f_locals)


def _is_connection(value: object) -> bool:
    """A stream of an SDK: it has the HTTP response that it reads."""
    response = getattr(value, "response", None) if type(value).__module__ != "builtins" else None
    return response is not None and hasattr(response, "status_code")

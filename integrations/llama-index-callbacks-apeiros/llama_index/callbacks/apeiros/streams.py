"""What a generator of an integration holds: the request it has sent, the connection it reads from."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from apeiros_callbacks.call import Ending

__all__ = ["close_connections", "connections", "inner_of", "unread_ending"]

_DEEPEST = 6
_GENERATORS = (GeneratorType, AsyncGeneratorType, CoroutineType)
_CLIENTS = ("chat", "completions", "responses", "messages")


def inner_of(generator: object) -> object | None:
    """The integration's own generator, inside of the one that LlamaIndex wraps around it."""
    return _variables(generator).get("f_return_val")


def unread_ending(generator: object) -> Ending:
    """How a stream has ended that nobody read: some integrations send when it is made, some when it is read.

    It was sent when the integration's generator holds an answer, and not when it holds a client; where it
    holds neither, nobody knows.
    """
    variables = list(_variables(inner_of(generator)).values())
    if any(_is_connection(value) for value in variables):
        return "cut"
    return "unsent" if any(hasattr(value, name) for value in variables for name in _CLIENTS) else "lost"


def connections(generator: object) -> list[Any]:
    """The streams of the provider's SDK that a suspended generator reads from.

    An OpenAI stream and its own generator hold each other (openai 2.54): closing what reads from them leaves
    the connection open until the garbage collector comes, and the provider goes on writing.
    """
    found: list[Any] = []
    level: list[object] = [generator]
    for _ in range(_DEEPEST):
        inside = [held for one in level for held in _held(one)]
        found.extend(one for one in inside if _is_connection(one) and callable(getattr(one, "close", None)))
        level = [one for one in inside if isinstance(one, _GENERATORS)]
        if not level:
            break
    return found


def close_connections(found: list[Any]) -> None:
    """Close what a sync generator read from, after it was closed itself."""
    for connection in found:
        connection.close()
    if not found:
        gc.collect()  # of an SDK that is not known here: as the collector would, but now


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

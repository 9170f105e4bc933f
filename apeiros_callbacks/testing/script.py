"""The script: which reply a request gets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request

__all__ = ["Answering", "Script", "answering"]

Script: TypeAlias = Reply | Sequence[Reply] | Callable[[Request], Reply]
"""One reply for all requests, replies in the order in which requests arrive, or a function."""

Answering: TypeAlias = Callable[[Request], Reply]


def answering(script: Script, *, repeat_last: bool) -> Answering:
    """A function from a request to its reply. It never raises and may be called from any thread.

    Raises:
        ConfigError: the script is empty, or holds something else than replies.
    """
    if callable(script):
        return _by_function(script)
    return _in_order((script,) if isinstance(script, Reply) else tuple(script), repeat_last)


def _in_order(replies: tuple[Reply, ...], repeat_last: bool) -> Answering:
    if not replies:
        raise ConfigError("a script needs at least one Reply, got none")
    for reply in replies:
        if not isinstance(reply, Reply):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a script is made of Reply objects, got {reply!r}")
    lock = threading.Lock()
    used = 0

    def answer(_request: Request) -> Reply:
        nonlocal used
        with lock:
            turn, used = used, used + 1
        if turn < len(replies):
            return replies[turn]
        if repeat_last:
            return replies[-1]
        return _fault(f"the script has replies for {len(replies)} requests, and this is request {turn + 1}")

    return answer


def _by_function(script: Callable[[Request], Reply]) -> Answering:
    def answer(request: Request) -> Reply:
        try:
            reply = script(request)
        except Exception as error:  # noqa: BLE001 - any mistake of the script is shown to the client
            return _fault(f"the script raised {type(error).__name__}: {error}")
        if not isinstance(reply, Reply):  # pyright: ignore[reportUnnecessaryIsInstance]
            return _fault(f"the script must return a Reply, got {reply!r}")
        return reply

    return answer


def _fault(message: str) -> Reply:
    # Clients send again after a 500, and wait before they do. Here that would only hide the mistake.
    return Reply(status=500, error=f"scripted server: {message}", headers={"x-should-retry": "false"})

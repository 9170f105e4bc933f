"""The script: which reply a request gets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.testing.recorded import Recorded
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request

__all__ = ["Answer", "Answering", "Script", "answering"]

Answer: TypeAlias = Reply | Recorded

Script: TypeAlias = Answer | Sequence[Answer] | Callable[[Request], Answer]
"""One reply for all requests, replies in the order in which requests arrive, or a function."""

Answering: TypeAlias = Callable[[Request, Reply | None], Answer]
"""Of a request and, where only a recorded reply can answer it, the refusal that it gets otherwise."""


def answering(script: Script, *, repeat_last: bool) -> Answering:
    """A function from a request to its reply. It never raises and may be called from any thread.

    Raises:
        ConfigError: the script is empty, or holds something else than replies.
    """
    if callable(script):
        return _by_function(script)
    return _in_order((script,) if isinstance(script, Answer) else tuple(script), repeat_last)


def _in_order(replies: tuple[Answer, ...], repeat_last: bool) -> Answering:
    if not replies:
        raise ConfigError("a script needs at least one Reply, got none")
    for reply in replies:
        if not isinstance(reply, Answer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a script is made of Reply and Recorded objects, got {reply!r}")
    lock = threading.Lock()
    used = 0

    def answer(_request: Request, refusal: Reply | None) -> Answer:
        nonlocal used
        with lock:
            reply = replies[min(used, len(replies) - 1)]
            if refusal is not None and isinstance(reply, Reply):
                return refusal  # and the reply is kept for a request that it can answer
            used += 1
            turn = used
        if turn <= len(replies) or repeat_last:
            return reply
        return _fault(f"the script has replies for {len(replies)} requests, and this is request {turn}")

    return answer


def _by_function(script: Callable[[Request], Answer]) -> Answering:
    def answer(request: Request, refusal: Reply | None) -> Answer:
        try:
            reply = script(request)
        except Exception as error:  # noqa: BLE001 - any mistake of the script is shown to the client
            return refusal or _fault(f"the script raised {type(error).__name__}: {error}")
        if isinstance(reply, Recorded):
            return reply
        if not isinstance(reply, Reply):  # pyright: ignore[reportUnnecessaryIsInstance]
            return refusal or _fault(f"the script must return a Reply or a Recorded, got {reply!r}")
        return refusal or reply

    return answer


def _fault(message: str) -> Reply:
    # Clients send again after a 500, and wait before they do. Here that would only hide the mistake.
    return Reply(status=500, error=f"scripted server: {message}", headers={"x-should-retry": "false"})

"""The scripted server: who is connected, and what reached it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import warnings
from types import TracebackType
from typing import Any, Self, cast

from apeiros_callbacks.testing.anthropic import ANTHROPIC
from apeiros_callbacks.testing.bedrock import BEDROCK
from apeiros_callbacks.testing.connection import Connection, Incoming, MalformedRequestError, head
from apeiros_callbacks.testing.exchange import Exchange
from apeiros_callbacks.testing.google import GOOGLE
from apeiros_callbacks.testing.openai_chat import OPENAI_CHAT
from apeiros_callbacks.testing.openai_embeddings import OPENAI_EMBEDDINGS
from apeiros_callbacks.testing.openai_responses import OPENAI_RESPONSES
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.script import Script, answering
from apeiros_callbacks.testing.wire import WireFormat, dump

__all__ = ["ScriptedServer"]

_FORMATS = (
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPENAI_EMBEDDINGS,
    ANTHROPIC,
    GOOGLE,
    BEDROCK,
)
_HOST = "127.0.0.1"
_BACKLOG = 512
_SECRET_HEADER = re.compile(r"auth|secret|cookie|token|api[-_]?key")
_PATIENCE = 5.0  # seconds


class ScriptedServer:
    """An HTTP server on this machine that answers as OpenAI, Anthropic, Google and Bedrock do, by a script.

    Use it as a context manager, or with `start` and `close`. Requests are answered at the same time, each
    connection by a thread of its own; every method is safe from any thread.

    Args:
        script: replies, used in the order in which requests arrive, of all APIs together; or one reply
            for all; or a function from a `Request` to its reply, called in the thread of the request's
            connection, so it may wait for something that a test does. A reply is a `Reply`, which suits
            every API, or a `Recorded` one, which is sent as it is. A request that no API here serves is
            answered by a `Recorded` whose turn it is; else with status 404, and takes no reply.
        repeat_last: whether the last reply answers every further request. If not, those are answered
            with status 500 and a message that says so.

    Raises:
        ConfigError: the script is empty, or holds something else than replies.

    Example:
        >>> import json
        >>> from urllib.request import urlopen
        >>> with ScriptedServer(Reply("hello", output_tokens=380)) as server:
        ...     asked = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
        ...     with urlopen(f"{server.openai_url}/chat/completions", asked) as answer:
        ...         usage = json.load(answer)["usage"]
        >>> usage["completion_tokens"], server.requests[0].model, server.requests[0].finished
        (380, 'gpt-4o', True)
    """

    def __init__(self, script: Script, *, repeat_last: bool = True) -> None:
        self._answering = answering(script, repeat_last=repeat_last)
        self._closing = threading.Event()
        # Guards what follows. Notified when a request has arrived and when one has ended.
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._unanswered = 0
        self._connections: set[Connection] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._port = 0

    def start(self) -> Self:
        """Listen on a free port of 127.0.0.1. A server starts once."""
        if self._port or self._closing.is_set():
            raise RuntimeError("this ScriptedServer was started or closed before: make a new one")
        self._listener = socket.create_server((_HOST, 0), backlog=_BACKLOG)
        self._port = self._listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(self._listener,), name=self._name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return self

    def close(self) -> None:
        """Stop now: end every connection, those that hang included, and wait for the threads to leave."""
        with self._changed:
            self._closing.set()
            listener, self._listener = self._listener, None
            for connection in self._connections:
                connection.hang_up()
            self._changed.notify_all()
            threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        if listener is None:
            return
        with contextlib.suppress(OSError):  # wakes the thread that accepts, on every platform
            socket.create_connection((_HOST, self._port), _PATIENCE).close()
        deadline = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        listener.close()
        if stuck := sum(thread.is_alive() for thread in threads):
            message = f"the script's function still waits in {stuck} threads of a closed ScriptedServer"
            warnings.warn(message, ResourceWarning, stacklevel=2)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, without a path."""
        if not self._port:
            raise RuntimeError(
                "this ScriptedServer has no address yet: use it in a with statement or start() it"
            )
        return f"http://{_HOST}:{self._port}"

    @property
    def openai_url(self) -> str:
        """The ``base_url`` for OpenAI's clients."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The ``base_url`` for Anthropic's clients."""
        return self.url

    @property
    def google_url(self) -> str:
        """The ``base_url`` for Google's clients, which add the version of the API to it."""
        return self.url

    @property
    def bedrock_url(self) -> str:
        """The ``endpoint_url`` for AWS's clients of the Bedrock runtime."""
        return self.url

    @property
    def requests(self) -> list[Request]:
        """What reached the server so far, in order."""
        with self._changed:
            return list(self._requests)

    @property
    def request_count(self) -> int:
        """How many requests reached the server, those to a path that it does not serve included."""
        with self._changed:
            return len(self._requests)

    @property
    def chunks_sent(self) -> int:
        """How many chunks were sent, over all requests."""
        return sum(request.chunks_sent for request in self.requests)

    def wait_for_requests(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many requests have arrived in all. They need not be answered.

        Raises:
            TimeoutError: fewer had arrived after `timeout` seconds, or when the server closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._requests) >= count or self._closing.is_set(), timeout)
            if len(self._requests) < count:
                before = "before the server closed" if self._closing.is_set() else f"within {timeout} s"
                raise TimeoutError(f"{len(self._requests)} of {count} requests arrived {before}")

    def wait_until_idle(self, timeout: float = 10.0) -> None:
        """Wait until no request is being answered: all that is recorded of them is then final.

        Raises:
            TimeoutError: one still was after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._unanswered, timeout):
                raise TimeoutError(f"{self._unanswered} requests are still being answered after {timeout} s")

    @property
    def _name(self) -> str:
        return f"scripted-server-{self._port}"

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                connection = Connection(listener.accept()[0], self._closing)
            except OSError:  # the client is gone already, or no more files can be opened
                self._closing.wait(0.001)
                continue
            with self._changed:
                if self._closing.is_set():
                    connection.close()
                    return
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name=f"{self._name}-connection", daemon=True
                )
                thread.start()
                self._connections.add(connection)
                self._threads = [*(known for known in self._threads if known.is_alive()), thread]

    def _serve(self, connection: Connection) -> None:
        try:
            while (incoming := connection.read()) is not None:
                if not self._handle(connection, incoming) or not incoming.keeps_alive:
                    break
        except MalformedRequestError as error:
            body = dump(OPENAI_CHAT.failure(400, str(error))).encode()
            connection.send(head(400, "application/json", {"connection": "close"}, len(body)) + body)
        finally:
            with self._changed:
                self._connections.discard(connection)
            connection.close()

    def _handle(self, connection: Connection, incoming: Incoming) -> bool:
        """Answer one request. False when the connection cannot be used for another one."""
        wire = next((known for known in _FORMATS if known.serves(incoming.path)), None)
        body = _json_object(incoming.body)
        request = self._record(incoming, wire, body or {})
        try:
            reply = self._answering(request, _refusal(incoming, wire, body))
            request.reply = reply
            return Exchange(connection, request, wire or OPENAI_CHAT).play(reply)
        finally:
            with self._changed:
                self._unanswered -= 1
                self._changed.notify_all()

    def _record(self, incoming: Incoming, wire: WireFormat | None, body: dict[str, Any]) -> Request:
        with self._changed:
            request = Request(
                index=len(self._requests) + 1,
                api=wire.api if wire else "unknown",
                method=incoming.method,
                path=incoming.path,
                headers={
                    name: "[redacted]" if _SECRET_HEADER.search(name) else value
                    for name, value in incoming.headers.items()
                },
                body=body,
                model=wire.requested_model(incoming.path, body) if wire else "",
                stream=wire.wants_stream(incoming.path, body) if wire else False,
            )
            self._requests.append(request)
            self._unanswered += 1
            self._changed.notify_all()
        return request


def _refusal(incoming: Incoming, wire: WireFormat | None, body: object) -> Reply | None:
    """Why no API here serves this request. None where one does."""
    if wire is None or incoming.method != "POST":
        served = ", ".join(f"…{end}" for known in _FORMATS for end in known.endpoints)
        asked = f"{incoming.method} {incoming.path}"
        return Reply(status=404, error=f"the scripted server speaks POST {served}, got {asked}")
    if body is None:
        return Reply(status=400, error="the body of this request is not a JSON object")
    return None


def _json_object(data: bytes) -> dict[str, Any] | None:
    try:
        found: object = json.loads(data)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None

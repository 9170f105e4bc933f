"""What an error says of the call that it ended: whether it was answered, and how far it had come."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from apeiros_callbacks.reported.plain import count, mapping

__all__ = [
    "cancelled_before_sending", "error_name", "frames", "handled_here", "http_status", "never_written",
    "tracebacks",
]  # fmt: skip

# By name, in the causes of an error: httpx, httpx2, httpcore, requests, aiohttp and urllib3 agree on them.
_NEVER_CONNECTED = frozenset({
    "ConnectError", "ConnectTimeout", "ConnectionRefusedError", "ClientConnectorError",
    "EndpointConnectionError", "NewConnectionError", "PoolTimeout", "UnsupportedProtocol", "gaierror",
})  # fmt: skip

# Where openai 3 and anthropic 2 ask a thread what system they run on, before the first request of a client.
_PLATFORM = "._utils._sync"

# Of httpcore and httpcore2, for HTTP 1 and 2: a request without its body is none.
_REQUESTING = frozenset({"handle_request", "handle_async_request"})
_SENDING = ("_send_request_body", "_send_stream_data", "_send_end_stream", "_receive_")


def handled_here() -> int:
    """The identity of the exception that is being handled where this is called; 0 where there is none.

    Python puts it behind every error that is raised meanwhile. What is raised by a call that was made in an
    ``except`` block would otherwise tell of the call before it.
    """
    error = sys.exc_info()[1]
    return 0 if error is None else id(error)  # no reference: it holds on to frames, and to their streams


def http_status(error: BaseException, beside: object = None) -> int | None:
    """The HTTP status behind an error, wherever the provider's client keeps it.

    Args:
        error: what was raised.
        beside: what else may be one.
    """
    status = _own_status(error)
    if status is None:
        status = _http(beside)
    cause = error.__cause__
    if status is None and cause is not None:
        # langchain-google-genai 4 puts errors of its own, without a status, around the provider's.
        return _own_status(cause)
    return status


def error_name(error: BaseException, status: int | None = None) -> str:
    """The error's type and HTTP status: enough for a ledger, and no text of a prompt."""
    return type(error).__name__ if status is None else f"{type(error).__name__} {status}"


def never_written(error: BaseException, around: int = 0) -> bool:
    """Whether no request was written: there was no connection, or it failed before the request's body.

    Args:
        error: what was raised.
        around: what was being handled when the call started, by `handled_here`.
    """
    sent = _was_sent(error, around)
    if sent is not None:
        return not sent
    return any(type(cause).__name__ in _NEVER_CONNECTED for cause in _causes(error, around))


def cancelled_before_sending(
    error: BaseException, is_providers_own: Callable[[str, str], bool], around: int = 0
) -> bool:
    """Tell from where a call was interrupted that it had not been sent.

    It had not while the integration's own code was not entered yet, while the provider's SDK looked up the
    platform for a header, or while the HTTP client was still connecting, waiting for a free connection, or
    writing the headers. In any other place it may have been.

    Args:
        error: the cancellation.
        is_providers_own: whether a function, by its module and name, is the integration's own.
        around: what was being handled when the call started, by `handled_here`.
    """
    sent = _was_sent(error, around)
    if sent is not None:
        return not sent
    passed = [frame for trace in tracebacks(error, around) for frame in frames(trace)]
    asks = any(module.endswith(_PLATFORM) for module, _ in passed)
    return asks or not any(is_providers_own(module, function) for module, function in passed)


def tracebacks(error: BaseException, around: int = 0) -> list[TracebackType]:
    """The tracebacks of an error and of the errors behind it, but for those that were there before."""
    return [cause.__traceback__ for cause in _causes(error, around) if cause.__traceback__ is not None]


def frames(trace: TracebackType | None) -> list[tuple[str, str]]:
    """The module and the function of each frame, the outermost first."""
    found: list[tuple[str, str]] = []
    while trace is not None:
        frame = trace.tb_frame
        found.append((str(frame.f_globals.get("__name__", "")), frame.f_code.co_name))
        trace = trace.tb_next
    return found


def _causes(error: BaseException, around: int) -> list[BaseException]:
    """An error and the errors behind it, but not what was handled already when the call started."""
    found: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and id(seen) != around and seen not in found and len(found) < 20:
        found.append(seen)
        seen = seen.__cause__ or seen.__context__
    return found


def _was_sent(error: BaseException, around: int = 0) -> bool | None:
    """Whether the HTTP client had come to the body of a request; None where none of its requests failed.

    All errors are asked: one that is raised while a connection is closed is in front of what ended it.

    Args:
        error: what was raised.
        around: what was being handled when the call started, by `handled_here`.
    """
    http = [
        function
        for trace in tracebacks(error, around)
        for module, function in frames(trace)
        if module.startswith("httpcore")
    ]
    if any(function.startswith(_SENDING) for function in http):
        return True
    return False if any(function in _REQUESTING for function in http) else None


def _own_status(error: BaseException) -> int | None:
    http: Any = getattr(error, "response", None)
    for status in (
        getattr(error, "status_code", None),
        getattr(http, "status_code", None),
        getattr(error, "code", None),
        mapping(mapping(http).get("ResponseMetadata")).get("HTTPStatusCode"),  # botocore
    ):
        known = _http(status)
        if known is not None:
            return known
    return None


def _http(status: object) -> int | None:
    known = count(status)
    return known if known is not None and 100 <= known < 600 else None

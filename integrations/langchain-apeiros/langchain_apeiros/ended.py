"""How a call ended, told from its error: answered with one, never sent, or cut after it was sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from langchain_core.outputs import LLMResult

from apeiros_callbacks.call import Ending
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.reported.plain import count, mapping

__all__ = ["ending_of_error", "ending_of_task", "error_name", "handled_here"]

# What an integration implements: LangChain's own part of a call is over when it is entered.
_PROVIDERS_OWN = frozenset({
    "_agenerate", "_astream", "_acall", "_aclassify", "aembed_documents", "aembed_query",
})  # fmt: skip

_BEFORE_SENDING = frozenset({
    "_get_request_payload", "_get_request_params", "_convert_message_to_dict", "_format_messages",
    "_prepare_request", "_build_request", "build_request", "encode_request", "encode_json",
    "_prepare_options", "_construct_responses_api_input",
})  # fmt: skip
_CALLING_THE_SDK = frozenset({
    "_generate", "_agenerate", "_stream", "_astream", "wrapper", "_create", "_acreate",
})  # fmt: skip
_STARTS = frozenset({"on_chat_model_start", "on_llm_start", "on_chain_start", "on_tool_start"})

_IN_A_CALL = _PROVIDERS_OWN | _STARTS | {"_agenerate_with_cache"}

# By name, in the causes of an error: httpx, httpx2, httpcore, requests, aiohttp and urllib3 agree on them.
_NEVER_CONNECTED = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "ConnectionRefusedError",
        "ClientConnectorError",
        "EndpointConnectionError",
        "NewConnectionError",
        "PoolTimeout",
        "UnsupportedProtocol",
        "gaierror",
    }
)


def handled_here() -> int:
    """The identity of the exception that is being handled where this is called; 0 where there is none.

    Python puts it behind every error that is raised meanwhile. What is raised by a call that was made in an
    ``except`` block would otherwise tell of the call before it.
    """
    error = sys.exc_info()[1]
    return 0 if error is None else id(error)  # no reference: it holds on to frames, and to their streams


def ending_of_error(
    error: BaseException, response: LLMResult | None, *, streaming: bool, around: int = 0
) -> Ending:
    """Say how a call ended that raised.

    Args:
        error: what it raised.
        response: the partial answer that LangChain gives with it.
        streaming: whether part of the answer arrived before.
        around: what was being handled when it started, by `handled_here`.
    """
    if streaming:
        return "cut"
    if isinstance(error, Refused):
        return "unsent"
    if isinstance(error, asyncio.CancelledError):
        return _ending_of_cancel(error, around)
    status = _status(error, response)
    if status is not None and status >= 400:
        return "failed"
    if any(type(cause).__name__ in _NEVER_CONNECTED for cause in _causes(error, around)):
        return "failed"
    if _was_sent(_tracebacks(error, around)) is False:  # such as by a connection of a loop that is closed
        return "failed"
    return "unsent" if _is_of_the_request(error) else "cut"


def _is_of_the_request(error: BaseException) -> bool:
    """Whether an error was raised while the request was put together, for instance over a wrong option."""
    frames = _frames(error.__traceback__)
    if any(function in _BEFORE_SENDING for _, function in frames):
        return True
    # The provider's SDK does not take an argument: the call itself fails, in the integration's own code.
    last = frames[-1][1] if frames else ""
    return isinstance(error, TypeError) and last in _CALLING_THE_SDK


def ending_of_task(task: asyncio.Task[Any], *, under_way: bool, around: int = 0) -> Ending:
    """Say how a call ended whose task ended without an end or error event.

    LangChain's ``ainvoke`` and ``abatch`` send neither when they are cancelled (langchain-core 1.8).

    Args:
        task: what it ran in.
        under_way: whether the event loop had gone round since the call started, so that it may have been
            sent. That decides where the error says nothing: whoever awaited a task takes its traceback.
        around: what was being handled when the call started, by `handled_here`.
    """
    try:
        error = task.exception()
    except asyncio.CancelledError as cancelled:
        error = cancelled
    passed = (
        [] if error is None else [frame for trace in _tracebacks(error, around) for frame in _frames(trace)]
    )
    if error is None or not any(module.startswith("langchain_core.") for module, _ in passed):
        return "cut" if under_way else "unsent"
    if isinstance(error, asyncio.CancelledError):
        if not any(function in _IN_A_CALL for _, function in passed):
            return (
                "cut" if under_way else "unsent"
            )  # what LangChain waits for was cancelled, and failed at that
        return _ending_of_cancel(error, around)
    return "unsent" if any(function in _STARTS for _, function in passed) else "cut"


def error_name(error: BaseException, response: LLMResult | None = None) -> str:
    """The error's type and HTTP status: enough for a ledger, and no text of a prompt."""
    status = _status(error, response)
    return type(error).__name__ if status is None else f"{type(error).__name__} {status}"


def _ending_of_cancel(error: BaseException, around: int) -> Ending:
    """Tell from where a call was interrupted whether it had been sent.

    It had not while the integration's own code was not entered yet, while the provider's SDK looked up the
    platform for a header, or while the HTTP client was still connecting, waiting for a free connection, or
    writing the headers. In any other place it may have been.
    """
    traces = _tracebacks(error, around)
    frames = [frame for trace in traces for frame in _frames(trace)]
    sent = _was_sent(traces)
    if sent is None:
        asks = any(module.endswith(_PLATFORM) for module, _ in frames)
        sent = not asks and any(function in _PROVIDERS_OWN for _, function in frames)
    return "cut" if sent else "unsent"


def _was_sent(traces: Sequence[TracebackType]) -> bool | None:
    """Whether the HTTP client had come to the body of a request; None where none of its requests failed.

    All errors are asked: one that is raised while a connection is closed is in front of what ended it.
    """
    http = [name for trace in traces for module, name in _frames(trace) if module.startswith("httpcore")]
    if any(name.startswith(_SENDING) for name in http):
        return True
    return False if any(name in _REQUESTING for name in http) else None


# Where openai 3 and anthropic 2 ask a thread what system they run on, before the first request of a client.
_PLATFORM = "._utils._sync"

# Of httpcore and httpcore2, for HTTP 1 and 2: a request without its body is none.
_REQUESTING = frozenset({"handle_request", "handle_async_request"})
_SENDING = ("_send_request_body", "_send_stream_data", "_send_end_stream", "_receive_")


def _tracebacks(error: BaseException, around: int) -> list[TracebackType]:
    return [cause.__traceback__ for cause in _causes(error, around) if cause.__traceback__ is not None]


def _frames(trace: TracebackType | None) -> list[tuple[str, str]]:
    frames: list[tuple[str, str]] = []
    while trace is not None:
        frame = trace.tb_frame
        frames.append((str(frame.f_globals.get("__name__", "")), frame.f_code.co_name))
        trace = trace.tb_next
    return frames


def _causes(error: BaseException, around: int) -> list[BaseException]:
    """An error and the errors behind it, but not what was handled already when the call started."""
    found: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and id(seen) != around and seen not in found and len(found) < 20:
        found.append(seen)
        seen = seen.__cause__ or seen.__context__
    return found


def _status(error: BaseException, response: LLMResult | None) -> int | None:
    """The HTTP status behind an error, wherever the provider's client keeps it."""
    status = _own_status(error)
    if status is None and response is not None and response.generations and response.generations[0]:
        message = getattr(response.generations[0][0], "message", None)
        status = _http(mapping(getattr(message, "response_metadata", None)).get("status_code"))
    cause = error.__cause__
    if status is None and cause is not None:
        # langchain-google-genai 4 puts errors of its own, without a status, around the provider's.
        return _own_status(cause)
    return status


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

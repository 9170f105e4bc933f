"""How a call ended, told from its error: answered with one, never sent, or cut after it was sent."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.outputs import LLMResult

from apeiros_callbacks.call import Ending
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.reported import failure
from apeiros_callbacks.reported.failure import (
    cancelled_before_sending,
    frames,
    handled_here,
    http_status,
    never_written,
    tracebacks,
)
from apeiros_callbacks.reported.plain import mapping

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
    if (status is not None and status >= 400) or never_written(error, around):
        return "failed"
    return "unsent" if _is_of_the_request(error) else "cut"


def _is_of_the_request(error: BaseException) -> bool:
    """Whether an error was raised while the request was put together, for instance over a wrong option."""
    passed = frames(error.__traceback__)
    if any(function in _BEFORE_SENDING for _, function in passed):
        return True
    # The provider's SDK does not take an argument: the call itself fails, in the integration's own code.
    last = passed[-1][1] if passed else ""
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
        [] if error is None else [frame for trace in tracebacks(error, around) for frame in frames(trace)]
    )
    if error is None or not any(module.startswith("langchain_core.") for module, _ in passed):
        return "cut" if under_way else "unsent"
    if isinstance(error, asyncio.CancelledError):
        if not any(function in _IN_A_CALL for _, function in passed):
            # What LangChain waits for was cancelled, and failed at that.
            return "cut" if under_way else "unsent"
        return _ending_of_cancel(error, around)
    return "unsent" if any(function in _STARTS for _, function in passed) else "cut"


def error_name(error: BaseException, response: LLMResult | None = None) -> str:
    """The error's type and HTTP status: enough for a ledger, and no text of a prompt."""
    return failure.error_name(error, _status(error, response))


def _ending_of_cancel(error: BaseException, around: int) -> Ending:
    before = cancelled_before_sending(error, lambda _, function: function in _PROVIDERS_OWN, around)
    return "unsent" if before else "cut"


def _status(error: BaseException, response: LLMResult | None) -> int | None:
    """The HTTP status behind an error; some integrations put it on the partial answer."""
    if response is None or not response.generations or not response.generations[0]:
        return http_status(error)
    message = getattr(response.generations[0][0], "message", None)
    return http_status(error, mapping(getattr(message, "response_metadata", None)).get("status_code"))

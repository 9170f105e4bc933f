"""How a call ended, told from its error: answered with one, never sent, or cut after it was sent."""

from __future__ import annotations

import asyncio

from apeiros_callbacks.call import Ending
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.reported.failure import (
    cancelled_before_sending,
    error_name,
    frames,
    http_status,
    never_written,
)

__all__ = ["ending_of_error", "name_of_error"]

_PROVIDERS = ("llama_index.llms.", "llama_index.embeddings.")
# Modules of LlamaIndex and ours whose functions have the names of an integration's own.
_NOT_PROVIDERS = ("llama_index.core", "llama_index.callbacks.apeiros", "llama_index_instrumentation")
_PROVIDERS_OWN = frozenset({
    "achat", "acomplete", "astream_chat", "astream_complete", "astructured_predict",
    "astream_structured_predict", "_aget_query_embedding", "_aget_text_embedding", "_aget_text_embeddings",
})  # fmt: skip
_BEFORE_SENDING = frozenset({
    "to_openai_message_dicts", "messages_to_anthropic_messages", "messages_to_anthropic_beta_messages",
    "_get_model_kwargs", "_get_all_kwargs", "_prepare_options", "_build_request", "build_request",
    "encode_request", "encode_json",
})  # fmt: skip
# What Python says of a call that does not fit: the provider's SDK does not take an argument.
_NO_SUCH_ARGUMENT = ("unexpected keyword argument", "multiple values for")


def ending_of_error(error: BaseException, *, streaming: bool, around: int = 0) -> Ending:
    """Say how a call ended that raised.

    Args:
        error: what it raised.
        streaming: whether part of the answer arrived before.
        around: what was being handled when the call started, by `handled_here`.
    """
    if streaming:
        return "cut"
    if isinstance(error, Refused):
        return "unsent"
    if isinstance(error, asyncio.CancelledError):
        return "unsent" if cancelled_before_sending(error, _is_providers_own, around) else "cut"
    status = http_status(error)
    if (status is not None and status >= 400) or never_written(error, around):
        return "failed"
    return "unsent" if _is_of_the_request(error) else "cut"


def name_of_error(error: BaseException) -> str:
    """The error's type and HTTP status: enough for a ledger, and no text of a prompt."""
    return error_name(error, http_status(error))


def _is_providers_own(module: str, function: str) -> bool:
    if module.startswith(_PROVIDERS):
        return True
    return function in _PROVIDERS_OWN and not module.startswith(_NOT_PROVIDERS)


def _is_of_the_request(error: BaseException) -> bool:
    """Whether an error was raised while the request was put together, for instance over a wrong option."""
    passed = frames(error.__traceback__)
    if any(function in _BEFORE_SENDING for _, function in passed):
        return True
    # An integration calls the SDK and reads its answer in the same function, so that the place tells nothing.
    return isinstance(error, TypeError) and any(words in str(error) for words in _NO_SUCH_ARGUMENT)

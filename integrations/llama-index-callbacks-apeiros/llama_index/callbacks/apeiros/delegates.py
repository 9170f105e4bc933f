"""How a wrapper hands a call on to one of its models: clamped, asked for its usage, and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM
from llama_index.core.tools import BaseTool, ToolMetadata
from pydantic import BaseModel

from apeiros_callbacks.reported.plain import count, mapping
from llama_index.callbacks.apeiros.prompts import chat_prompt, text_prompt
from llama_index.callbacks.apeiros.requests import MAXIMA, Request
from llama_index.callbacks.apeiros.silent import silent_request

__all__ = ["LEAST_OUTPUT", "asked_for_usage", "clamped", "request_of", "with_tools"]

LEAST_OUTPUT = 16
"""Tokens; an answer that must be shorter is refused instead."""
_ANY_MODEL_WRITES = 4096
"""Tokens that every chat model in use can be asked for. A larger affordable maximum is not set."""


def with_tools(tools: Sequence[BaseTool], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call with tools, by name."""
    return {"tools": tools, **dict(zip(("user_msg", "chat_history"), args, strict=False)), **kwargs}


def request_of(model: LLM, args: Mapping[str, Any]) -> Request:
    """What a model would be sent, by the arguments of one of its methods."""
    if "output_cls" in args:
        return silent_request(model, args)
    options = {name: value for name, value in args.items() if name not in _SENT}
    if isinstance(prompt := args.get("prompt"), str):
        return Request(model, lambda *_: text_prompt(prompt), options)
    messages: list[ChatMessage] = list(args.get("messages") or args.get("chat_history") or ())
    if (asked := args.get("user_msg")) is not None:
        messages.append(asked if isinstance(asked, ChatMessage) else ChatMessage(content=str(asked)))
    tools: Sequence[BaseTool] = args.get("tools") or ()
    if tools:
        options["tools"] = [_described(tool.metadata) for tool in tools]
    return Request(model, partial(chat_prompt, model, messages, options), options, messages=messages)


def _described(tool: ToolMetadata) -> Mapping[str, Any]:
    if type(tool) is not ToolMetadata:
        return tool.to_openai_tool(skip_length_check=True)
    return _openai_tool(tool.name, tool.description, tool.fn_schema)


@lru_cache(maxsize=1024)
def _openai_tool(name: str | None, description: str, schema: type[BaseModel] | None) -> Mapping[str, Any]:
    """A tool as OpenAI is told of it. Making a schema takes longer than all else that is done for a call."""
    return ToolMetadata(description, name, schema).to_openai_tool(skip_length_check=True)


_SENT = frozenset({"messages", "prompt", "tools", "user_msg", "chat_history"})


def clamped(
    model: LLM, args: dict[str, Any], declared: int | None, affordable: Callable[[], int | None]
) -> tuple[LLM, dict[str, Any]]:
    """A model, and arguments for it, that ask for no more than the budget can pay.

    Args:
        model: the model.
        args: the arguments; what they say wins over the model's own settings, or the other way round.
        declared: what the call may write as it is.
        affordable: gives the tokens that the budget can pay, None without a limit.
    """
    most = affordable()
    if most is None or not LEAST_OUTPUT <= most < (declared or _ANY_MODEL_WRITES + 1):
        return model, args
    field = next((name for name in MAXIMA if name in type(model).model_fields), None)
    if field is not None:
        model = _copied(model, {field: most})
    return model, {**args, **{name: most for name in MAXIMA if (count(args.get(name)) or 0) > most}}


def _copied(model: LLM, maximum: Mapping[str, int]) -> LLM:
    """A copy with another maximum and the same HTTP clients, which some make at their first call."""
    private = model.__pydantic_private__ or {}
    for name, make in (("_client", "_get_client"), ("_aclient", "_get_aclient")):
        made = getattr(model, make, None)
        if private.get(name, ...) is None and callable(made) and getattr(model, "reuse_client", True):
            made()
    return model.model_copy(update=dict(maximum))


def asked_for_usage(model: LLM, args: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a stream that ask OpenAI for its usage, which it leaves out otherwise."""
    own = mapping(getattr(model, "additional_kwargs", None))
    if not _is_openai(model) or "stream_options" in own:
        return args
    if "output_cls" in args:
        options = mapping(args.get("llm_kwargs"))
        return args if "stream_options" in options else {**args, "llm_kwargs": {**options, **_USAGE}}
    return args if "stream_options" in args else {**args, **_USAGE}


_USAGE = {"stream_options": {"include_usage": True}}


def _is_openai(model: LLM) -> bool:
    """Whether it is OpenAI's own API. Servers that are only like it may not know the option."""
    homes = [
        made.__module__ for made in type(model).__mro__ if made.__module__.startswith("llama_index.llms.")
    ]
    return any(home == "llama_index.llms.openai.base" for home in homes) and homes[0].startswith(
        ("llama_index.llms.openai.", "llama_index.llms.azure_openai")
    )

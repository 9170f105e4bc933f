"""What the parameters of a request add to its prompt: tools, schemas of the answer, what is stored.

Read in every provider's dialect, since a framework passes on what it was given. For adapters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from apeiros_callbacks.call import Piece, Prompt
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.tokens import (
    Template,
    ToolSchema,
    answer_schema_text,
    schema_text,
    server_tool_tokens,
    template_of,
)

__all__ = ["after_parameters", "beyond_the_request", "described", "parameters_piece"]

_READ = (
    "tools", "functions", "mcp_servers", "response_format", "output_config", "output_format",
    "response_schema", "response_json_schema", "text", "instructions", "prediction", "system", "extra_body",
    "thinking",
)  # fmt: skip
"""Parameters that the provider reads as part of the input."""
_READ_ANY = frozenset(_READ)
_NOT_TEXT = frozenset({"tools", "functions", "mcp_servers", "thinking"})
_ANSWERS = frozenset(
    {"response_format", "output_config", "output_format", "response_schema", "response_json_schema", "text"}
)

_BEYOND = ("previous_response_id", "conversation", "prompt", "container", "cached_content", "mcp_servers")
"""Parameters by which the provider reads what it has stored."""

# Tools that the caller runs: what they give comes with the next request.
_OWN_TOOLS = ("function", "custom", "bash_", "text_editor_", "computer_", "memory_")


def described(params: Mapping[str, Any]) -> str:
    """All that the parameters add, as one text; empty when that is nothing.

    It serves as mark and to bound the input: schemas are the same objects, or equal, from call to call.
    """
    if _READ_ANY.isdisjoint(params):
        return ""
    found = [params[name] for name in _READ if params.get(name)]
    return repr(found) if found else ""


def after_parameters(
    params: Mapping[str, Any],
    marks: Sequence[int],
    message_piece: Callable[[int], Piece],
    find_beyond: Callable[[], tuple[str, ...]],
    provider: str,
    model: str,
) -> Prompt:
    """The prompt of a chat model: what its parameters add first, then its messages.

    Args:
        params: of the request.
        marks: one hash for each message.
        message_piece: gives the text of a message by its number.
        find_beyond: see `Prompt`.
        provider: whom it goes to.
        model: the model's name.
    """
    asked = described(params)
    if not asked:
        return Prompt(tuple(marks), message_piece, find_beyond=find_beyond)

    def piece(i: int) -> Piece:
        return message_piece(i - 1) if i else parameters_piece(params, asked, provider, model)

    return Prompt((hash(asked), *marks), piece, has_tools=True, find_beyond=find_beyond)


def beyond_the_request(params: Mapping[str, Any]) -> Iterator[str]:
    """What makes the provider read more than is sent: what it has stored, and what its own tools find."""
    yield from (name for name in _BEYOND if params.get(name))
    for tool in items(params.get("tools")):
        fields = mapping(tool)
        kind = text(fields.get("type")) or _googles(fields)
        if kind and not kind.startswith(_OWN_TOOLS):
            yield f"the tool {kind}"


def _googles(fields: Mapping[str, Any]) -> str | None:
    """The name of a tool of Google's: its only key, which others may be None beside."""
    if fields.keys() & _CALLERS:
        return None
    return next((name for name, value in fields.items() if value is not None), None)


_CALLERS = frozenset({"name", "function", "function_declarations", "functionDeclarations", "toolSpec"})
"""Keys of the tools that the caller runs."""


def parameters_piece(params: Mapping[str, Any], described: str, provider: str, model: str) -> Piece:
    """The part of a prompt that the parameters make up.

    Args:
        params: the parameters.
        described: what `described` says of them.
        provider: as the framework names it; may be empty.
        model: as the framework names it.

    Example:
        >>> tool = {"name": "now", "description": "The time.", "input_schema": {"type": "object"}}
        >>> piece = parameters_piece({"tools": [tool]}, "[…]", "anthropic", "claude-sonnet-4-5")
        >>> piece.read
        '{"name": "now", "description": "The time.", "parameters": {"type": "object"}}'
    """
    try:
        return _piece(params, described, template_of(provider, model))
    except Exception:  # noqa: BLE001 - a schema that cannot be read is no reason to refuse a call
        return Piece(described)


def _piece(params: Mapping[str, Any], described: str, template: Template) -> Piece:
    parts: list[str] = []
    tokens = -template.message  # it is no message
    found = tools = 0
    for tool in _tools(params):
        tools += 1
        if isinstance(tool, ToolSchema):
            parts.append(schema_text(tool, template.style))
            tokens += template.tool
        else:
            found += server_tool_tokens(tool)
    if tools:
        tokens += _about_tools(template, params)
    if mapping(params.get("thinking")).get("type") == "enabled":
        tokens += template.thinking
    for name in _READ:
        value = params.get(name)
        if not value or name in _NOT_TEXT:
            continue
        if name not in _ANSWERS:
            parts.append(value if isinstance(value, str) else _json(value))
        elif template.answer is not None and (schema := _answer_schema(value)):
            parts.append(answer_schema_text(schema, template.style))
            tokens += template.answer
    return Piece(described, found, "\n".join(parts), tokens)


def _about_tools(template: Template, params: Mapping[str, Any]) -> int:
    """What a template adds for tools."""
    asked = params.get("tool_choice")
    choice = asked if isinstance(asked, str) else mapping(asked).get("type")
    freely = template.forced is None or choice in {None, "auto", "none"}
    tokens = template.tools if freely else template.forced or 0
    nested = any(mapping(mapping(tool).get("function")) for tool in items(params.get("tools")))
    return tokens + template.chat_tools if nested else tokens


def _tools(params: Mapping[str, Any]) -> Iterator[ToolSchema | str]:
    """The tools of a request: the caller's by their schema, the provider's by their type."""
    for tool in (*items(params.get("tools")), *items(params.get("functions"))):
        fields = _fields(tool)
        declared = fields.get("function_declarations") or fields.get("functionDeclarations")
        if declared is not None:
            yield from (_schema(_fields(one)) for one in items(declared))
            continue
        inner = next(
            (fields[name] for name in ("function", "custom", "toolSpec") if mapping(fields.get(name))), None
        )
        kind = text(fields.get("type"))
        if inner is not None:
            yield _schema(mapping(inner))
        elif text(fields.get("name")) and (kind in {None, "function", "custom"} or "input_schema" in fields):
            yield _schema(fields)
        else:
            yield kind or _googles(fields) or ""
    yield from ("mcp" for _ in items(params.get("mcp_servers")))


def _schema(fields: Mapping[str, Any]) -> ToolSchema:
    name, description = text(fields.get("name")) or "", text(fields.get("description")) or ""
    if fields.get("defer_loading"):
        return ToolSchema(name, description, {})  # its schema is read when the model has found it
    given = next((fields[key] for key in _PARAMETERS if fields.get(key)), None)
    inner = mapping(given).get("json") or given
    return ToolSchema(name, description, _fields(inner))


_PARAMETERS = ("parameters", "input_schema", "parameters_json_schema", "parametersJsonSchema", "inputSchema")


def _answer_schema(value: object) -> Mapping[str, Any]:
    """The JSON schema that an answer is to have; empty where it is only to be text or JSON."""
    fields = _fields(value)
    for name in ("format", "json_schema", "schema"):
        if mapping(fields.get(name)):
            return _answer_schema(fields[name])
    plain = text(fields.get("type")) in {"text", "json_object", "json_schema"}
    return {} if plain or not fields.keys() & {"type", "properties", "$ref", "anyOf"} else fields


def _fields(value: object) -> Mapping[str, Any]:
    """The fields of a mapping, of a pydantic model, or of the schema of one."""
    read = getattr(value, "model_json_schema" if isinstance(value, type) else "model_dump", None)
    return mapping(read() if callable(read) else value)


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)

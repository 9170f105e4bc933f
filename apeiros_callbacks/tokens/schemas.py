"""Tool schemas as providers write them into a prompt, to be counted there.

What is sent is JSON; what the model reads is mostly shorter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

__all__ = ["ToolSchema", "answer_schema_text", "schema_text"]

_DEPTH = 12


class ToolSchema(NamedTuple):
    """A tool of the caller's."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of its arguments."""


def schema_text(tool: ToolSchema, style: str) -> str:
    """A tool as a provider writes it.

    Args:
        tool: the tool.
        style: ``"typescript"`` as OpenAI does (the harmony format is published); ``"strings"`` for names,
            descriptions and types alone, ``"lean"`` for JSON without white space and what is idle, as Google
            counts them; else JSON.

    Example:
        >>> print(schema_text(ToolSchema("now", "The time.", {}), "typescript"))
        // The time.
        type now = () => any;
    """
    if style == "typescript":
        return _typescript(tool)
    if style == "strings":
        return " ".join([tool.name, tool.description, *_strings(tool.parameters, 0)])
    said = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if style == "lean":
        return json.dumps(_lean(said), default=str, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(said, default=str, ensure_ascii=False)


def answer_schema_text(schema: Mapping[str, Any], style: str) -> str:
    """A JSON schema that the answer is to have, as a provider writes it; see `schema_text`."""
    if style == "typescript":
        return _type(schema, schema, 0)
    return json.dumps(schema, default=str, ensure_ascii=False)


def _lean(schema: object) -> object:
    if isinstance(schema, Mapping):
        fields = _mapping(cast("object", schema))
        return {name: _lean(part) for name, part in fields.items() if name not in _IDLE and part != ""}
    return [_lean(part) for part in _items(cast("object", schema))] if isinstance(schema, list) else schema


_IDLE = frozenset({"additionalProperties", "title"})


def _typescript(tool: ToolSchema) -> str:
    lines = [f"// {tool.description}"] if tool.description else []
    if tool.parameters.get("properties"):
        lines.append(f"type {tool.name} = (_: {_type(tool.parameters, tool.parameters, 0)}) => any;")
    else:
        lines.append(f"type {tool.name} = () => any;")
    return "\n".join(lines)


def _type(schema: object, root: Mapping[str, Any], depth: int) -> str:
    """The TypeScript type of a JSON schema."""
    fields = _mapping(schema)
    if depth > _DEPTH:
        return "any"
    if reference := fields.get("$ref"):
        name = str(reference).rpartition("/")[2]
        target = _mapping(root.get("$defs") or root.get("definitions")).get(name)
        return _type(target, root, depth + 4) if target else "any"
    if isinstance(fields.get("enum"), list):
        return " | ".join(json.dumps(value, default=str, ensure_ascii=False) for value in fields["enum"])
    if "const" in fields:
        return json.dumps(fields["const"], default=str, ensure_ascii=False)
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(fields.get(name), list):
            return " | ".join(_type(part, root, depth + 1) for part in fields[name])
    kind = fields.get("type")
    if isinstance(kind, list):
        return " | ".join(str(one) for one in cast("list[object]", kind))
    if kind == "array":
        return f"{_type(fields.get('items'), root, depth + 1)}[]"
    properties = _mapping(fields.get("properties"))
    if not properties:
        return {"integer": "number", "object": "object", None: "any"}.get(kind, str(kind))
    required = _items(fields.get("required"))
    lines = ["{"]
    for name, value in properties.items():
        of_property = _mapping(value)
        if of_property.get("description"):
            lines.append(f"// {of_property['description']}")
        default = of_property.get("default")
        said = "" if default is None else f" // default: {default}"
        mark = "" if name in required else "?"
        lines.append(f"{name}{mark}: {_type(of_property, root, depth + 1)},{said}")
    return "\n".join([*lines, "}"])


def _strings(schema: object, depth: int) -> Iterator[str]:
    """What a JSON schema says: the names, types, descriptions and values in it."""
    if depth > _DEPTH:
        return
    if isinstance(schema, Mapping):
        for name, value in _mapping(cast("object", schema)).items():
            if name in {"properties", "$defs", "definitions"}:
                for inner, part in _mapping(value).items():
                    yield inner
                    yield from _strings(part, depth + 1)
            elif not isinstance(value, bool):
                yield from _strings(value, depth + 1)
    elif isinstance(schema, list | tuple):
        for part in _items(cast("object", schema)):
            yield from _strings(part, depth + 1)
    elif schema is not None:
        yield str(schema)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()

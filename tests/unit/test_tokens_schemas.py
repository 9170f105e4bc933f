"""Tool schemas in each provider's form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apeiros_callbacks.tokens import ToolSchema, answer_schema_text, schema_text, server_tool_tokens

ADDRESS: dict[str, Any] = {
    "type": "object",
    "title": "Where",
    "additionalProperties": False,
    "properties": {
        "street": {"type": "string", "description": "With the number."},
        "kind": {"enum": ["home", "work"]},
        "lines": {"type": "array", "items": {"type": "string"}, "default": []},
        "area": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "country": {"$ref": "#/$defs/Country"},
    },
    "required": ["street"],
    "$defs": {"Country": {"type": "object", "properties": {"code": {"type": "string"}}}},
}


def test_typescript() -> None:
    assert schema_text(ToolSchema("now", "", {}), "typescript") == "type now = () => any;"
    assert schema_text(ToolSchema("ship", "Send a\nparcel.", ADDRESS), "typescript") == "\n".join(
        [
            "// Send a",
            "parcel.",
            "type ship = (_: {",
            "// With the number.",
            "street: string,",
            'kind?: "home" | "work",',
            "lines?: string[], // default: []",
            "area?: number | null,",
            "country?: {",
            "code?: string,",
            "},",
            "}) => any;",
        ]
    )


def test_strings_are_names_types_and_what_is_said() -> None:
    tool = ToolSchema("ship", "Send.", {k: ADDRESS[k] for k in ("type", "properties", "required")})
    assert schema_text(tool, "strings").split() == [
        "ship",
        "Send.",
        "object",
        "street",
        "string",
        "With",
        "the",
        "number.",
        "kind",
        "home",
        "work",
        "lines",
        "array",
        "string",
        "area",
        "integer",
        "null",
        "country",
        "#/$defs/Country",
        "street",
    ]


def test_json_whole_and_lean() -> None:
    tool = ToolSchema("ship", "", ADDRESS)
    assert json.loads(schema_text(tool, "json")) == {"name": "ship", "description": "", "parameters": ADDRESS}
    lean = schema_text(tool, "lean")
    assert " " not in lean.replace("With the number.", "")
    assert json.loads(lean).keys() == {"name", "parameters"}
    assert not json.loads(lean)["parameters"].keys() & {"title", "additionalProperties"}


@pytest.mark.parametrize("style", ["typescript", "strings", "lean", "json"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/Node", "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}},
        {
            "properties": {"n": {"$ref": "#/$defs/Node"}},
            "$defs": {"Node": {"items": {"$ref": "#/$defs/Node"}}},
        },
        {"properties": None, "required": 3, "anyOf": "?", "type": ["string", 1]},
        {"properties": {"a": None, "b": True, "c": {"enum": [1, None]}}},
    ],
)
def test_any_schema_is_written(style: str, parameters: dict[str, Any]) -> None:
    assert "odd" in schema_text(ToolSchema("odd", "", parameters), style)


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"properties": {"next": {"$ref": "#/$defs/Node"}}}
    tool = ToolSchema("odd", "", {"properties": {"n": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}})
    assert 1 <= schema_text(tool, "typescript").count("next") <= 5


def test_the_schema_of_an_answer() -> None:
    schema = {"properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert answer_schema_text(schema, "typescript") == "{\ncity: string,\n}"
    assert json.loads(answer_schema_text(schema, "json")) == schema


# Anthropic's own figures, and that nothing is free.
@pytest.mark.parametrize(
    ("kind", "tokens"),
    [("bash_20250124", 245), ("text_editor_20250728", 700), ("brand_new_tool", 300), ("", 300)],
)
def test_tools_of_the_provider(kind: str, tokens: int) -> None:
    assert server_tool_tokens(kind) == tokens
    assert server_tool_tokens("web_search_20250305") > server_tool_tokens("google_search") > 0

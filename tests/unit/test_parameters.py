"""What the parameters of a request add to its prompt, in every provider's dialect."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from apeiros_callbacks.call import Piece
from apeiros_callbacks.parameters import beyond_the_request, described, parameters_piece

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "Of a city.", "parameters": SCHEMA}
CLAUDES = {"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def read(provider: str, model: str, **params: Any) -> Piece:
    return parameters_piece(params, described(params), provider, model)


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": TOOL}],
        [{"type": "function", **TOOL}],
        [CLAUDES],
        [{"type": "custom", **CLAUDES}],
        [{"function_declarations": [TOOL]}],
        [{"functionDeclarations": [{**CLAUDES, "input_schema": None, "parametersJsonSchema": SCHEMA}]}],
        [{"toolSpec": {"name": "weather", "description": "Of a city.", "inputSchema": {"json": SCHEMA}}}],
    ],
)
def test_a_tool_is_the_same_in_every_dialect(tools: list[Any]) -> None:
    assert read("openai", "gpt-4o", tools=tools) == read("openai", "gpt-4o", tools=[CLAUDES])._replace(
        text=repr([tools])
    )


def test_the_choice_of_a_tool_changes_what_claude_is_told() -> None:
    def told(**more: Any) -> int:
        return read("anthropic", "claude-sonnet-4-5", tools=[CLAUDES], **more).added_tokens

    freely = told()
    assert told(tool_choice={"type": "auto"}) == told(tool_choice={"type": "none"}) == freely
    assert told(tool_choice={"type": "any"}) == told(tool_choice={"type": "tool", "name": "w"}) == freely + 92
    assert told(thinking={"type": "enabled", "budget_tokens": 1024}) == freely + 28


def test_chat_completions_add_to_the_tools_of_gpt_5() -> None:
    flat = read("openai", "gpt-5-mini", tools=[{"type": "function", **TOOL}])
    nested = read("openai", "gpt-5-mini", tools=[{"type": "function", "function": TOOL}])
    assert nested.added_tokens == flat.added_tokens + 82


def test_tools_of_the_provider_are_typical_not_read() -> None:
    piece = read("anthropic", "claude-sonnet-4-5", tools=[SEARCH])
    assert (piece.read, piece.more_tokens) == ("", 7500)
    both = read("anthropic", "claude-sonnet-4-5", tools=[SEARCH, CLAUDES], mcp_servers=[{"url": "x"}])
    assert both.more_tokens == 10_000
    assert "weather" in (both.read or "")
    assert read("google_genai", "gemini-2.5-pro", tools=[{"google_search": {}}]).more_tokens == 120


def test_a_deferred_tool_is_a_name() -> None:
    piece = read("anthropic", "claude-sonnet-4-6", tools=[CLAUDES | {"defer_loading": True}])
    assert "weather" in (piece.read or "")
    assert "city" not in (piece.read or "").replace("Of a city.", "")


class Answer(BaseModel):
    """An answer."""

    city: str


@pytest.mark.parametrize(
    "params",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"response_json_schema": SCHEMA},
        {"response_format": Answer},
    ],
)
def test_the_schema_of_an_answer_is_read(params: dict[str, Any]) -> None:
    assert read("openai", "gpt-4o", **params).read == "{\ncity: string,\n}"
    assert read("anthropic", "claude-sonnet-4-5", **params).added_tokens > 100
    assert read("google_genai", "gemini-2.5-pro", **params).read == ""  # it bills none


@pytest.mark.parametrize(
    "params",
    [
        {"text": {"format": {"type": "text"}}},
        {"response_format": {"type": "json_object"}},
        {"output_config": {"effort": "high"}},
    ],
)
def test_a_format_without_a_schema_adds_nothing(params: dict[str, Any]) -> None:
    piece = read("openai", "gpt-4o", **params)
    assert piece.read == ""
    assert piece.added_tokens + 4 == 0  # in place of the message that it is not


def test_instructions_are_read_as_they_are() -> None:
    assert read("openai", "gpt-4o", instructions="Be brief.").read == "Be brief."


def test_nothing_asked_for_is_nothing_described() -> None:
    assert described({"temperature": 0, "tools": [], "text": None}) == ""


@pytest.mark.parametrize("odd", [[None], [3, "x"], [{}], [{"function": "x"}], "tools", [[]]])
def test_what_is_no_tool_breaks_nothing(odd: Any) -> None:
    assert isinstance(read("anthropic", "claude-sonnet-4-5", tools=odd), Piece)


def test_a_schema_that_cannot_be_written_is_counted_as_it_is_sent() -> None:
    loop: dict[str, Any] = {}
    loop["properties"] = loop
    piece = read("anthropic", "claude-sonnet-4-5", tools=[CLAUDES | {"input_schema": loop}])
    assert piece.read is None
    assert "weather" in piece.text


def test_what_is_stored_or_found_is_beyond_the_request() -> None:
    tools = [
        SEARCH,
        CLAUDES,
        {"type": "function", **TOOL},
        {"function_declarations": [TOOL]},
        {"google_search": {}},
    ]
    assert list(beyond_the_request({"tools": tools, "previous_response_id": "r", "mcp_servers": [{}]})) == [
        "previous_response_id",
        "mcp_servers",
        "the tool web_search_20250305",
        "the tool google_search",
    ]

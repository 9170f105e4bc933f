"""Messages are recognised by what the provider reads of them, and counted once."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_apeiros.prompts import chat_prompt

CALL: dict[str, Any] = {"name": "search", "args": {"query": "weather", "days": [1, 2]}, "id": "call_1"}


def made() -> list[BaseMessage]:
    """One of each, all that the provider reads different."""
    other_args = {**CALL, "args": {"query": "weather", "days": [1, 3]}}
    return [
        HumanMessage("hello"),
        HumanMessage("hello!"),
        HumanMessage("hello", name="ann"),
        SystemMessage("hello"),
        AIMessage("hello"),
        AIMessage("hello", additional_kwargs={"refusal": "no"}),
        AIMessage("hello", additional_kwargs={"reasoning_content": "no"}),
        AIMessage("hello", tool_calls=[CALL]),
        AIMessage("hello", tool_calls=[CALL, CALL]),
        AIMessage("hello", tool_calls=[{**CALL, "id": "call_2"}]),
        AIMessage("hello", tool_calls=[other_args]),
        AIMessage(
            "hello",
            invalid_tool_calls=[
                {"name": "search", "args": "{", "id": "1", "error": None, "type": "invalid_tool_call"}
            ],
        ),
        ToolMessage("hello", tool_call_id="call_1"),
        ToolMessage("hello", tool_call_id="call_2"),
        HumanMessage([{"type": "text", "text": "hello"}]),
        HumanMessage([{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]),
    ]


def test_no_two_of_them_are_taken_for_one_another() -> None:
    marks = chat_prompt(made(), {}, "openai", "gpt-4o").marks
    assert len(set(marks)) == len(marks)


def test_an_equal_message_is_recognised_although_it_is_another_object() -> None:
    first, second = (chat_prompt(made(), {}, "openai", "gpt-4o") for _ in range(2))
    assert first.marks == second.marks
    assert first.mark == second.mark


def test_what_is_no_part_of_the_request_changes_nothing() -> None:
    plain, marked = AIMessage("hello"), AIMessage("hello", additional_kwargs={"refusal": None})
    prompt = chat_prompt([plain, marked], {}, "openai", "gpt-4o")
    assert prompt.marks[0] == prompt.marks[1]


@pytest.mark.parametrize("name", ["previous_response_id", "cached_content"])
def test_what_is_read_beyond_the_request_is_named(name: str) -> None:
    assert chat_prompt([HumanMessage("hello")], {name: "x"}, "openai", "gpt-4o").find_beyond() == (name,)
    assert chat_prompt([HumanMessage("hello")], {}, "openai", "gpt-4o").find_beyond() == ()

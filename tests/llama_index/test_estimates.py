"""What a call is estimated at before it is sent, by the real clients."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    DocumentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool

from apeiros_callbacks.errors import Unbounded
from apeiros_callbacks.testing import Reply
from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM
from tests.llama_index.clients import anthropic, openai, responses
from tests.opened import Opened


def said(text: str, role: str = "user") -> ChatMessage:
    return ChatMessage(role=role, content=text)


def estimated(model: Any, asked: list[ChatMessage], **options: Any) -> int:
    """The input that a call is expected to have; the same by the handler alone and in a wrapper."""
    found: list[int] = []
    for wrapped in (False, True):
        session = Opened()
        with ApeirosHandler(session=session) as handler:
            used = BudgetedLLM(model, handler) if wrapped else model
            used.chat_with_tools(chat_history=list(asked), **options) if options else used.chat(asked)
        estimate = session.calls[-1].estimate
        assert estimate is not None
        found.append(estimate.input_tokens)
    assert found[0] == found[1]
    return found[0]


def get_weather(city: str) -> str:
    """Get the current weather for a city."""
    return city


TOOL = FunctionTool.from_defaults(get_weather)
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_a_message_is_what_the_providers_report(serve: Any) -> None:
    server = serve(Reply("hi"))
    assert estimated(openai(server), [said("hello")]) == 8
    assert estimated(anthropic(server, "claude-haiku-4-5"), [said("hello")]) in {8, 9}


def test_tools_are_what_the_providers_report(serve: Any) -> None:
    server = serve(Reply("hi"))
    asked = [said("What's the weather in Paris?")]
    # Reported of these tools: 50 by gpt-5-mini's responses, 567 and 655 by claude-sonnet-4-5.
    assert estimated(openai(server), asked, tools=[TOOL]) == pytest.approx(50, abs=15)
    claude = anthropic(server, "claude-haiku-4-5")
    freely = estimated(claude, asked, tools=[TOOL])
    assert freely == pytest.approx(570, abs=25)
    assert estimated(claude, asked, tools=[TOOL], tool_required=True) == freely + 92


def test_what_a_model_adds_by_itself_counts(serve: Any) -> None:
    server = serve(Reply("hi"))
    asked = [said("hello")]
    plain = estimated(anthropic(server), asked)
    assert estimated(anthropic(server, tools=[SEARCH]), asked) > plain + 300
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert estimated(anthropic(server, thinking_dict=thinking), asked) == plain + 28
    words = "Be brief. " * 50
    assert estimated(responses(server, instructions=words), asked) > estimated(responses(server), asked) + 100
    schema = {"type": "object", "properties": {"city": {"type": "string", "description": "word " * 50}}}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    formed = openai(server, additional_kwargs={"response_format": form})
    assert estimated(formed, asked) > estimated(openai(server), asked) + 50


def test_ids_are_not_read(serve: Any) -> None:
    server = serve(Reply("hi"))

    def tokens(call_id: str) -> int:
        call = ToolCallBlock(tool_call_id=call_id, tool_name="get_weather", tool_kwargs={"city": "Paris"})
        result = ChatMessage(role="tool", content="Sunny", additional_kwargs={"tool_call_id": call_id})
        return estimated(
            openai(server), [said("Paris?"), ChatMessage(role="assistant", blocks=[call]), result]
        )

    assert tokens("1") == tokens("call_" + "0123456789abcdef" * 2)


def test_thoughts_before_the_last_question_are_not_read_again(serve: Any) -> None:
    server = serve(Reply("hi"))
    thought = ThinkingBlock(content="word " * 200, additional_information={"signature": "x"})
    answered = ChatMessage(role="assistant", blocks=[thought, TextBlock(text="So.")])
    asked = [said("Why?"), answered, said("And?")]
    assert estimated(anthropic(server, "claude-haiku-4-5"), asked) < 50
    assert estimated(anthropic(server, "claude-sonnet-4-6"), asked) > 200


PAGE = b"<< /Type /Page >>\n"


@pytest.mark.parametrize(("pages", "size"), [(2, 0), (1, 900_000)])
def test_a_pdf_counts_by_its_pages(serve: Any, pages: int, size: int) -> None:
    server = serve(Reply("hi"))
    file = base64.b64encode(b"%PDF-1.4\n" + pages * PAGE + b"0" * size)
    document = DocumentBlock(data=file, document_mimetype="application/pdf", title="a")
    model = anthropic(server, "claude-haiku-4-5")
    asked = TextBlock(text="What is it?")
    with_it = estimated(model, [ChatMessage(blocks=[asked, document])])
    without = estimated(model, [ChatMessage(blocks=[asked])])
    assert with_it - without == pytest.approx(3_000 * pages, abs=2)


@pytest.mark.parametrize("wrapped", [False, True], ids=["handler", "wrapper"])
def test_a_strict_budget_knows_what_a_model_reads_beyond_the_request(serve: Any, wrapped: bool) -> None:
    server = serve(Reply("hi"))
    stored = responses(server, track_previous_responses=True, max_tokens=100)
    for model, beyond in (
        (anthropic(server, tools=[SEARCH], max_tokens=100), "web_search"),
        (responses(server, built_in_tools=[{"type": "web_search"}], max_tokens=100), "web_search"),
        (stored, "previous_response_id"),
    ):
        if model is stored:
            stored.chat([said("hello")])
        before = server.request_count
        with (
            ApeirosHandler(budget=1000, strict=True) as handler,
            pytest.raises(Unbounded, match=beyond),
        ):
            (BudgetedLLM(model, handler) if wrapped else model).chat([said("hello")])
        assert server.request_count == before

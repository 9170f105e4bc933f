"""What a call is estimated at before it is sent, by the real clients."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from apeiros_callbacks.testing import Reply
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import anthropic, openai
from tests.opened import Opened


def estimated(model: Any, messages: Any) -> int:
    """The input that a call is expected to have."""
    session = Opened()
    model.invoke(messages, {"callbacks": [ApeirosHandler(session=session)]})
    estimate = session.calls[-1].estimate
    assert estimate is not None
    return estimate.input_tokens


@tool
def get_weather(city: str) -> str:
    """Get the current weather for a city."""
    return city


class City(BaseModel):
    """A city."""

    name: str


def test_a_message_is_what_the_providers_report(serve: Any) -> None:
    server = serve(lambda _: Reply("hi"))
    assert estimated(openai(server), "hello") == 8
    assert estimated(anthropic(server, "claude-haiku-4-5"), "hello") in {8, 9}


def test_tools_are_what_the_providers_report(serve: Any) -> None:
    server = serve(lambda _: Reply("hi"))
    question = "What's the weather in Paris?"
    # Reported of these tools: 50 by gpt-5-mini's responses, 567 and 655 by claude-sonnet-4-5.
    assert estimated(openai(server).bind_tools([get_weather]), question) == pytest.approx(50, abs=8)
    claude = anthropic(server, "claude-haiku-4-5")
    freely = estimated(claude.bind_tools([get_weather]), question)
    assert freely == pytest.approx(570, abs=25)
    assert estimated(claude.bind_tools([get_weather], tool_choice="any"), question) == freely + 92


def test_the_schema_of_an_answer_counts(serve: Any) -> None:
    server = serve(lambda _: Reply('{"name": "Paris"}'))
    plain = estimated(openai(server), "Where?")
    formed = openai(server).with_structured_output(City, method="json_schema")
    assert plain + 12 < estimated(formed, "Where?") < plain + 60


def test_ids_are_not_read(serve: Any) -> None:
    server = serve(lambda _: Reply("hi"))

    def tokens(call_id: str) -> int:
        call = {"name": "get_weather", "args": {"city": "Paris"}, "id": call_id}
        talk = [
            HumanMessage("Paris?"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("Sunny", tool_call_id=call_id),
        ]
        return estimated(openai(server), talk)

    assert tokens("1") == tokens("call_" + "0123456789abcdef" * 4)


PAGE = b"<< /Type /Page >>\n"


@pytest.mark.parametrize(
    ("part", "least", "most"),
    [
        # As text: what it says. A PDF: by its pages. The length of the base64 has nothing to do with it.
        ({"media_type": "text/plain", "data": base64.b64encode(b"Dummy TXT file").decode()}, 3, 12),
        (
            {"media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1.4\n" + 2 * PAGE).decode()},
            6000,
            6000,
        ),
        (
            {
                "media_type": "application/pdf",
                "data": base64.b64encode(b"%PDF-1.4\n" + PAGE + b"0" * 900_000).decode(),
            },
            3000,
            3000,
        ),
    ],
)
def test_documents(serve: Any, part: dict[str, str], least: int, most: int) -> None:
    server = serve(lambda _: Reply("hi"))
    model = anthropic(server, "claude-haiku-4-5")
    document = {"type": "document", "source": {"type": "base64", **part}}
    asked = {"type": "text", "text": "What is it?"}
    more = estimated(model, [HumanMessage([asked, document])]) - estimated(model, [HumanMessage([asked])])
    assert least <= more <= most + 1


def test_a_document_of_plain_text_is_its_text(serve: Any) -> None:
    server = serve(lambda _: Reply("hi"))
    source = {"type": "text", "media_type": "text/plain", "data": "word " * 100}
    assert (
        100 <= estimated(anthropic(server), [HumanMessage([{"type": "document", "source": source}])]) <= 140
    )


def test_thoughts_before_the_last_question_are_not_read_again(serve: Any) -> None:
    server = serve(lambda _: Reply("hi"))
    thought = {"type": "thinking", "thinking": "word " * 200, "signature": "x"}
    talk = [HumanMessage("Why?"), AIMessage([thought, {"type": "text", "text": "So."}])]
    again = [*talk, HumanMessage("And?")]
    assert estimated(anthropic(server, "claude-haiku-4-5"), again) < 50
    assert estimated(anthropic(server, "claude-sonnet-4-6"), again) > 200


def test_google_by_itself_and_on_vertex(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    google = pytest.importorskip(
        "langchain_google_genai", reason="this environment has no client of Google's"
    )
    monkeypatch.delenv("GOOGLE_GENAI_USE_VERTEXAI", raising=False)
    server = serve(lambda _: Reply("hi"))

    def model(**options: Any) -> Any:
        return google.ChatGoogleGenerativeAI(
            model="gemini-3-flash-preview",
            api_key="test",
            max_retries=1,
            base_url=server.google_url,
            **options,
        )

    # Of a tool without arguments 4 to 6 are reported on Vertex AI, 16 to 18 elsewhere.
    tools = [{"function_declarations": [{"name": "get_file", "description": ""}]}]
    assert estimated(model().bind(tools=tools), "hello") > estimated(
        model(vertexai=True).bind(tools=tools), "hello"
    )
    call = {"name": "get_file", "args": {}, "id": "1"}
    thoughts = {"__gemini_function_call_thought_signatures__": {"1": base64.b64encode(b"0" * 3000).decode()}}
    talk = [
        HumanMessage("hello"),
        AIMessage("", tool_calls=[call], additional_kwargs=thoughts),
        ToolMessage("a", tool_call_id="1", name="get_file"),
    ]
    assert estimated(model(), talk) == pytest.approx(4000 * 0.2, abs=30)
    assert estimated(model(vertexai=True), talk) < 30
    assert estimated(model(), [*talk, HumanMessage("well?")]) < 30

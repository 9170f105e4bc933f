"""OpenAI's responses API: LangChain's real client and OpenAI's own against the scripted server."""

import asyncio

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

langchain_openai = pytest.importorskip("langchain_openai")
import openai  # noqa: E402 - only where LangChain's client is

HOUR = 3600.0
FULL = Reply(
    "Paris is sunny.",
    input_tokens=1200,
    output_tokens=380,
    cache_read_tokens=1000,
    cache_write_tokens=100,
    reasoning_tokens=300,
)
SEARCHES = (
    ToolCall("search", {"query": "weather in 東京"}),
    ToolCall("search", {"query": "Paris"}, id="mine"),
)
SEARCH = {"name": "search", "description": "Search.", "parameters": {"type": "object", "properties": {}}}


def chat(server, **settings):
    settings = {"model": "gpt-5.4", "max_retries": 0, "use_responses_api": True} | settings
    return langchain_openai.ChatOpenAI(base_url=server.openai_url, api_key="s3cret", **settings)


def whole(chunks):
    first, *others = chunks
    return sum(others, start=first)


async def collect(stream):
    return [chunk async for chunk in stream]


def test_invoke():
    with ScriptedServer(FULL) as server:
        message = chat(server).invoke("hi")
        [request] = server.requests
    assert message.text == "Paris is sunny."
    assert message.usage_metadata == {
        "input_tokens": 1200,
        "output_tokens": 380,
        "total_tokens": 1580,
        "input_token_details": {"cache_read": 1000, "cache_creation": 100},
        "output_token_details": {"reasoning": 300},
    }
    assert message.response_metadata["model_name"] == "gpt-5.4"
    assert message.response_metadata["status"] == "completed"
    assert (request.api, request.model, request.stream) == ("openai-responses", "gpt-5.4", False)
    assert "s3cret" not in str(request)
    assert request.finished


def test_stream():
    with ScriptedServer(FULL) as server:
        chunks = list(chat(server).stream("hi"))
        [request] = server.requests
    message = whole(chunks)
    assert [chunk.text for chunk in chunks if chunk.text] == ["Paris", " is", " sunny."]
    assert message.usage_metadata["input_tokens"] == 1200
    assert message.usage_metadata["output_token_details"] == {"reasoning": 300}
    assert (request.stream, request.chunks_sent, request.finished) == (True, 3, True)


def test_async():
    async def run(model):
        return await model.ainvoke("hi"), whole(await collect(model.astream("hi")))

    with ScriptedServer(FULL) as server:
        for message in asyncio.run(run(chat(server))):
            assert message.text == "Paris is sunny."
            assert message.usage_metadata["total_tokens"] == 1580


def test_no_usage_at_all():
    with ScriptedServer(Reply("hello", usage=False)) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert (message.text, message.usage_metadata) == ("hello", None)


def test_a_mis_shaped_usage_is_sent_as_it_is():
    with ScriptedServer(Reply("hi", usage_body={"input_tokens": 9, "output_tokens": 3})) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (9, 3)


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_tool_calls(text):
    with ScriptedServer(Reply(text, SEARCHES)) as server:
        model = chat(server).bind_tools([SEARCH])
        for n, message in enumerate((model.invoke("hi"), whole(model.stream("hi"))), start=1):
            assert message.text == text
            assert message.invalid_tool_calls == []
            assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
                ("search", {"query": "weather in 東京"}, f"call_00000{n}_0"),
                ("search", {"query": "Paris"}, "mine"),
            ]


def test_the_answering_model_and_the_tier_and_the_end_can_be_told():
    reply = Reply(
        "hi", model="gpt-5.4-2026-03-05", service_tier="priority", finish_reason="max_output_tokens"
    )
    with ScriptedServer(reply) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert message.response_metadata["model_name"] == "gpt-5.4-2026-03-05"
            assert message.response_metadata["service_tier"] == "priority"
            assert message.response_metadata["status"] == "incomplete"
            assert message.response_metadata["incomplete_details"] == {"reason": "max_output_tokens"}
            assert message.usage_metadata["input_token_details"]["priority"] == 10


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_errors(status, kind):
    with ScriptedServer(Reply(status=status, error="not today")) as server:
        with pytest.raises(kind, match="not today") as refused:
            chat(server).invoke("hi")
        with pytest.raises(kind, match="not today"):
            list(chat(server).stream("hi"))
        assert refused.value.status_code == status


def test_an_error_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], fail_after=1, error="too busy")) as server:
        with pytest.raises(ValueError, match="too busy"):
            seen.extend(chunk.text for chunk in chat(server).stream("hi"))
        assert "".join(seen) == "a"
        assert server.chunks_sent == 1


def test_a_connection_that_breaks_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], cut_after=1)) as server:
        with pytest.raises(openai.APIConnectionError):
            seen.extend(chunk.text for chunk in chat(server).stream("hi"))
        assert "".join(seen) == "a"


def test_hanging_up_in_a_stream_stops_it():
    with ScriptedServer(Reply(["a", "b", "c"], chunk_delay=HOUR)) as server:
        stream = chat(server).stream("hi")
        while next(stream).text != "a":
            pass
        stream.close()
        server.wait_until_idle()
        [request] = server.requests
    assert (request.chunks_sent, request.disconnected, request.finished) == (1, True, False)


def test_the_events_are_those_that_openai_knows():
    with (
        ScriptedServer(Reply("Paris is", SEARCHES[:1])) as server,
        openai.OpenAI(base_url=server.openai_url, api_key="test", max_retries=0) as client,
    ):
        with client.responses.stream(model="gpt-5.4", input="hi") as stream:
            events = list(stream)
            answer = stream.get_final_response()
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created"
        assert events[0].response.usage is None
        kinds = [event.type for event in events]
        assert kinds.count("response.output_text.delta") == 2
        assert kinds[-1] == "response.completed"
        assert answer.output_text == "Paris is"
        assert answer.output[1].arguments == '{"query":"weather in \\u6771\\u4eac"}'
        assert events[-1].response.usage == answer.usage
        again = client.responses.create(model="gpt-5.4", input="hi")
        assert again.usage == answer.usage
        assert [item.type for item in again.output] == [item.type for item in answer.output]

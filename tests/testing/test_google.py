"""LangChain's real Google client against the scripted server."""

import asyncio
import json
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

langchain_google_genai = pytest.importorskip("langchain_google_genai")
from google.genai import errors  # noqa: E402 - only where LangChain's client is
from langchain_core.messages import HumanMessage  # noqa: E402

HOUR = 3600.0
FULL = Reply(
    "Paris is sunny.",
    input_tokens=1200,
    output_tokens=380,
    cache_read_tokens=1000,
    reasoning_tokens=300,
    tool_use_tokens=50,
)
SEARCHES = (
    ToolCall("search", {"query": "weather in 東京"}),
    ToolCall("search", {"query": "Paris"}, id="mine"),
)
SEARCH = {"name": "search", "description": "Search.", "parameters": {"type": "object", "properties": {}}}


@contextmanager
def chat(server, **settings):
    model = langchain_google_genai.ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", base_url=server.google_url, api_key="s3cret", max_retries=1, **settings
    )
    try:
        yield model
    finally:
        model.client.close()


def whole(chunks):
    first, *others = chunks
    return sum(others, start=first)


def test_invoke():
    with ScriptedServer(FULL) as server, chat(server) as model:
        message = model.invoke("hi")
        [request] = server.requests
    assert message.text == "Paris is sunny."
    assert message.usage_metadata == {
        "input_tokens": 1200,
        "output_tokens": 380,
        "total_tokens": 1580,
        "input_token_details": {"cache_read": 1000},
        "output_token_details": {"reasoning": 300},
    }
    assert message.response_metadata["model_name"] == "gemini-2.5-flash"
    assert message.response_metadata["finish_reason"] == "STOP"
    assert (request.api, request.model, request.stream) == ("google", "gemini-2.5-flash", False)
    assert "s3cret" not in str(request)
    assert request.finished


def test_stream():
    with ScriptedServer(FULL) as server, chat(server) as model:
        chunks = list(model.stream("hi"))
        [request] = server.requests
    message = whole(chunks)
    assert [chunk.text for chunk in chunks if chunk.text] == ["Paris", " is", " sunny."]
    assert message.usage_metadata["input_tokens"] == 1200
    assert message.usage_metadata["output_tokens"] == 380
    assert message.usage_metadata["output_token_details"] == {"reasoning": 300}
    assert (request.stream, request.chunks_sent, request.finished) == (True, 3, True)


def test_a_stream_tells_its_usage_as_it_grows():
    reply = Reply(["a", "b", "c", "d"], input_tokens=100, output_tokens=40, cut_after=2)
    told = []
    with ScriptedServer(reply) as server, chat(server) as model:
        with pytest.raises(Exception, match="incomplete"):
            told.extend(chunk.usage_metadata for chunk in model.stream("hi"))
        server.wait_until_idle()
    assert [usage["input_tokens"] for usage in told] == [100, 0], "the client takes differences"
    assert [usage["output_tokens"] for usage in told] == [10, 10]


def test_async():
    async def run():
        with ScriptedServer(FULL) as server, chat(server) as model:
            invoked = await model.ainvoke("hi")
            streamed = whole([chunk async for chunk in model.astream("hi")])
            await model.client.aio.aclose()
        return invoked, streamed

    for message in asyncio.run(run()):
        assert message.text == "Paris is sunny."
        assert message.usage_metadata["total_tokens"] == 1580


def test_the_usage_is_googles_own():
    reply = Reply(
        "hi",
        input_tokens=100,
        output_tokens=40,
        cache_read_tokens=20,
        reasoning_tokens=10,
        tool_use_tokens=30,
        input_audio_tokens=5,
        output_audio_tokens=7,
    )
    with ScriptedServer(reply) as server, chat(server) as model:
        contents = [{"role": "user", "parts": [{"text": "hi"}]}]
        answer = model.client.models.generate_content(model="gemini-2.5-flash", contents=contents)
    assert answer.model_version == "gemini-2.5-flash"
    assert answer.usage_metadata.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "promptTokenCount": 70,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 65},
            {"modality": "AUDIO", "tokenCount": 5},
        ],
        "cachedContentTokenCount": 20,
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
        "toolUsePromptTokenCount": 30,
        "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 30}],
        "candidatesTokenCount": 30,
        "candidatesTokensDetails": [
            {"modality": "TEXT", "tokenCount": 23},
            {"modality": "AUDIO", "tokenCount": 7},
        ],
        "thoughtsTokenCount": 10,
        "totalTokenCount": 140,
    }


def test_the_tier_is_told_though_the_client_loses_it():
    with ScriptedServer(Reply("hi", service_tier="priority")) as server:
        url = f"{server.google_url}/v1beta/models/gemini-2.5-flash:generateContent"
        with urlopen(url, b"{}") as answer:  # noqa: S310 - the server's own address
            assert json.load(answer)["usageMetadata"]["serviceTier"] == "priority"


def test_no_usage_at_all():
    with ScriptedServer(Reply("hello", usage=False)) as server, chat(server) as model:
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            assert (message.text, message.usage_metadata) == ("hello", None)


def test_a_mis_shaped_usage_is_sent_as_it_is():
    reply = Reply("Paris is", usage_body={"promptTokenCount": 9, "candidatesTokenCount": 3})
    with ScriptedServer(reply) as server, chat(server) as model:
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            usage = message.usage_metadata
            assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (9, 3, 0)


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_tool_calls(text):
    with ScriptedServer(Reply(text, SEARCHES)) as server, chat(server) as chat_model:
        model = chat_model.bind_tools([SEARCH])
        for n, message in enumerate((model.invoke("hi"), whole(model.stream("hi"))), start=1):
            assert message.text == text
            assert message.invalid_tool_calls == []
            assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
                ("search", {"query": "weather in 東京"}, f"call-00000{n}-0"),
                ("search", {"query": "Paris"}, "mine"),
            ]


def test_several_candidates_are_alike_and_have_one_usage():
    with ScriptedServer(Reply("hi", output_tokens=7)) as server, chat(server, n=2) as model:
        result = model.generate([[HumanMessage("hi")]])
    texts = [generation.text for generation in result.generations[0]]
    assert texts == ["hi", "hi"]
    assert result.generations[0][0].message.usage_metadata["output_tokens"] == 7


def test_the_answering_model_and_the_end_can_be_told():
    reply = Reply("hi", model="gemini-2.5-flash-001", finish_reason="MAX_TOKENS")
    with ScriptedServer(reply) as server, chat(server) as model:
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            assert message.response_metadata["model_name"] == "gemini-2.5-flash-001"
            assert message.response_metadata["finish_reason"] == "MAX_TOKENS"


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, errors.ClientError, "INVALID_ARGUMENT"),
        (403, errors.ClientError, "PERMISSION_DENIED"),
        (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
        (500, errors.ServerError, "INTERNAL"),
        (503, errors.ServerError, "UNAVAILABLE"),
    ],
)
def test_errors(status, kind, name):
    with ScriptedServer(Reply(status=status, error="not today")) as server, chat(server) as model:
        with pytest.raises(Exception, match="not today") as refused:
            model.invoke("hi")
        with pytest.raises(Exception, match="not today"):
            list(model.stream("hi"))
        own = refused.value if isinstance(refused.value, kind) else refused.value.__cause__
        assert isinstance(own, kind)
        assert (own.code, own.status) == (status, name)


def test_an_error_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], fail_after=1, error="busy")) as server, chat(server) as model:
        with pytest.raises(Exception, match=r"503 UNAVAILABLE.*busy"):
            seen.extend(chunk.text for chunk in model.stream("hi"))
        assert "".join(seen) == "a"
        assert server.chunks_sent == 1


def test_hanging_up_in_a_stream_stops_it():
    reply = Reply(["a", "b", "c"], chunk_delay=HOUR)
    with ScriptedServer(reply) as server:
        with chat(server) as model:
            stream = model.stream("hi")
            while next(stream).text != "a":
                pass
            stream.close()
        server.wait_until_idle()
        [request] = server.requests
    assert (request.chunks_sent, request.disconnected, request.finished) == (1, True, False)

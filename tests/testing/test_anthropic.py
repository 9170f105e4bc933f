"""LangChain's real Anthropic client against the scripted server."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

langchain_anthropic = pytest.importorskip("langchain_anthropic")
import anthropic  # noqa: E402 - only where LangChain's client is

HOUR = 3600.0
FULL = Reply(
    "Paris is sunny.",
    input_tokens=1200,
    output_tokens=380,
    cache_read_tokens=1000,
    cache_write_tokens=100,
    cache_write_1h_tokens=40,
    reasoning_tokens=300,
)
SEARCHES = (
    ToolCall("search", {"query": "weather in 東京"}),
    ToolCall("search", {"query": "Paris"}, id="mine"),
)
SEARCH = {"name": "search", "description": "Search.", "input_schema": {"type": "object", "properties": {}}}


def chat(server, **settings):
    settings = {"model": "claude-sonnet-4-6", "max_retries": 0} | settings
    return langchain_anthropic.ChatAnthropic(base_url=server.anthropic_url, api_key="s3cret", **settings)


def whole(chunks):
    first, *others = chunks
    return sum(others, start=first)


async def collect(stream):
    return [chunk async for chunk in stream]


def totals(message):
    usage = message.usage_metadata
    return usage["input_tokens"], usage["output_tokens"], usage["output_token_details"]["reasoning"]


def test_invoke():
    with ScriptedServer(FULL) as server:
        message = chat(server).invoke("hi")
        [request] = server.requests
    assert message.text == "Paris is sunny."
    assert message.usage_metadata == {
        "input_tokens": 1200,
        "output_tokens": 380,
        "total_tokens": 1580,
        "input_token_details": {
            "cache_read": 1000,
            "cache_creation": 0,
            "ephemeral_5m_input_tokens": 60,
            "ephemeral_1h_input_tokens": 40,
        },
        "output_token_details": {"reasoning": 300},
    }
    assert message.response_metadata["usage"]["input_tokens"] == 100, "Anthropic's own leaves the cache out"
    assert message.response_metadata["model_name"] == "claude-sonnet-4-6"
    assert message.response_metadata["stop_reason"] == "end_turn"
    assert (request.api, request.model, request.stream) == ("anthropic", "claude-sonnet-4-6", False)
    assert "[redacted]" in request.headers.values()
    assert "s3cret" not in str(request)
    assert request.finished


def test_stream():
    with ScriptedServer(FULL) as server:
        chunks = list(chat(server).stream("hi"))
        [request] = server.requests
    message = whole(chunks)
    assert [chunk.text for chunk in chunks if chunk.text] == ["Paris", " is", " sunny."]
    assert message.response_metadata["stop_reason"] == "end_turn"
    assert totals(message) == (1200, 380, 300)
    assert message.usage_metadata["input_token_details"] == {"cache_read": 1000, "cache_creation": 100}
    assert (request.stream, request.chunks_sent, request.finished) == (True, 3, True)


def test_async():
    async def run(model):
        return await model.ainvoke("hi"), whole(await collect(model.astream("hi")))

    with ScriptedServer(FULL) as server:
        for message in asyncio.run(run(chat(server))):
            assert message.text == "Paris is sunny."
            assert totals(message) == (1200, 380, 300)


def test_no_usage_at_all():
    with ScriptedServer(Reply("hello", usage=False)) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert message.text == "hello"
            assert not message.usage_metadata["total_tokens"], "the client makes zeros of it"


def test_a_mis_shaped_usage_is_sent_as_it_is():
    with ScriptedServer(Reply("hi", input_tokens=9, usage_body={"output_tokens": 3})) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (0, 3)


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_tool_calls(text):
    with ScriptedServer(Reply(text, SEARCHES)) as server:
        model = chat(server).bind_tools([SEARCH])
        for n, message in enumerate((model.invoke("hi"), whole(model.stream("hi"))), start=1):
            assert message.text == text
            assert message.response_metadata["stop_reason"] == "tool_use"
            assert message.invalid_tool_calls == []
            assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
                ("search", {"query": "weather in 東京"}, f"toolu_00000{n}_0"),
                ("search", {"query": "Paris"}, "mine"),
            ]


def test_a_tool_call_without_arguments():
    with ScriptedServer(Reply(tool_calls=[ToolCall("search")])) as server:
        model = chat(server).bind_tools([SEARCH])
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            assert [call["args"] for call in message.tool_calls] == [{}]


def test_the_answering_model_and_the_tier_and_the_end_can_be_told():
    reply = Reply(
        "hi", model="claude-sonnet-4-6-20260217", service_tier="priority", finish_reason="max_tokens"
    )
    with ScriptedServer(reply) as server:
        invoked, streamed = chat(server).invoke("hi"), whole(chat(server).stream("hi"))
        assert invoked.response_metadata["usage"]["service_tier"] == "priority"
        for message in (invoked, streamed):
            assert message.response_metadata["model_name"] == "claude-sonnet-4-6-20260217"
            assert message.response_metadata["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_errors(status, kind, name):
    with ScriptedServer(Reply(status=status, error="not today")) as server:
        with pytest.raises(kind, match="not today") as refused:
            chat(server).invoke("hi")
        with pytest.raises(kind, match="not today"):
            list(chat(server).stream("hi"))
        assert refused.value.status_code == status
        assert refused.value.body["error"]["type"] == name
        assert [request.finished for request in server.requests] == [True, True]


def test_the_client_tries_again_by_itself():
    busy = Reply(status=529, headers={"retry-after-ms": "1"})
    with ScriptedServer([busy, Reply("hi")]) as server:
        assert chat(server, max_retries=1).invoke("hi").text == "hi"
        assert [request.reply.status for request in server.requests] == [529, 200]


def test_an_error_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], fail_after=1, error="too busy")) as server:
        with pytest.raises(anthropic.APIStatusError, match="too busy"):
            seen.extend(chunk.text for chunk in chat(server).stream("hi"))
        assert "".join(seen) == "a"
        assert server.chunks_sent == 1


def test_a_connection_that_breaks_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], cut_after=1)) as server:
        with pytest.raises(Exception, match=r"closed|incomplete|[Cc]onnection"):
            seen.extend(chunk.text for chunk in chat(server).stream("hi"))
        assert "".join(seen) == "a"


def test_a_provider_that_hangs_meets_the_clients_timeout():
    with ScriptedServer(Reply("hi", stall_after=0)) as server:
        with pytest.raises(anthropic.APITimeoutError):
            chat(server, timeout=0.05).invoke("hi")
        server.wait_for_requests()
        server.wait_until_idle()
        assert server.requests[0].disconnected


def test_hanging_up_in_a_stream_stops_it():
    with ScriptedServer(Reply(["a", "b", "c"], chunk_delay=HOUR)) as server:
        stream = chat(server).stream("hi")
        while next(stream).text != "a":
            pass
        stream.close()
        server.wait_until_idle()
        [request] = server.requests
    assert (request.chunks_sent, request.disconnected, request.finished) == (1, True, False)


def test_hanging_up_in_an_async_stream_stops_it():
    async def run(server):
        stream = chat(server).astream("hi")
        while (await anext(stream)).text != "a":
            pass
        await stream.aclose()
        await asyncio.to_thread(server.wait_until_idle)

    with ScriptedServer(Reply(["a", "b", "c"], chunk_delay=HOUR)) as server:
        asyncio.run(run(server))
        [request] = server.requests
    assert (request.chunks_sent, request.disconnected, request.finished) == (1, True, False)


def test_closing_the_server_ends_a_call_that_hangs():
    failures = []

    def call(model):
        try:
            model.invoke("hi")
        except anthropic.APIConnectionError as error:
            failures.append(error)

    with ScriptedServer(Reply("hi", delay=HOUR)) as server:
        thread = threading.Thread(target=call, args=(chat(server),))
        thread.start()
        server.wait_for_requests()
    thread.join()
    assert len(failures) == 1
    assert not server.requests[0].finished


def test_a_hundred_calls_at_once():
    def script(request):
        server.wait_for_requests(100, timeout=60)  # nobody is answered before all are there
        return Reply(request.body["messages"][0]["content"], output_tokens=7)

    with ScriptedServer(script) as server, ThreadPoolExecutor(100) as pool:
        model = chat(server)
        messages = list(pool.map(lambda n: model.invoke(f"call {n}"), range(100)))
    assert [message.text for message in messages] == [f"call {n}" for n in range(100)]
    assert sum(message.usage_metadata["output_tokens"] for message in messages) == 700
    assert server.request_count == 100

"""LangChain's real OpenAI client against the scripted server."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

langchain_openai = pytest.importorskip("langchain_openai")
import openai  # noqa: E402 - only where LangChain's client is
from langchain_core.messages import HumanMessage  # noqa: E402

HOUR = 3600.0
FULL = Reply(
    "Paris is sunny.",
    input_tokens=1200,
    output_tokens=380,
    cache_read_tokens=1000,
    cache_write_tokens=100,
    cache_write_1h_tokens=40,
    reasoning_tokens=300,
    input_audio_tokens=7,
    output_audio_tokens=8,
)
FULL_USAGE = {
    "input_tokens": 1200,
    "output_tokens": 380,
    "total_tokens": 1580,
    "input_token_details": {"audio": 7, "cache_read": 1000, "cache_creation": 100},
    "output_token_details": {"audio": 8, "reasoning": 300},
}
SEARCHES = (
    ToolCall("search", {"query": "weather in 東京"}),
    ToolCall("search", {"query": "Paris"}, id="mine"),
)


def chat(server, **settings):
    settings = {"model": "gpt-4o", "stream_usage": True, "max_retries": 0} | settings
    return langchain_openai.ChatOpenAI(base_url=server.openai_url, api_key="s3cret", **settings)


def whole(chunks):
    first, *others = chunks
    return sum(others, start=first)


async def collect(stream):
    return [chunk async for chunk in stream]


def said_by(message):
    return message.text, message.usage_metadata, message.response_metadata["finish_reason"]


def test_invoke():
    with ScriptedServer(FULL) as server:
        message = chat(server).invoke("hi")
        [request] = server.requests
    assert said_by(message) == ("Paris is sunny.", FULL_USAGE, "stop")
    assert message.response_metadata["model_name"] == "gpt-4o"
    assert (request.api, request.model, request.stream) == ("openai-chat", "gpt-4o", False)
    assert request.body["messages"] == [{"content": "hi", "role": "user"}]
    assert "[redacted]" in request.headers.values()
    assert "s3cret" not in str(request)
    assert request.finished
    assert server.chunks_sent == 0


def test_stream():
    with ScriptedServer(FULL) as server:
        chunks = list(chat(server).stream("hi"))
        [request] = server.requests
    assert [chunk.text for chunk in chunks if chunk.text] == ["Paris", " is", " sunny."]
    assert said_by(whole(chunks)) == ("Paris is sunny.", FULL_USAGE, "stop")
    assert (request.stream, request.chunks_sent, request.finished) == (True, 3, True)


def test_async():
    async def run(model):
        return await model.ainvoke("hi"), whole(await collect(model.astream("hi")))

    with ScriptedServer(FULL) as server:
        for message in asyncio.run(run(chat(server))):
            assert said_by(message) == ("Paris is sunny.", FULL_USAGE, "stop")


def test_a_stream_reports_usage_only_if_asked():
    with ScriptedServer(FULL) as server:
        assert whole(chat(server, stream_usage=None).stream("hi")).usage_metadata is None
        assert whole(chat(server, stream_usage=True).stream("hi")).usage_metadata == FULL_USAGE


def test_no_usage_at_all():
    with ScriptedServer(Reply("hi", usage=False)) as server:
        assert chat(server).invoke("hi").usage_metadata is None
        assert whole(chat(server).stream("hi")).usage_metadata is None


def test_a_mis_shaped_usage_is_sent_as_it_is():
    with ScriptedServer(Reply("hi", usage_body={"prompt_tokens": 9})) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (9, 0)


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_tool_calls(text):
    with ScriptedServer(Reply(text, SEARCHES)) as server:
        for n, message in enumerate((chat(server).invoke("hi"), whole(chat(server).stream("hi"))), start=1):
            assert message.text == text
            assert message.response_metadata["finish_reason"] == "tool_calls"
            assert message.invalid_tool_calls == []
            assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
                ("search", {"query": "weather in 東京"}, f"call_00000{n}_0_0"),
                ("search", {"query": "Paris"}, "mine"),
            ]


def test_several_choices_share_one_usage():
    with ScriptedServer(FULL) as server:
        result = chat(server, n=2).generate([[HumanMessage("hi")]])
        assert [generation.text for generation in result.generations[0]] == ["Paris is sunny."] * 2
        assert result.llm_output["token_usage"]["completion_tokens"] == 380
        list(chat(server).bind(n=2).stream("hi"))
        assert server.requests[1].chunks_sent == 6


def test_the_answering_model_and_the_tier_and_the_end_can_be_told():
    reply = Reply("hi", model="gpt-4o-2024-08-06", service_tier="priority", finish_reason="length")
    with ScriptedServer(reply) as server:
        for message in (chat(server).invoke("hi"), whole(chat(server).stream("hi"))):
            assert message.response_metadata["model_name"] == "gpt-4o-2024-08-06"
            assert message.response_metadata["service_tier"] == "priority"
            assert message.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
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
        assert [request.finished for request in server.requests] == [True, True]


def test_the_client_tries_again_by_itself():
    busy = Reply(status=429, headers={"retry-after-ms": "1"})
    with ScriptedServer([busy, Reply("hi")]) as server:
        assert chat(server, max_retries=1).invoke("hi").text == "hi"
        assert [request.reply.status for request in server.requests] == [429, 200]


def test_an_error_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], fail_after=1, error="too busy")) as server:
        with pytest.raises(openai.APIError, match="too busy"):
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
        with pytest.raises(openai.APITimeoutError):
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


def test_cancelling_a_call_hangs_up():
    async def run(server):
        call = asyncio.create_task(chat(server).ainvoke("hi"))
        await asyncio.to_thread(server.wait_for_requests)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.to_thread(server.wait_until_idle)

    with ScriptedServer(Reply("hi", delay=HOUR)) as server:
        asyncio.run(run(server))
        assert server.requests[0].disconnected


def test_closing_the_server_ends_a_call_that_hangs():
    failures = []

    def call(model):
        try:
            model.invoke("hi")
        except openai.APIConnectionError as error:
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

"""LangChain's real client of Bedrock's Converse API against the scripted server."""

from contextlib import contextmanager

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

langchain_aws = pytest.importorskip("langchain_aws")
import boto3  # noqa: E402 - only where LangChain's client is
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError, EventStreamError  # noqa: E402

HOUR = 3600.0
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
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
SEARCH = {"name": "search", "description": "Search.", "parameters": {"type": "object", "properties": {}}}


@contextmanager
def runtime(server, **settings):
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=server.bedrock_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="s3cret",
        config=Config(retries={"total_max_attempts": 1}, **settings),
    )
    try:
        yield client
    finally:
        client.close()


@contextmanager
def chat(server, **settings):
    with runtime(server) as client:
        yield langchain_aws.ChatBedrockConverse(
            model=MODEL, client=client, bedrock_client=client, region_name="us-east-1", **settings
        )


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
        "input_token_details": {
            "cache_read": 1000,
            "cache_creation": 0,
            "ephemeral_5m_input_tokens": 60,
            "ephemeral_1h_input_tokens": 40,
        },
    }
    assert message.response_metadata["stopReason"] == "end_turn"
    assert (request.api, request.model, request.stream) == ("bedrock", MODEL, False)
    assert request.headers["authorization"] == "[redacted]"
    assert request.finished


def test_stream():
    with ScriptedServer(FULL) as server, chat(server) as model:
        chunks = list(model.stream("hi"))
        [request] = server.requests
    message = whole(chunks)
    assert [chunk.text for chunk in chunks if chunk.text] == ["Paris", " is", " sunny."]
    assert message.usage_metadata["input_tokens"] == 1200
    assert message.usage_metadata["input_token_details"]["ephemeral_1h_input_tokens"] == 40
    assert message.response_metadata["stopReason"] == "end_turn"
    assert (request.stream, request.chunks_sent, request.finished) == (True, 3, True)


def test_the_usage_is_bedrocks_own():
    with ScriptedServer(FULL) as server, runtime(server) as client:
        asked = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
        answer = client.converse(**asked)
        *_, metadata = client.converse_stream(**asked)["stream"]
    assert answer["usage"] == {
        "inputTokens": 100,
        "outputTokens": 380,
        "totalTokens": 1580,
        "cacheReadInputTokens": 1000,
        "cacheWriteInputTokens": 100,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 60}, {"ttl": "1h", "inputTokens": 40}],
    }
    assert metadata["metadata"]["usage"] == answer["usage"]


def test_an_arn_in_the_path_is_read():
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    with ScriptedServer(Reply("hi")) as server, runtime(server) as client:
        client.converse(modelId=arn, messages=[{"role": "user", "content": [{"text": "hi"}]}])
        assert server.requests[0].model == arn


def test_reasoning_is_told_where_it_is_asked_for():
    with (
        ScriptedServer(FULL) as server,
        chat(server, additional_model_response_field_paths=["/usage"]) as model,
    ):
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            assert message.usage_metadata["output_token_details"] == {"reasoning": 300}


def test_no_usage_at_all_is_more_than_the_client_can_take():
    with ScriptedServer(Reply("hello", usage=False)) as server, chat(server) as model:
        with pytest.raises(KeyError, match="usage"):
            model.invoke("hi")
        with pytest.raises(KeyError, match="usage"):
            list(model.stream("hi"))


def test_a_mis_shaped_usage_is_sent_as_it_is():
    reply = Reply("hi", usage_body={"inputTokens": 9, "outputTokens": 3})
    with ScriptedServer(reply) as server, chat(server) as model:
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (9, 3)


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_tool_calls(text):
    with ScriptedServer(Reply(text, SEARCHES)) as server, chat(server) as chat_model:
        model = chat_model.bind_tools([SEARCH])
        for n, message in enumerate((model.invoke("hi"), whole(model.stream("hi"))), start=1):
            assert message.text == text
            assert message.response_metadata["stopReason"] == "tool_use"
            assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
                ("search", {"query": "weather in 東京"}, f"tooluse_00000{n}_0"),
                ("search", {"query": "Paris"}, "mine"),
            ]


def test_the_tier_and_the_end_can_be_told():
    reply = Reply("hi", service_tier="priority", finish_reason="max_tokens")
    with ScriptedServer(reply) as server, chat(server) as model:
        for message in (model.invoke("hi"), whole(model.stream("hi"))):
            assert message.response_metadata["serviceTier"] == {"type": "priority"}
            assert message.response_metadata["stopReason"] == "max_tokens"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_errors(status, name):
    with ScriptedServer(Reply(status=status, error="not today")) as server, chat(server) as model:
        with pytest.raises(ClientError, match="not today") as refused:
            model.invoke("hi")
        with pytest.raises(ClientError, match="not today"):
            list(model.stream("hi"))
        assert refused.value.response["Error"]["Code"] == name
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_an_error_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], fail_after=1, error="busy")) as server, chat(server) as model:
        with pytest.raises(EventStreamError, match=r"serviceUnavailableException.*busy"):
            seen.extend(chunk.text for chunk in model.stream("hi"))
        assert "".join(seen) == "a"
        assert server.chunks_sent == 1


def test_a_connection_that_breaks_within_a_stream():
    seen = []
    with ScriptedServer(Reply(["a", "b"], cut_after=1)) as server, chat(server) as model:
        with pytest.raises(Exception, match="ended prematurely"):
            seen.extend(chunk.text for chunk in model.stream("hi"))
        assert "".join(seen) == "a"


def test_hanging_up_in_a_stream_stops_it():
    with ScriptedServer(Reply(["a", "b", "c"], chunk_delay=HOUR)) as server:
        with runtime(server) as client:
            answer = client.converse_stream(
                modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}]
            )
            events = iter(answer["stream"])
            while "contentBlockDelta" not in next(events):
                pass
            answer["stream"].close()
        server.wait_until_idle()
        [request] = server.requests
    assert (request.chunks_sent, request.disconnected, request.finished) == (1, True, False)

"""Recorded answers are sent as they are, and the real clients take them."""

import http.client
import json
from contextlib import closing
from zlib import crc32

import pytest

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.testing import Recorded, Reply, ScriptedServer, replay
from apeiros_callbacks.testing.event_stream import message

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hé"}}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 8, "total_tokens": 22},
}
CHAT_STREAM = (
    ": PROCESSING\n\n"
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    '"delta":{"role":"assistant","content":"hé"},"finish_reason":"stop"}],"usage":null}\n\n'
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    '"usage":{"prompt_tokens":14,"completion_tokens":8,"total_tokens":22}}\n\n'
    "data: [DONE]\n\n"
)
GOOGLE = {
    "candidates": [{"content": {"parts": [{"text": "hé"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 14, "candidatesTokenCount": 8, "totalTokenCount": 22},
    "modelVersion": "gemini-2.5-flash",
}
CONVERSE = (
    ("messageStart", {"role": "assistant", "p": "abc"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": 'hé {"}'}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 14, "outputTokens": 8, "totalTokens": 22}}),
)


def framed(events, **settings):
    return b"".join(
        message(name, json.dumps(fields, ensure_ascii=False).encode(), **settings) for name, fields in events
    )


def fetch(server, method="POST", path="/any/where?key=1", body=b""):
    with closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)) as connection:
        connection.request(method, path, body)
        with connection.getresponse() as response:
            return response.status, dict(response.headers), response.read()


# What is sent


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        (CHAT, json.dumps(CHAT, separators=(",", ":")).encode(), "application/json"),
        ([1, 2], b"[1,2]", "application/json"),
        (' {"a":  1}', b' {"a":  1}', "application/json"),
        (CHAT_STREAM, CHAT_STREAM.encode(), "text/event-stream"),
        ("event: ping\r\n\r\n", b"event: ping\r\n\r\n", "text/event-stream"),
        (framed(CONVERSE), framed(CONVERSE), "application/vnd.amazon.eventstream"),
        ("Bad gateway", b"Bad gateway", "text/plain; charset=utf-8"),
        (b"\xff\x00", b"\xff\x00", "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
def test_the_body_is_sent_as_it_is_with_a_content_type_that_suits_it(body, sent, content_type):
    with ScriptedServer(Recorded(body)) as server:
        status, headers, received = fetch(server)
    assert (status, headers["content-type"], received) == (200, content_type, sent)


def test_the_status_and_the_headers_are_those_that_were_recorded():
    headers = {
        "Content-Type": "text/csv",
        "Content-Length": "9999",
        "Transfer-Encoding": "chunked",
        "Content-Encoding": "gzip",
        "retry-after": "7",
    }
    with ScriptedServer(Recorded("a,b", status=429, headers=headers)) as server:
        status, received, body = fetch(server)
    assert (status, body) == (429, b"a,b")
    assert received == {"content-type": "text/csv", "content-length": "3", "retry-after": "7"}


def test_compressed_bytes_stay_compressed():
    answer = Recorded(b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert answer.other_headers == {"content-encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "settings", "says"),
    [
        (None, {}, "must be JSON data, text or bytes, got None"),
        ({"a": object()}, {}, "cannot be sent"),
        ([float("nan")], {}, "cannot be sent"),
        ("\ud800", {}, "cannot be sent"),
        ({}, {"status": 302}, "status must be within 200-299 or 400-599, got 302"),
        ({}, {"status": "200"}, "status must be within 200-299 or 400-599, got '200'"),
        ({}, {"headers": {"a": "b\r\nc: d"}}, "header 'a' must be one line"),
    ],
)
def test_what_cannot_be_sent_is_refused(body, settings, says):
    with pytest.raises(ConfigError) as refused:
        Recorded(body, **settings)
    assert says in str(refused.value)


# Which request it answers


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/v1/responses/compact", "/v1/chat/completions"])
@pytest.mark.parametrize("body", [b"", b"not JSON", b'{"model": "m", "stream": true}'])
def test_any_request_is_answered(method, path, body):
    answer = Recorded({"total_tokens": 3})
    with ScriptedServer(answer) as server:
        assert fetch(server, method, path, body)[2] == b'{"total_tokens":3}'
        [request] = server.requests
    assert request.reply is answer
    assert request.finished
    assert request.chunks_sent == 0


def test_a_request_that_no_api_serves_waits_for_no_turn_of_a_reply():
    with ScriptedServer([Recorded("one"), Reply("two"), Recorded("three")]) as server:
        bodies = [
            fetch(server, "GET", "/elsewhere"),
            fetch(server, "GET", "/elsewhere"),
            fetch(server, "POST", "/v1/chat/completions", b"{}"),
            fetch(server, "GET", "/elsewhere"),
        ]
    assert [status for status, _, _ in bodies] == [200, 404, 200, 200]
    assert (bodies[0][2], bodies[3][2]) == (b"one", b"three")
    assert b'"content":"two"' in bodies[2][2]


def test_a_function_may_answer_with_what_was_recorded():
    def script(request):
        return {"/one": Recorded("1"), "/two": Reply("2")}[request.path]

    with ScriptedServer(script) as server:
        assert fetch(server, path="/one")[::2] == (200, b"1")
        for path in ("/two", "/three"):
            status, _, body = fetch(server, path=path)
            assert status == 404
            assert f"got POST {path}" in json.loads(body)["error"]["message"]
        status, _, body = fetch(server, path="/v1/messages", body=b"{}")
        assert status == 500
        assert "the script raised KeyError: '/v1/messages'" in json.loads(body)["error"]["message"]


# Files of recorded calls


def test_a_file_of_records_becomes_a_script(tmp_path):
    records = [
        {"kind": "openai-chat", "uri": "x", "status": 200, "request": {}, "response": CHAT, "raw": None},
        {
            "kind": "openai-chat",
            "uri": "x",
            "status": 200,
            "request": {},
            "response": None,
            "raw": CHAT_STREAM,
        },
        {"response": {"error": {"message": "slow down"}}, "status": 429},
        {"response": {}},
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    with path.open() as lines, ScriptedServer(replay(lines), repeat_last=False) as server:
        answers = [fetch(server) for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 429, 200, 500]
    assert json.loads(answers[0][2]) == CHAT
    assert answers[1][2] == CHAT_STREAM.encode()
    assert b"the script has replies for 4 requests, and this is request 5" in answers[4][2]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: Expecting"),
        ("[1]", "line 2: a record must be a JSON object"),
        ('{"status": 200}', "line 2: a record needs the body of its answer"),
        ('{"response": 5}', "line 2: the body of a Recorded must be JSON data, text or bytes, got 5"),
        ('{"response": {}, "status": 301}', "line 2: status must be within"),
    ],
)
def test_a_line_that_is_no_record_is_named(line, says):
    with pytest.raises(ConfigError) as refused:
        replay(['{"response": {}}', line])
    assert says in str(refused.value)


def test_a_bedrock_stream_that_was_recorded_as_text_is_framed_anew():
    stream = framed(CONVERSE) + framed([("throttlingException", {"message": "slow"})], kind="exception")
    text = stream.decode(errors="replace")
    assert text.encode() != stream, "the checksums are lost"
    answer = Recorded.from_record({"raw": text})
    assert answer.data == stream
    assert answer.content_type == "application/vnd.amazon.eventstream"


def test_a_bedrock_stream_whose_json_is_damaged_is_refused():
    text = framed(CONVERSE).decode(errors="replace")
    for spoiled in (text.replace('{"stopReason"', '{"stop'), text[: text.index('{"usage"')]):
        with pytest.raises(ConfigError, match=r"event [45] \('(messageStop|metadata)'\)"):
            Recorded.from_record({"raw": spoiled})


def test_a_message_has_its_lengths_and_checksums():
    data = message("messageStart", b'{"role":"assistant"}')
    assert int.from_bytes(data[:4]) == len(data)
    assert int.from_bytes(data[8:12]) == crc32(data[:8])
    assert int.from_bytes(data[-4:]) == crc32(data[:-4])
    assert data[12 + int.from_bytes(data[4:8]) : -4] == b'{"role":"assistant"}'


# Real clients


def tokens(message):
    return message.text, message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]


def whole(chunks):
    first, *others = chunks
    return sum(others, start=first)


def test_openai():
    langchain_openai = pytest.importorskip("langchain_openai")
    with ScriptedServer([Recorded(CHAT), Recorded(CHAT_STREAM)]) as server:
        model = langchain_openai.ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key="test")
        assert tokens(model.invoke("hi")) == ("hé", 14, 8)
        assert tokens(whole(model.stream("hi"))) == ("hé", 14, 8)


def test_google():
    langchain_google_genai = pytest.importorskip("langchain_google_genai")
    stream = f"data: {json.dumps(GOOGLE)}\r\n\r\n"
    with ScriptedServer([Recorded(GOOGLE), Recorded(stream)]) as server:
        model = langchain_google_genai.ChatGoogleGenerativeAI(
            model="gemini-2.5-flash", base_url=server.google_url, api_key="test", max_retries=1
        )
        assert tokens(model.invoke("hi")) == ("hé", 14, 8)
        assert tokens(whole(model.stream("hi"))) == ("hé", 14, 8)
        model.client.close()


def test_bedrock():
    boto3 = pytest.importorskip("boto3")
    text = framed(CONVERSE).decode(errors="replace")
    with ScriptedServer(replay([json.dumps({"raw": text})])) as server:
        client = boto3.client(
            "bedrock-runtime",
            endpoint_url=server.bedrock_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        events = list(client.converse_stream(modelId="amazon.nova-lite-v1:0", messages=[])["stream"])
        client.close()
    assert events[1]["contentBlockDelta"]["delta"] == {"text": 'hé {"}'}
    assert events[-1]["metadata"]["usage"]["inputTokens"] == 14

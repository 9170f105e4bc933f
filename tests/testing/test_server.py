"""The server itself, over plain HTTP: these tests need no client library."""

import gc
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

HOUR = 3600.0
OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
RESPONSES = "/v1/responses"
GOOGLE = "/v1beta/models/m:streamGenerateContent"
BEDROCK = "/model/m/converse-stream"
POSTED = b'POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 30\r\n\r\n{"model": "m", "messages": []}'


def connect(server):
    return closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60))


def raw(server):
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60)


def read_to_end(sock):
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def ask(connection, path=OPENAI, headers=(), **body):
    connection.request("POST", path, json.dumps({"model": "m", "messages": []} | body), dict(headers))
    return connection.getresponse()


def answer(server, path=OPENAI, **body):
    with connect(server) as connection, ask(connection, path, **body) as response:
        return response.status, json.load(response)


def text_of(server, **body):
    return answer(server, **body)[1]["choices"][0]["message"]["content"]


def events(data):
    return [line.removeprefix(b"data: ") for line in data.splitlines() if line.startswith(b"data: ")]


def server_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("scripted-server")]


# The script


def test_replies_are_used_in_order_and_the_last_one_is_repeated():
    with ScriptedServer([Reply("one"), Reply("two")]) as server:
        assert [text_of(server) for _ in range(4)] == ["one", "two", "two", "two"]
        assert [request.reply.text for request in server.requests] == ["one", "two", "two", "two"]


def test_one_reply_answers_everything():
    with ScriptedServer(Reply("one")) as server:
        assert [text_of(server) for _ in range(2)] == ["one", "one"]


def test_a_script_that_is_used_up_says_so_where_that_is_asked_for():
    with ScriptedServer([Reply("one")], repeat_last=False) as server:
        assert text_of(server) == "one"
        status, body = answer(server)
        assert status == 500
        assert "the script has replies for 1 requests, and this is request 2" in body["error"]["message"]


def test_a_function_answers_by_what_was_asked():
    with ScriptedServer(lambda request: Reply(request.body["messages"][0]["content"].upper())) as server:
        assert text_of(server, messages=[{"role": "user", "content": "hi"}]) == "HI"


def test_a_mistake_of_the_function_reaches_the_client_who_does_not_try_again():
    def script(request):
        raise KeyError("nothing")

    with ScriptedServer(script) as server, connect(server) as connection, ask(connection) as response:
        assert response.status == 500
        assert response.headers["x-should-retry"] == "false"
        assert "the script raised KeyError: 'nothing'" in json.load(response)["error"]["message"]


def test_a_function_that_returns_something_else_is_told_so():
    with ScriptedServer(lambda request: "hello") as server:
        status, body = answer(server)
        assert status == 500
        assert "the script must return a Reply or a Recorded, got 'hello'" in body["error"]["message"]


@pytest.mark.parametrize("script", [[], (), ["hello"], [Reply("one"), None]])
def test_a_script_without_replies_is_refused(script):
    with pytest.raises(ConfigError, match="script"):
        ScriptedServer(script)


# What is recorded


def test_a_request_is_recorded_with_its_secrets_redacted():
    with ScriptedServer(Reply("hello", input_tokens=7)) as server, connect(server) as connection:
        secrets = {"Authorization": "Bearer s3", "x-api-key": "s3", "Cookie": "s3", "x-title": "app"}
        ask(connection, f"{OPENAI}?key=s3", secrets, model="gpt-4o").read()
        [request] = server.requests
    assert (request.index, request.api, request.method, request.path) == (1, "openai-chat", "POST", OPENAI)
    assert (request.model, request.stream, request.body["model"]) == ("gpt-4o", False, "gpt-4o")
    assert request.headers["x-title"] == "app"
    assert "s3" not in str(request)
    assert request.headers["authorization"] == "[redacted]"
    assert request.finished
    assert not request.disconnected
    assert request.reply.tokens.input_tokens == 7


def test_what_reached_the_server_can_be_read_after_it_closed():
    with ScriptedServer(Reply(["a", "b"])) as server:
        answer(server)
        with connect(server) as connection:
            ask(connection, ANTHROPIC, stream=True).read()
    assert server.request_count == 2
    assert [request.api for request in server.requests] == ["openai-chat", "anthropic"]
    assert server.chunks_sent == 2


def test_a_path_that_is_not_served_is_counted_but_takes_nothing_from_the_script():
    with ScriptedServer([Reply("one"), Reply("two")]) as server:
        status, body = answer(server, "/v1/rerank")
        assert status == 404
        assert "speaks POST …/chat/completions, …/responses, …/embeddings, " in body["error"]["message"]
        assert "got POST /v1/rerank" in body["error"]["message"]
        assert server.requests[0].api == "unknown"
        assert server.request_count == 1
        assert text_of(server) == "one"


def test_a_body_that_is_not_an_object_is_a_bad_request():
    with ScriptedServer(Reply("one")) as server, connect(server) as connection:
        for body in (b"", b"[1]", b'{"model": '):
            connection.request("POST", OPENAI, body)
            with connection.getresponse() as response:
                assert response.status == 400
                assert "not a JSON object" in json.load(response)["error"]["message"]
        assert server.request_count == 3


def test_waiting_for_requests_ends_when_they_arrived():
    with ScriptedServer(Reply("one", delay=HOUR)) as server, connect(server) as connection:
        connection.request("POST", OPENAI, b"{}")
        server.wait_for_requests(1)
        assert not server.requests[0].finished
        with pytest.raises(TimeoutError, match="1 of 2 requests arrived within 0 s"):
            server.wait_for_requests(2, timeout=0)
        with pytest.raises(TimeoutError, match="1 requests are still being answered after 0 s"):
            server.wait_until_idle(timeout=0)


# HTTP


def test_a_connection_is_used_again():
    with ScriptedServer(Reply("one")) as server, connect(server) as connection:
        ask(connection).read()
        sock = connection.sock
        ask(connection, stream=True).read()
        ask(connection, "/nowhere").read()
        ask(connection).read()
        assert connection.sock is sock
        assert server.request_count == 4
        assert len(server_threads()) == 2, "one that accepts, one of the connection"


def test_a_connection_is_closed_where_the_client_says_so():
    with ScriptedServer(Reply("one")) as server, raw(server) as sock:
        sock.sendall(POSTED.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        assert b"chat.completion" in read_to_end(sock)


def test_requests_sent_ahead_are_answered_one_after_the_other():
    with ScriptedServer([Reply("first"), Reply("second", cut_after=1)]) as server, raw(server) as sock:
        sock.sendall(POSTED + POSTED)
        assert read_to_end(sock).count(b"first") == 1
        assert server.request_count == 2


def test_closing_ends_a_delay_with_a_request_sent_ahead():
    with ScriptedServer(Reply("one", delay=HOUR)) as server, raw(server) as sock:
        sock.sendall(POSTED)
        server.wait_for_requests(1)
        sock.sendall(POSTED)
        server.close()
        assert server.request_count == 1


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"hello\r\n\r\n", "not an HTTP/1.1 request"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "send a content-length"),
        (b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n", "content-length must be a number, got '-5'"),
        (b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * 201 + b"\r\n", "more than 200 headers"),
    ],
)
def test_what_is_not_http_is_refused(sent, says):
    with (
        ScriptedServer(Reply("one")) as server,
        raw(server) as sock,
    ):
        sock.sendall(sent)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == 400
        assert says in response.read().decode()
        response.close()
        assert server.request_count == 0


@pytest.mark.parametrize(
    "sent", [b"", b"POST /", b"POST / HTTP/1.1\r\nx: y", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"]
)
def test_a_client_that_leaves_within_its_request_is_not_counted(sent):
    with ScriptedServer(Reply("one")) as server:
        with raw(server) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        assert server.request_count == 0


# Answers that break


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_stream_is_cut_after_so_many_chunks(path, after):
    with ScriptedServer(Reply(["a", "b", "c"], cut_after=after)) as server, connect(server) as connection:
        response = ask(connection, path, stream=True)
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
        server.wait_until_idle()
        [request] = server.requests
    assert request.chunks_sent == server.chunks_sent == after
    assert not request.finished
    assert not request.disconnected
    assert events(cut.value.partial), "what opens the answer is always sent"


def test_a_limit_beyond_the_last_chunk_is_never_reached():
    with ScriptedServer(Reply(["a", "b"], cut_after=3)) as server, connect(server) as connection:
        assert events(ask(connection, stream=True).read())[-1] == b"[DONE]"
        assert server.requests[0].finished


def test_an_empty_stream_can_be_cut_too():
    with ScriptedServer(Reply(cut_after=0)) as server, connect(server) as connection:
        response = ask(connection, stream=True)
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_an_answer_that_is_not_streamed_is_cut_before_it_began():
    with ScriptedServer(Reply("hello", cut_after=2)) as server, connect(server) as connection:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(connection)
        server.wait_until_idle()
        assert not server.requests[0].finished


@pytest.mark.parametrize(("path", "kind"), [(OPENAI, "server_error"), (ANTHROPIC, "overloaded_error")])
def test_a_stream_fails_after_so_many_chunks(path, kind):
    reply = Reply(["a", "b"], fail_after=1, error="too busy")
    with ScriptedServer(reply) as server, connect(server) as connection:
        last = json.loads(events(ask(connection, path, stream=True).read())[-1])
        assert last["error"]["type"] == kind
        assert last["error"]["message"] == "too busy"
        assert server.chunks_sent == 1
        assert answer(server, path)[0] == 500


def test_the_server_stops_when_the_client_hangs_up_in_a_stream():
    with ScriptedServer(Reply(["a", "b", "c"], chunk_delay=HOUR)) as server:
        with connect(server) as connection, ask(connection, stream=True) as response:
            assert response.readline().startswith(b"data: ")
        server.wait_until_idle()
        [request] = server.requests
    assert request.chunks_sent == 1
    assert request.disconnected
    assert not request.finished


def test_the_server_stops_when_the_client_does_not_read_and_hangs_up():
    with ScriptedServer(Reply(["x" * 100_000] * 300)) as server:
        with connect(server) as connection, ask(connection, stream=True) as response:
            assert response.readline().startswith(b"data: ")
        server.wait_until_idle()
        [request] = server.requests
    assert request.chunks_sent < 300
    assert request.disconnected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reply", [Reply("hello", delay=HOUR), Reply("hello", stall_after=0)])
def test_a_client_that_hangs_up_before_the_answer_is_recorded(reply, stream):
    with ScriptedServer(reply) as server:
        with connect(server) as connection:
            connection.request("POST", OPENAI, json.dumps({"model": "m", "stream": stream}))
            server.wait_for_requests(1)
        server.wait_until_idle()
        [request] = server.requests
    assert request.disconnected
    assert not request.finished
    assert request.chunks_sent == 0


# Many at once, starting and stopping


def test_requests_are_answered_at_the_same_time():
    def script(request):
        server.wait_for_requests(200, timeout=60)  # nobody is answered before all are there
        return Reply(request.model)

    with ScriptedServer(script) as server, ThreadPoolExecutor(200) as pool:
        texts = list(pool.map(lambda n: text_of(server, model=f"m{n}"), range(200)))
    assert texts == [f"m{n}" for n in range(200)]
    assert sorted(request.index for request in server.requests) == list(range(1, 201))


def test_every_reply_is_used_once_by_requests_at_the_same_time():
    script = [Reply(str(n)) for n in range(100)]
    with ScriptedServer(script, repeat_last=False) as server, ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda _: text_of(server), range(100)))
    assert sorted(texts, key=int) == [str(n) for n in range(100)]


@pytest.mark.parametrize(
    "reply", [Reply("x", delay=HOUR), Reply("x", stall_after=0), Reply(["x", "y"], chunk_delay=HOUR)]
)
def test_closing_ends_requests_that_hang(reply):
    server = ScriptedServer(reply).start()
    with connect(server) as connection:
        connection.request("POST", OPENAI, json.dumps({"model": "m", "stream": True}))
        server.wait_for_requests(1)
        server.close()
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse().read()
    [request] = server.requests
    assert not request.finished
    assert not request.disconnected, "it was the server that hung up"


def test_closing_leaves_nothing_behind():
    before = server_threads()
    server = ScriptedServer(Reply("one")).start()
    with connect(server) as idle, connect(server) as unused:
        unused.connect()
        ask(idle).read()
        server.close()
        server.close()
    assert server_threads() == before == []
    with connect(server) as connection, pytest.raises(ConnectionError):
        ask(connection)
    del server
    gc.collect()  # a socket left open would warn here, and warnings are errors


def test_closing_ends_a_script_that_waits_for_requests():
    ended = []

    def script(request):
        try:
            server.wait_for_requests(2, timeout=HOUR)
        except TimeoutError as error:
            ended.append(str(error))
        return Reply("one")

    with ScriptedServer(script) as server, raw(server) as sock:
        sock.sendall(POSTED)
        server.wait_for_requests(1)
        server.close()
    assert ended == ["1 of 2 requests arrived before the server closed"]


def test_a_script_that_does_not_end_is_told_when_the_server_closes(monkeypatch):
    monkeypatch.setattr("apeiros_callbacks.testing.server._PATIENCE", 0.01)
    forever = threading.Event()

    def script(request):
        forever.wait()
        return Reply("one")

    with ScriptedServer(script) as server, raw(server) as sock:
        sock.sendall(POSTED)
        server.wait_for_requests(1)
        with pytest.warns(ResourceWarning, match="script's function still waits in 1 threads"):
            server.close()
    forever.set()
    for thread in server_threads():
        thread.join()


def test_a_server_that_never_started_closes_and_has_no_address():
    server = ScriptedServer(Reply("one"))
    server.close()
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = server.openai_url
    with pytest.raises(RuntimeError, match="make a new one"):
        server.start()


def test_a_server_starts_once():
    with ScriptedServer(Reply("one")) as server, pytest.raises(RuntimeError, match="make a new one"):
        server.start()


def test_servers_do_not_share_anything():
    with ScriptedServer(Reply("one")) as one, ScriptedServer(Reply("two")) as two:
        assert one.url != two.url
        assert (text_of(one), text_of(two)) == ("one", "two")
        assert (one.request_count, two.request_count) == (1, 1)


def test_the_same_script_gives_the_same_bytes():
    reply = Reply("hello", [ToolCall("search", {"query": "x"})])

    def run():
        with ScriptedServer(reply) as server, connect(server) as connection:
            return [
                ask(connection, path, stream=stream).read()
                for path in (OPENAI, ANTHROPIC, RESPONSES, "/v1/embeddings", GOOGLE, BEDROCK)
                for stream in (False, True)
            ]

    assert run() == run()

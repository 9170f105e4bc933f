"""The ledger through the real clients, where a provider or its address is out of the ordinary."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from apeiros_callbacks import Entry, Price, UnknownPrice
from apeiros_callbacks.testing import Recorded, Reply, ScriptedServer
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import anthropic, openai
from tests.langchain.recorded_replay import ToServer

At = Callable[..., ChatOpenAI]


@pytest.fixture
def at() -> Iterator[At]:
    """A client that is pointed at an address, and reaches the server of the test all the same."""
    clients: list[httpx2.Client] = []

    def pointed(url: str | None, server: ScriptedServer, model: str, **options: Any) -> ChatOpenAI:
        client = httpx2.Client(transport=ToServer(server))
        clients.append(client)
        settings = {"api_key": "test", "max_retries": 0, "stream_usage": True, **options}
        return ChatOpenAI(model=model, base_url=url, http_client=client, **settings)

    yield pointed
    for client in clients:
        client.close()


def only(handler: ApeirosHandler) -> Entry:
    [entry] = handler.session.entries()
    assert handler.session.open_holds == 0
    assert handler.session.health.failures == 0
    return entry


def ask(
    model: Any, how: str = "invoke", handler: ApeirosHandler | None = None, prompt: Any = "hello"
) -> Entry:
    handler = handler or ApeirosHandler()
    if how == "invoke":
        model.invoke(prompt, {"callbacks": [handler]})
    else:
        list(model.stream(prompt, {"callbacks": [handler]}))
    return only(handler)


def chat_body(**fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi"}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "a-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        **fields,
    }


def events(*bodies: dict[str, Any], done: bool = True) -> str:
    return "".join(f"data: {json.dumps(body)}\n\n" for body in bodies) + ("data: [DONE]\n\n" if done else "")


def chat_chunk(text: str = "", **fields: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "choices": choices, **fields}


# Whose price an address has. USD per million tokens in November 2026: groq's llama-3.3-70b-versatile 0.59
# and 0.79, cerebras' gpt-oss-120b 0.35 and 0.75, claude-sonnet-4-6 3 and 15.


@pytest.mark.parametrize(
    ("url", "model", "provider", "amount"),
    [
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", "groq", "0.000669"),
        ("https://api.cerebras.ai/v1", "gpt-oss-120b", "cerebras", "0.000425"),
        ("https://gateway.azure-api.net/openai", "gpt-4o", "azure", "0.0035"),
        ("https://api.openai.com/v1", "gpt-4o", "openai", "0.0035"),
        ("https://gateway.example/v1", "gpt-4o", "openai", "0.0035"),
    ],
)
def test_an_address_says_whose_price_holds(
    serve: Any, at: At, url: str, model: str, provider: str, amount: str
) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=100))
    entry = ask(at(url, server, model), handler=ApeirosHandler(budget=1))
    assert (entry.provider, entry.amount, entry.price_certainty) == (provider, Decimal(amount), "listed")


def test_an_address_in_the_environment_counts(serve: Any, at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=100))
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.groq.com/openai/v1")
    assert ask(at(None, server, "llama-3.3-70b-versatile")).provider == "groq"


def test_a_gateway_has_the_maker_s_price_as_assumed_where_the_name_says_the_maker(serve: Any, at: At) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=100))
    model = at("https://gateway.example/v1", server, "claude-sonnet-4-6")
    entry = ask(model, handler=ApeirosHandler(budget=1))
    assert (entry.amount, entry.price_certainty) == (Decimal("0.0045"), "assumed")
    assert entry.provider == "openai@gateway.example"


def test_a_name_that_says_no_maker_is_refused_at_a_gateway_too(serve: Any, at: At) -> None:
    server = serve(Reply("hi"))
    with pytest.raises(UnknownPrice):
        ask(at("https://gateway.example/v1", server, "our-best-model"), handler=ApeirosHandler(budget=1))
    assert server.request_count == 0


@pytest.mark.parametrize("name", ["claude-sonnet-4-6", "openai:claude-sonnet-4-6"])
def test_a_price_of_one_s_own_wins_at_a_gateway(serve: Any, at: At, name: str) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=100))
    handler = ApeirosHandler(budget=1, prices={name: Price(input=1, output=1)})
    entry = ask(at("https://gateway.example/v1", server, "claude-sonnet-4-6"), handler=handler)
    assert (entry.amount, entry.price_certainty) == (Decimal("0.0011"), "override")


def test_ollama_on_this_machine_is_free(serve: Any, at: At) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=100))
    entry = ask(at("http://localhost:11434/v1", server, "llama3"), handler=ApeirosHandler(budget=1))
    assert (entry.provider, entry.amount, entry.price_certainty) == ("ollama", Decimal(0), "free")


# What OpenRouter says itself

OPENROUTER = "https://openrouter.ai/api/v1"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def test_openrouter_s_own_cost_wins(serve: Any, at: At) -> None:
    body = chat_body(model="openai/gpt-4o-mini", usage=USAGE | {"cost": 0.000777, "is_byok": False})
    entry = ask(at(OPENROUTER, serve(Recorded(body)), "openai/gpt-4o-mini"))
    assert (entry.amount, entry.price_certainty) == (Decimal("0.000777"), "listed")
    assert entry.price_source == "reported by openrouter"
    assert entry.usage.input_tokens == 1000


def test_a_free_model_of_openrouter_costs_what_it_says(serve: Any, at: At) -> None:
    body = chat_body(model="meta/new:free", usage=USAGE | {"cost": 0})
    entry = ask(at(OPENROUTER, serve(Recorded(body)), "meta/new:free"))
    assert (entry.amount, entry.price_source) == (Decimal(0), "reported by openrouter")


def test_a_cost_without_usage_is_still_the_cost(serve: Any, at: At) -> None:
    body = chat_body(
        model="openai/gpt-4o-mini", usage={"prompt_tokens": 0, "completion_tokens": 7, "cost": 0.5}
    )
    entry = ask(at(OPENROUTER, serve(Recorded(body)), "openai/gpt-4o-mini"), prompt="word " * 100)
    assert (entry.amount, entry.usage_certainty) == (Decimal("0.5"), "estimated")
    assert entry.usage.input_tokens >= 95
    assert entry.usage.output_tokens == 7


def test_a_stream_of_openrouter_names_its_model_once_and_says_what_is_missing(serve: Any, at: At) -> None:
    name = "openai/gpt-4o-mini"
    end = chat_chunk(model=name, usage=USAGE | {"cost": 0.000777})
    end["choices"][0]["finish_reason"] = "stop"
    server = serve(Recorded(events(chat_chunk("h", model=name), chat_chunk("i", model=name), end)))
    entry = ask(at(OPENROUTER, server, name), "stream")
    assert (entry.model, entry.usage.input_tokens) == (name, 1000)
    # gpt-4o-mini: $0.15 in, $0.60 out
    assert (entry.amount, entry.price_certainty) == (Decimal("0.00021"), "partial")
    assert entry.price_source.endswith("openrouter/openai/gpt-4o-mini, no reported_cost")


# Streams


@pytest.mark.parametrize("handlers", [1, 2])
def test_usage_that_goes_on_with_every_chunk_is_not_added_up(serve: Any, handlers: int) -> None:
    chunks = [
        chat_chunk("word ", model="gpt-4o", usage={"prompt_tokens": 100, "completion_tokens": i})
        for i in range(1, 11)
    ]
    handler = ApeirosHandler(budget=1)
    model = openai(serve(Recorded(events(*chunks))), stream_usage=True)
    list(model.stream("hello", {"callbacks": [handler] * handlers}))
    entry = only(handler)
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (100, 10)
    assert entry.usage_certainty == "reported"


def test_a_cut_stream_keeps_the_input_that_it_reported(serve: Any) -> None:
    chunks = [
        chat_chunk("word ", model="gpt-4o", usage={"prompt_tokens": 100, "completion_tokens": i})
        for i in range(1, 41)
    ]
    handler = ApeirosHandler(budget=1)
    stream = openai(serve(Recorded(events(*chunks))), stream_usage=True).stream(
        "hi", {"callbacks": [handler]}
    )
    for i, _ in enumerate(stream):
        if i == 9:
            break
    stream.close()  # type: ignore[attr-defined]
    entry = only(handler)
    assert entry.usage_certainty == "estimated"
    assert entry.usage.input_tokens == 100
    assert 9 <= entry.usage.output_tokens <= 12


HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("marks", "hour", "amount", "certainty"),
    [
        # 700 × 3 + 300 × 6 + 100 × 15, or 300 × 3.75, per million
        ([HOUR], 300, "0.0054", "listed"),
        ([SHORT], 0, "0.004725", "listed"),
        ([HOUR, SHORT], 0, "0.004725", "partial"),
    ],
)
def test_a_streamed_write_into_the_cache_is_priced_as_the_request_asked(
    serve: Any, marks: list[Any], hour: int, amount: str, certainty: str
) -> None:
    reply = Reply("hi", input_tokens=1000, output_tokens=100, cache_write_tokens=300)
    content: list[Any] = [{"type": "text", "text": "x", "cache_control": mark} for mark in marks]
    entry = ask(anthropic(serve(reply)), "stream", prompt=[HumanMessage(content)])
    assert entry.usage.cache_write_1h_tokens == hour
    assert (entry.amount, entry.price_certainty) == (Decimal(amount), certainty)


# What is billed beside the tokens

SEARCHED = [
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    {"type": "text", "text": "found"},
]


def claude(usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": SEARCHED,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


FOUND = {"input_tokens": 1000, "output_tokens": 100, "server_tool_use": {"web_search_requests": 1}}


def test_a_web_search_of_anthropic_s_is_billed(serve: Any) -> None:
    entry = ask(anthropic(serve(Recorded(claude(FOUND)))))
    assert entry.usage.web_searches == 1
    assert (entry.amount, entry.price_certainty) == (Decimal("0.0145"), "listed")
    assert entry.unit_prices["web_search"] == Decimal("0.01")


def test_a_streamed_web_search_of_anthropic_s_is_billed(serve: Any) -> None:
    start = claude({"input_tokens": 1000, "output_tokens": 1}) | {"content": []}
    bodies: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for i, block in enumerate(SEARCHED):
        empty = block | {"text": ""} if block["type"] == "text" else block
        bodies.append({"type": "content_block_start", "index": i, "content_block": empty})
        bodies.append({"type": "content_block_stop", "index": i})
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    bodies += [{"type": "message_delta", "delta": ended, "usage": FOUND}, {"type": "message_stop"}]
    raw = "".join(f"event: {body['type']}\ndata: {json.dumps(body)}\n\n" for body in bodies)
    entry = ask(anthropic(serve(Recorded(raw))), "stream")
    assert (entry.usage.web_searches, entry.amount) == (1, Decimal("0.0145"))


def test_a_search_without_a_listed_rate_is_named(serve: Any, at: At) -> None:
    body = chat_body(model="grok-4", usage=USAGE | {"num_sources_used": 3})
    entry = ask(at("https://api.x.ai/v1", serve(Recorded(body)), "grok-4"))
    assert entry.usage.web_searches == 3
    assert entry.price_certainty == "partial"
    assert entry.price_source.endswith(", no web_search")


@pytest.mark.parametrize("how", ["invoke", "stream"])
@pytest.mark.parametrize(("tier", "factor"), [("flex", "0.5"), ("priority", "2")])
def test_the_tier_that_answered_is_priced(serve: Any, how: str, tier: str, factor: str) -> None:
    reply = Reply("hi", input_tokens=1000, output_tokens=100, cache_read_tokens=400, reasoning_tokens=50)
    plain = ask(openai(serve(reply), model="gpt-5", stream_usage=True), how)
    tiered = Reply(
        "hi",
        input_tokens=1000,
        output_tokens=100,
        cache_read_tokens=400,
        reasoning_tokens=50,
        service_tier=tier,
    )
    entry = ask(openai(serve(tiered), model="gpt-5", stream_usage=True), how)
    assert entry.usage == plain.usage
    assert plain.amount is not None
    assert (entry.amount, entry.price_certainty) == (plain.amount * Decimal(factor), "listed")

"""One entry for every call, with the right amount, through the real clients."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.runnables import RunnableLambda

from apeiros_callbacks import Entry, Price, Usage
from apeiros_callbacks.testing import Reply, ToolCall
from langchain_apeiros import ApeirosHandler
from tests.langchain.clients import anthropic, client, openai

# gpt-4o: $2.50 in, $1.25 cached in, $10 out. claude-sonnet-4-6: $3 in, $0.30 read, $3.75 and $6 written,
# $15 out. USD per million tokens, as listed in November 2026.
CALLS = [
    ("openai", Reply("hi", input_tokens=1000, output_tokens=100), Decimal("0.0035")),
    ("openai", Reply("hi", input_tokens=1000, output_tokens=100, cache_read_tokens=800), Decimal("0.0025")),
    ("openai", Reply("hi", input_tokens=1000, output_tokens=100, reasoning_tokens=60), Decimal("0.0035")),
    ("anthropic", Reply("hi", input_tokens=1000, output_tokens=100), Decimal("0.0045")),
    (
        "anthropic",
        Reply(
            "hi",
            input_tokens=1000,
            output_tokens=100,
            cache_read_tokens=400,
            cache_write_tokens=300,
            cache_write_1h_tokens=100,
        ),
        # 300 × 3 + 400 × 0.30 + 200 × 3.75 + 100 × 6 + 100 × 15, per million
        Decimal("0.00387"),
    ),
]


def run(model: Any, handler: ApeirosHandler, how: str, prompt: str = "hello") -> None:
    if how == "invoke":
        model.invoke(prompt, {"callbacks": [handler]})
    else:
        list(model.stream(prompt, {"callbacks": [handler]}))


def usage_of(reply: Reply) -> Usage:
    names = (
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "cache_write_1h_tokens", "reasoning_tokens",
    )  # fmt: skip
    return Usage(**{name: getattr(reply, name) for name in names})


@pytest.mark.parametrize("how", ["invoke", "stream"])
@pytest.mark.parametrize(("name", "reply", "amount"), CALLS)
def test_an_answer_is_priced_from_what_the_provider_reports(
    serve: Any, name: str, reply: Reply, amount: Decimal, how: str
) -> None:
    options = {"stream_usage": True} if name == "openai" else {}
    if how == "stream" and reply.cache_write_1h_tokens:
        pytest.skip("langchain-anthropic drops how long a write is kept from streams")
    handler = ApeirosHandler()
    run(client(name, serve(reply), **options), handler, how)
    [entry] = handler.session.entries()
    assert entry.amount == amount == handler.session.spent
    assert entry.usage == usage_of(reply)
    assert (entry.kind, entry.usage_certainty, entry.price_certainty) == ("llm", "reported", "listed")
    assert entry.provider == name
    assert entry.price_source.startswith("genai-prices ")
    assert entry.started_at <= entry.ended_at
    assert handler.session.open_holds == 0


def test_the_model_that_answered_is_priced(serve: Any) -> None:
    handler = ApeirosHandler()
    server = serve(Reply("hi", model="gpt-4o-2024-08-06", input_tokens=1000, output_tokens=0))
    run(openai(server), handler, "invoke")
    [entry] = handler.session.entries()
    assert (entry.model, entry.requested_model) == ("gpt-4o-2024-08-06", "gpt-4o")
    assert entry.amount == Decimal("0.0025")


def test_an_unknown_answering_model_is_priced_as_the_requested_one(serve: Any) -> None:
    handler = ApeirosHandler()
    server = serve(Reply("hi", model="snapshot-of-tomorrow", input_tokens=1000, output_tokens=0))
    run(openai(server), handler, "invoke")
    [entry] = handler.session.entries()
    assert (entry.amount, entry.price_certainty) == (Decimal("0.0025"), "assumed")
    assert handler.session.health.price_assumed == 1


def test_a_stream_without_usage_is_counted_and_marked(serve: Any) -> None:
    handler = ApeirosHandler(budget=0.50, prices={"*": Price(input=1, output=1)})
    answer = "one two three four five six seven eight nine ten " * 10
    run(openai(serve(Reply(answer))), handler, "stream", prompt="word " * 200)
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert 190 <= entry.usage.input_tokens <= 230
    assert 90 <= entry.usage.output_tokens <= 120
    assert entry.amount == Decimal(entry.usage.total_tokens) / 1_000_000
    assert handler.session.health.usage_estimated == 1


def test_an_answer_without_usage_is_counted_and_marked(serve: Any) -> None:
    handler = ApeirosHandler(prices={"*": Price(input=1, output=1)})
    run(openai(serve(Reply("one two three four five", usage=False))), handler, "invoke", prompt="word " * 100)
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert entry.usage.input_tokens >= 95
    assert 4 <= entry.usage.output_tokens <= 8


@pytest.mark.parametrize(
    "body",
    [
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": -5, "completion_tokens": 3, "total_tokens": -2},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    ],
)
def test_usage_that_cannot_be_is_never_a_silent_zero(serve: Any, body: dict[str, Any]) -> None:
    handler = ApeirosHandler()
    run(openai(serve(Reply("one two three", usage_body=body))), handler, "invoke", prompt="word " * 100)
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert entry.amount
    assert entry.amount > 0


def test_a_cache_hit_costs_nothing(serve: Any) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=0))
    handler = ApeirosHandler(budget=0.50)
    model = openai(server, cache=InMemoryCache())
    for _ in range(3):
        run(model, handler, "invoke")
    assert server.request_count == 1
    assert [(entry.cached, entry.amount) for entry in handler.session.entries()] == [
        (False, Decimal("0.0025")),
        (True, Decimal(0)),
        (True, Decimal(0)),
    ]
    assert handler.session.state()["tokens"] == 1000
    assert handler.session.state()["calls"] == 1


def test_a_cache_hit_of_the_global_cache_costs_nothing(serve: Any) -> None:
    set_llm_cache(InMemoryCache())
    try:
        handler = ApeirosHandler()
        model = openai(serve(Reply("hi", input_tokens=1000)))
        run(model, handler, "invoke")
        run(model, handler, "invoke")
    finally:
        set_llm_cache(None)
    assert [entry.cached for entry in handler.session.entries()] == [False, True]


def test_two_choices_are_one_call(serve: Any) -> None:
    handler = ApeirosHandler(budget=0.50)
    model = openai(serve(Reply("hi", input_tokens=1000, output_tokens=200)), n=2)
    model.invoke("hello", {"callbacks": [handler]})
    [entry] = handler.session.entries()
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (1000, 200)
    assert entry.amount == Decimal("0.0045")


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_handler_attached_twice_counts_once(serve: Any, how: str) -> None:
    handler = ApeirosHandler(budget=0.50)
    model = openai(serve(Reply("one two three four " * 20, input_tokens=1000, output_tokens=0)))
    twice = model.with_config(callbacks=[handler])
    run(twice, handler, how)
    model.invoke("hello", {"callbacks": [handler, handler]})
    streamed, _ = handler.session.entries()
    if how == "stream":
        assert 70 <= streamed.usage.output_tokens <= 95
    assert handler.session.open_holds == 0


def test_two_handlers_on_one_ledger_share_one_entry(serve: Any, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first, second = ApeirosHandler(budget=1, ledger=url), ApeirosHandler(budget=2, ledger=url)
    openai(serve(Reply("hi", input_tokens=1000))).invoke("hello", {"callbacks": [first, second]})
    assert len(first.session.ledger.entries()) == 1
    assert first.session.entries() == second.session.entries()
    assert first.session.spent == second.session.spent > 0
    for handler in (first, second):
        handler.session.ledger.close()


def test_tools_are_recorded_with_their_agent(serve: Any) -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        if word == "missing":
            raise KeyError(word)
        return f"{word}: a word"

    server = serve(
        Reply(tool_calls=[ToolCall("look_up", {"word": "budget"})], input_tokens=100, output_tokens=10),
        Reply(tool_calls=[ToolCall("look_up", {"word": "missing"})], input_tokens=150, output_tokens=10),
    )
    handler = ApeirosHandler(budget=0.50)
    agent = create_agent(openai(server), [look_up], name="reader")
    with pytest.raises(KeyError):
        agent.invoke({"messages": [("user", "look words up")]}, {"callbacks": [handler]})
    found = [(entry.kind, entry.agent, entry.model, entry.error) for entry in handler.session.entries()]
    assert found == [
        ("llm", "reader", "gpt-4o", None),
        ("tool", "reader", "look_up", None),
        ("llm", "reader", "gpt-4o", None),
        ("tool", "reader", "look_up", "KeyError"),
    ]
    assert handler.session.open_holds == 0


def test_a_tool_with_a_price_counts_and_is_refused(serve: Any) -> None:
    def search(query: str) -> str:
        """Search."""
        return query

    server = serve(Reply(tool_calls=[ToolCall("search", {"query": "x"})], input_tokens=100, output_tokens=0))
    handler = ApeirosHandler(budget=0.05, prices={"tool:search": Price(call=0.02)})
    agent = create_agent(openai(server), [search])
    with pytest.raises(Exception, match="budget of .* this call to search needs about"):
        agent.invoke({"messages": [("user", "search")]}, {"callbacks": [handler]})
    tools = [entry for entry in handler.session.entries() if entry.kind == "tool"]
    assert [entry.amount for entry in tools] == [Decimal("0.02"), Decimal("0.02")]


def test_entries_hold_no_text(serve: Any) -> None:
    secret = "the-launch-code-is-0000"
    handler = ApeirosHandler(budget=0.50)
    run(openai(serve(Reply(secret), Reply(status=400, error=secret))), handler, "invoke", prompt=secret)
    with pytest.raises(Exception, match="."):
        run(openai(serve(Reply(status=400, error=secret))), handler, "invoke", prompt=secret)
    entries: list[Entry] = handler.session.entries()
    assert len(entries) == 2
    assert not any(secret in repr(entry) for entry in entries)


def test_work_around_the_model_does_not_hide_it(serve: Any) -> None:
    model = openai(serve(Reply("hi", input_tokens=10)))
    inner = RunnableLambda(lambda text: model.invoke(text))
    handler = ApeirosHandler(budget=0.50)
    (RunnableLambda(lambda text: text) | inner).invoke("hello", {"callbacks": [handler]})
    assert len(handler.session.entries()) == 1


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "claude-opus-4-8"])
def test_the_declared_maximum_of_64000_does_not_block_a_small_budget(serve: Any, model: str) -> None:
    handler = ApeirosHandler(budget=0.50)
    server = serve(Reply("hi", input_tokens=20, output_tokens=5))
    run(anthropic(server, model=model), handler, "invoke")
    assert server.request_count == 1

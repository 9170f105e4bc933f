"""Sessions without handing a session around: started, recorded into, asked and ended from anywhere."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import apeiros_callbacks as apeiros
from apeiros_callbacks import BudgetExceeded, ConfigError, Price, Session, Usage, current, sdk
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.errors import InvalidUsage, LedgerUnavailable, NoSession
from apeiros_callbacks.testing import Reply, ScriptedServer

CHAT = {
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"message": {"role": "assistant", "content": "Paris is sunny."}}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 380,
        "prompt_tokens_details": {"cached_tokens": 1000},
    },
}
GOOGLE = {"promptTokenCount": 10, "candidatesTokenCount": 5}
GOOGLES_SDK = {"prompt_token_count": 10, "candidates_token_count": 5}
CHAT_COST = 0.00555  # 200 at $2.50, 1,000 cached at $1.25 and 380 at $10 per million


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    apeiros.uninstrument()
    for session in list(current._anywhere):
        current.leave(session)


def only_entry(session: Session) -> Any:
    (entry,) = session.entries()
    return entry


def in_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


# Starting, asking, ending


def test_a_session_from_start_to_end() -> None:
    session = apeiros.start_session(budget=0.50, id="nightly")
    result = apeiros.wrap(None, input_tokens=1200, output_tokens=380)
    assert result == {
        "session_id": "nightly",
        "total_cost": 0.01264,
        "budget": 0.5,
        "remaining": 0.48736,
        "calls": 1,
        "tokens": 1580,
        "warnings": [],
        "cost": 0.01264,
    }
    assert json.loads(json.dumps(result)) == result
    state = apeiros.get_state()
    assert state == session.state()
    assert apeiros.end_session() == state


@pytest.mark.parametrize(
    "use",
    [
        apeiros.get_state,
        apeiros.end_session,
        lambda: apeiros.wrap(None, input_tokens=1, output_tokens=1),
        lambda: apeiros.wrap(CHAT),
    ],
)
def test_without_a_session_it_says_how_to_start_one(use: Callable[[], object]) -> None:
    with pytest.raises(NoSession, match=r"start_session\(budget=…\)"):
        use()


def test_a_session_ends_once() -> None:
    session = apeiros.start_session(id="nightly")
    apeiros.end_session()
    with pytest.raises(NoSession, match="session nightly is not open"):
        apeiros.end_session(session)


def test_settings_are_those_of_a_session() -> None:
    session = apeiros.start_session(
        apeiros.Budget(calls=5), prices={"m": Price(input=1, output=2)}, on={"context_bloat": "ignore"}
    )
    assert apeiros.wrap(None, input_tokens=1_000_000, output_tokens=0, model="m")["cost"] == 1
    assert session.budget == apeiros.Budget(calls=5)
    with pytest.raises(ConfigError, match="on_exceeded"):
        apeiros.start_session(on_exceeded="explode")  # type: ignore[arg-type]
    assert sdk.current_session() is session, "a session that cannot be made is not entered"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (apeiros.Budget(calls=2), "3 calls of a budget of 2 for session nightly."),
        (apeiros.Budget(usd=9, tokens=4000), "4,740 tokens of a budget of 4,000 for session nightly."),
    ],
)
def test_a_budget_of_calls_or_tokens_is_exceeded(budget: apeiros.Budget, message: str) -> None:
    apeiros.start_session(budget, id="nightly")
    found = [apeiros.wrap(None, input_tokens=1200, output_tokens=380)["warnings"] for _ in range(3)]
    assert found[:2] == [[], []]
    assert [(one["type"], one["message"]) for one in found[2]] == [("budget_exceeded", message)]
    apeiros.end_session()


def test_an_exceeded_budget_may_be_ignored() -> None:
    apeiros.start_session(0.001, on={"budget_exceeded": "ignore"})
    assert apeiros.wrap(None, input_tokens=1200, output_tokens=380)["warnings"] == []


def test_by_default_nothing_is_refused() -> None:
    session = apeiros.start_session(budget=0.001)
    apeiros.wrap(None, input_tokens=1200, output_tokens=380)
    for model in ("gpt-4o", "nobody-knows-it"):
        session.open_call(a_call(model))


def test_raising_refuses_calls_to_come_and_never_a_wrap() -> None:
    session = apeiros.start_session(budget=0.001, on_exceeded="raise", on={"context_bloat": "raise"})
    for tokens in (1200, 12_000, 120_000):
        result = apeiros.wrap(None, input_tokens=tokens, output_tokens=380)
    assert {"budget_exceeded", "context_bloat"} <= {warning["type"] for warning in result["warnings"]}
    with pytest.raises(BudgetExceeded):
        session.open_call(a_call("gpt-4o"))
    assert (apeiros.wrap(CHAT)["calls"], session.open_holds) == (4, 0)


@pytest.mark.parametrize("strict", [False, True])
def test_a_wrap_takes_nothing_from_what_a_later_call_is_expected_to_cost(strict: bool) -> None:
    session = apeiros.start_session(
        1, on_exceeded="raise", strict=strict, prices={"m": Price(input=1, output=1)}
    )
    apeiros.wrap(None, input_tokens=500_000, output_tokens=0, model="m", provider="openai")
    session.open_call(a_call("m"))  # 500,000 tokens would not fit again


def a_call(model: str) -> Call:
    prompt = Prompt((1,), lambda _: Piece("hello"))
    return Call(id=model, provider="openai", model=model, prompt=prompt, max_output_tokens=100)


# Where a session is current


def test_sessions_nest_and_share_a_ledger() -> None:
    outer = apeiros.start_session(budget=0.02)
    inner = apeiros.start_session(budget=0.50)
    assert inner.ledger is outer.ledger
    for _ in range(2):
        apeiros.wrap(None, input_tokens=1200, output_tokens=380, agent="researcher")
    ended = apeiros.end_session()
    assert (ended["session_id"], ended["total_cost"], ended["budget"]) == (inner.id, 0.02528, 0.5)
    result = apeiros.end_session()
    assert (result["session_id"], result["total_cost"], result["calls"]) == (outer.id, 0.02528, 2)
    assert [warning["type"] for warning in result["warnings"]] == ["budget_exceeded"]
    assert result["warnings"][0]["message"].startswith("$0.0253 spent of a budget of $0.0200")
    assert outer.entries() == inner.entries()


def test_a_nested_session_may_stand_alone() -> None:
    outer = apeiros.start_session()
    apeiros.start_session(parent=None)
    apeiros.wrap(CHAT)
    assert (outer.spent, outer.entries()) == (0, [])


def test_sessions_end_in_any_order() -> None:
    outer, inner = apeiros.start_session(), apeiros.start_session()
    assert apeiros.end_session(outer)["session_id"] == outer.id
    assert apeiros.get_state()["session_id"] == inner.id
    assert apeiros.end_session()["session_id"] == inner.id
    with pytest.raises(NoSession):
        apeiros.get_state()


def test_threads_that_python_starts_see_the_session() -> None:
    session = apeiros.start_session()
    for _ in range(3):
        in_thread(lambda: apeiros.wrap(CHAT))
    assert apeiros.end_session()["calls"] == 3 == len(session.entries())


def test_a_thread_may_end_what_another_started() -> None:
    session = apeiros.start_session()
    assert in_thread(apeiros.end_session)["session_id"] == session.id
    with pytest.raises(NoSession):
        apeiros.get_state()


def test_sessions_of_threads_are_apart() -> None:
    together = threading.Barrier(8)

    def work(number: int) -> tuple[str, int, Decimal]:
        session = apeiros.start_session(budget=1, id=f"thread-{number}")
        together.wait()
        for _ in range(number):
            apeiros.wrap(CHAT)
        together.wait()
        return apeiros.end_session()["session_id"], len(session.entries()), session.spent

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(work, range(8)))
    assert ended == [(f"thread-{n}", n, n * Decimal(str(CHAT_COST))) for n in range(8)]


def test_sessions_of_tasks_are_apart_and_belong_to_the_one_around() -> None:
    async def work(number: int) -> dict[str, Any]:
        apeiros.start_session(id=f"task-{number}")
        for _ in range(number):
            apeiros.wrap(CHAT)
            await asyncio.sleep(0)
        return apeiros.end_session()

    async def main() -> list[dict[str, Any]]:
        return await asyncio.gather(*(work(number) for number in range(5)))

    outer = apeiros.start_session()
    ended = asyncio.run(main())
    assert [(one["session_id"], one["calls"]) for one in ended] == [(f"task-{n}", n) for n in range(5)]
    assert (apeiros.end_session()["calls"], len(outer.entries())) == (10, 10)


def test_tasks_side_by_side_are_no_part_of_each_other() -> None:
    async def work(number: int) -> Session:
        session = apeiros.start_session(id=f"task-{number}")
        await asyncio.sleep(0)
        apeiros.wrap(CHAT)
        await asyncio.sleep(0)
        apeiros.end_session()
        return session

    async def main() -> list[Session]:
        return await asyncio.gather(*(work(number) for number in range(3)))

    assert [len(session.entries()) for session in asyncio.run(main())] == [1, 1, 1]


def test_a_session_around_may_end_before_a_task_within_it() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def work() -> dict[str, Any]:
            apeiros.start_session(id="inner")
            await go.wait()
            apeiros.wrap(CHAT)
            return apeiros.end_session()

        apeiros.start_session(id="outer")
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert apeiros.end_session()["session_id"] == "outer"
        with pytest.raises(NoSession):
            apeiros.get_state()
        go.set()
        assert (await task)["calls"] == 1

    asyncio.run(main())


# The ledger


def test_a_session_is_in_its_ledger_when_it_has_ended(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    session = apeiros.start_session(id="nightly", ledger=url)
    apeiros.wrap(CHAT)
    apeiros.end_session()
    assert session.ledger.pending == 0
    session.ledger.close()
    again = apeiros.start_session(id="nightly", ledger=url)
    assert apeiros.end_session()["total_cost"] == CHAT_COST
    again.ledger.close()


def test_a_ledger_that_is_behind_does_not_cost_the_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def late(timeout: float) -> None:
        raise LedgerUnavailable(f"1 entry is not written after {timeout:g} s")

    session = apeiros.start_session()
    monkeypatch.setattr(session, "flush", late)
    apeiros.wrap(CHAT)
    assert apeiros.end_session()["calls"] == 1
    assert "1 entry is not written after 5 s" in caplog.text


def test_an_event_loop_does_not_wait_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        session = apeiros.start_session()
        monkeypatch.setattr(session, "flush", lambda *_: pytest.fail("it waits"))
        apeiros.end_session()

    asyncio.run(main())


# What a response says


@pytest.mark.parametrize("as_object", [True, False])
@pytest.mark.parametrize("client", ["chat", "responses", "anthropic", "google"])
def test_the_responses_of_the_clients(client: str, as_object: bool) -> None:
    reply = Reply("Paris is sunny.", input_tokens=1200, output_tokens=380, cache_read_tokens=1000)
    with ScriptedServer([reply]) as server:
        response, provider, model = CLIENTS[client](server)
    session = apeiros.start_session()
    cost = apeiros.wrap(response if as_object else response.model_dump())["cost"]
    entry = only_entry(session)
    assert entry.usage == Usage(input_tokens=1200, output_tokens=380, cache_read_tokens=1000)
    assert (entry.provider, entry.model, entry.kind) == (provider, model, "llm")
    assert (entry.usage_certainty, entry.price_certainty) == ("reported", "listed")
    assert cost == float(entry.amount) > 0


def chat(server: ScriptedServer) -> tuple[Any, str, str]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.openai_url, api_key="test") as client:
        asked = [{"role": "user", "content": "hi"}]
        return client.chat.completions.create(model="gpt-4o", messages=asked), "openai", "gpt-4o"


def responses(server: ScriptedServer) -> tuple[Any, str, str]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.openai_url, api_key="test") as client:
        return client.responses.create(model="gpt-4o", input="hi"), "openai", "gpt-4o"


def messages(server: ScriptedServer) -> tuple[Any, str, str]:
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(base_url=server.anthropic_url, api_key="test") as client:
        asked = [{"role": "user", "content": "hi"}]
        answer = client.messages.create(model="claude-sonnet-4-6", max_tokens=100, messages=asked)
        return answer, "anthropic", "claude-sonnet-4-6"


def google(server: ScriptedServer) -> tuple[Any, str, str]:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="test", http_options={"base_url": server.google_url})
    answer = client.models.generate_content(model="gemini-2.5-flash", contents="hi")
    client.close()
    return answer, "google", "gemini-2.5-flash"


CLIENTS = {"chat": chat, "responses": responses, "anthropic": messages, "google": google}


def test_plain_data_of_a_response() -> None:
    session = apeiros.start_session()
    assert apeiros.wrap(CHAT)["cost"] == CHAT_COST
    assert only_entry(session).model == "gpt-4o-2024-08-06"


def test_an_object_of_no_sdk() -> None:
    usage = SimpleNamespace(prompt_tokens=1200, completion_tokens=380)
    apeiros.start_session()
    assert apeiros.wrap(SimpleNamespace(model="gpt-4o", usage=usage))["cost"] == 0.0068


@pytest.mark.parametrize(
    ("response", "provider"),
    [
        ({"usage": {"inputTokens": 10, "outputTokens": 5}}, ""),
        ({"model": "llama3.1", "prompt_eval_count": 10, "eval_count": 5}, "ollama"),
        ({"modelVersion": "gemini-2.5-flash", "usageMetadata": GOOGLE}, "google"),
        ({"model": "gemini-2.5-flash", "usage_metadata": GOOGLES_SDK}, "google"),
    ],
)  # fmt: skip
def test_other_shapes(response: dict[str, Any], provider: str) -> None:
    session = apeiros.start_session()
    apeiros.wrap(response)
    entry = only_entry(session)
    assert (entry.usage, entry.provider) == (Usage(input_tokens=10, output_tokens=5), provider)


def test_the_tier_that_answered_is_priced() -> None:
    apeiros.start_session()
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    standard, flex = (
        apeiros.wrap({"model": "gpt-5", "service_tier": tier, "usage": usage})["cost"]
        for tier in ("default", "flex")
    )
    assert flex == standard / 2


def test_what_is_given_wins() -> None:
    session = apeiros.start_session(prices={"mine": Price(input=1, output=1)})
    apeiros.wrap(CHAT, model="mine", provider="azure", agent="writer")
    apeiros.wrap(CHAT, input_tokens=7, output_tokens=3)
    apeiros.wrap(CHAT, output_tokens=3)
    first, second, third = session.entries()
    assert (first.requested_model, first.model, first.provider) == ("mine", "gpt-4o-2024-08-06", "azure")
    assert (first.agent, first.amount, first.price_certainty) == ("writer", Decimal("0.00158"), "override")
    assert second.usage == Usage(input_tokens=7, output_tokens=3)
    assert third.usage == Usage(input_tokens=1200, output_tokens=3)
    assert {entry.usage_certainty for entry in (first, second, third)} == {"reported"}


def test_searches_are_billed_apart() -> None:
    session = apeiros.start_session()
    usage = {"input_tokens": 10, "output_tokens": 5}
    responses: list[dict[str, Any]] = [
        {"type": "message", "model": "claude-sonnet-4-6",
         "usage": {**usage, "cache_read_input_tokens": 0, "server_tool_use": {"web_search_requests": 3}}},
        {"model": "gpt-4o", "usage": usage, "output": [
            {"type": "web_search_call", "action": {"type": "search"}},
            {"type": "web_search_call", "action": {"type": "open_page"}},
            {"type": "web_search_call", "status": "failed"},
            {"type": "file_search_call"}]},
        {"modelVersion": "gemini-2.5-flash", "usageMetadata": GOOGLE,
         "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}]},
        {"modelVersion": "gemini-3-pro", "usageMetadata": GOOGLE,
         "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}]},
    ]  # fmt: skip
    for response in responses:
        apeiros.wrap(response)
    counted = [(entry.usage.web_searches, entry.usage.file_searches) for entry in session.entries()]
    assert counted == [(3, 0), (1, 1), (1, 0), (2, 0)]


def test_what_the_provider_says_it_cost() -> None:
    session = apeiros.start_session()
    body = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.25}
    assert apeiros.wrap({"model": "openai/gpt-4o", "usage": body}, provider="openrouter")["cost"] == 0.25
    assert only_entry(session).price_source == "reported by openrouter"


# What it does not say


def test_no_model_is_the_mean_of_3_and_15_dollars() -> None:
    session = apeiros.start_session(unknown_price="assume")
    assert Decimal(7 * 3 + 5 * 15) / 12 == sdk.PER_MILLION
    apeiros.wrap(None, input_tokens=1200, output_tokens=380)
    entry = only_entry(session)
    assert (entry.amount, entry.price_certainty) == (1580 * sdk.PER_MILLION / 1_000_000, "assumed")
    assert (entry.usage_certainty, session.health.price_assumed) == ("reported", 1)


def test_a_price_of_ones_own_for_any_model_is_no_assumption() -> None:
    session = apeiros.start_session(prices={"*": Price(input=1, output=1)})
    apeiros.wrap(None, input_tokens=1_000_000)
    assert (only_entry(session).amount, only_entry(session).price_certainty) == (1, "override")


def test_a_model_that_nobody_knows_is_never_free() -> None:
    session = apeiros.start_session(budget=1)
    assert apeiros.wrap(None, input_tokens=10, output_tokens=5, model="nobody-knows-it")["cost"] is None
    assert session.health.unpriced == 1


def test_a_bare_total_is_split_and_estimated() -> None:
    session = apeiros.start_session()
    result = apeiros.wrap({"usage": {"total_tokens": 1200}})
    entry = only_entry(session)
    assert (entry.usage, result["cost"]) == (Usage(input_tokens=700, output_tokens=500), 0.0096)
    assert (entry.usage_certainty, session.health.usage_estimated) == ("estimated", 1)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"prompt_tokens": 900, "total_tokens": 1200}, Usage(input_tokens=900, output_tokens=300)),
        ({"completion_tokens": 300, "total_tokens": 1200}, Usage(input_tokens=900, output_tokens=300)),
    ],
)
def test_a_side_that_the_total_tells(body: dict[str, int], usage: Usage) -> None:
    session = apeiros.start_session()
    apeiros.wrap({"model": "gpt-4o", "usage": body})
    assert only_entry(session).usage == usage


def test_an_answer_is_counted_where_only_the_prompt_is_reported() -> None:
    session = apeiros.start_session()
    apeiros.wrap({**CHAT, "usage": {"prompt_tokens": 1200, "completion_tokens": None}})
    entry = only_entry(session)
    assert entry.usage.input_tokens == 1200
    assert 2 <= entry.usage.output_tokens <= 8
    assert entry.usage_certainty == "estimated"


class Broken:
    def model_dump(self, **_: object) -> object:
        raise RuntimeError("it cannot be read")


@pytest.mark.parametrize(
    "response",
    [
        {}, {"usage": None}, {"usage": "none"}, {"usage": {"prompt_tokens": -5, "completion_tokens": "x"}},
        {"model": 7, "choices": [{"message": {"content": "Paris"}}]}, "Paris", b"Paris", 7, [], [CHAT],
        object(), Broken(),
    ],
    ids=lambda given: repr(given).partition(" at 0x")[0],
)  # fmt: skip
def test_content_that_cannot_be_read_is_recorded(response: object) -> None:
    session = apeiros.start_session(budget=0.001, on_exceeded="raise")
    result = apeiros.wrap(response)
    entry = only_entry(session)
    assert (entry.usage_certainty, entry.price_certainty) == ("unresolved", "assumed")
    assert (session.health.unresolved, result["calls"]) == (1, 1)
    assert result["cost"] > 0
    assert session.health.failures == isinstance(response, Broken)


@pytest.mark.parametrize(
    ("response", "given", "why"),
    [
        (None, {}, r"wrap\(None\) needs the tokens"),
        (None, {"input_tokens": -1}, "input_tokens must be a whole number"),
        (None, {"input_tokens": 1.5, "output_tokens": 1}, "input_tokens must be a whole number"),
        (None, {"input_tokens": True}, "input_tokens must be a whole number"),
        (CHAT, {"output_tokens": "380"}, "output_tokens must be a whole number"),
        (CHAT, {"model": 7}, "model must be a text"),
        (CHAT, {"agent": object}, "agent must be a text"),
        (iter([CHAT]), {}, "got a stream"),
        ((chunk for chunk in [CHAT]), {"input_tokens": 5}, "got a stream"),
        (threading.Lock(), {}, "got a stream"),
    ],
)
def test_arguments_that_cannot_be(response: object, given: dict[str, Any], why: str) -> None:
    session = apeiros.start_session()
    with pytest.raises(InvalidUsage, match=why):
        apeiros.wrap(response, **given)
    assert (session.entries(), session.open_holds) == ([], 0)


def test_a_response_must_have_been_awaited() -> None:
    async def answer() -> object:
        return CHAT

    apeiros.start_session()
    unawaited = answer()
    with pytest.raises(InvalidUsage, match="await it first"):
        apeiros.wrap(unawaited)
    unawaited.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_streams_of_openai(asynchronous: bool) -> None:
    openai = pytest.importorskip("openai")
    apeiros.start_session()
    asked: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }

    def streamed(url: str) -> None:
        with (
            openai.OpenAI(base_url=url, api_key="test") as client,
            client.chat.completions.create(**asked) as it,
        ):
            apeiros.wrap(it)

    async def streamed_async(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="test") as client:
            it = await client.chat.completions.create(**asked)
            try:
                apeiros.wrap(it)
            finally:
                await it.close()

    with ScriptedServer([Reply("hello")]) as server, pytest.raises(InvalidUsage, match="got a stream"):
        if asynchronous:
            asyncio.run(streamed_async(server.openai_url))
        else:
            streamed(server.openai_url)


def test_prompts_and_answers_are_not_kept() -> None:
    session = apeiros.start_session()
    apeiros.wrap({**CHAT, "usage": None})
    assert "Paris" not in repr(session.entries())


def test_recording_that_fails_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session = apeiros.start_session()
    monkeypatch.setattr(session._calls, "_admit", lambda *_: 1 / 0)
    assert session.record(a_call("m"), Outcome(ending="answered")) is None
    assert apeiros.wrap(CHAT)["cost"] is None
    assert session.health.failures == 2


# Adapters


class Adapter:
    """An installed adapter: what the entry point names, and what was called."""

    def __init__(self, name: str, *functions: str, error: Exception | None = None) -> None:
        self.name = name
        self.value = f"{name}_apeiros"
        self.error = error
        self.calls: list[str] = []
        self.module = ModuleType(self.value)
        for function in functions:
            setattr(self.module, function, lambda function=function: self.calls.append(function))

    def load(self) -> ModuleType:
        if self.error is not None:
            raise self.error
        return self.module


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[Adapter]:
    adapters: list[Adapter] = []

    def found(*, group: str) -> list[Adapter]:
        assert group == "apeiros_callbacks.adapters"
        return adapters

    monkeypatch.setattr(sdk, "entry_points", found)
    monkeypatch.setattr(sdk, "_not_imported", set())
    return adapters


def test_adapters_are_found_and_called_once(installed: list[Adapter]) -> None:
    framework, silent = Adapter("framework", "instrument", "uninstrument"), Adapter("silent")
    installed += [framework, silent]
    for _ in range(2):
        apeiros.instrument()
    assert framework.calls == ["instrument"]
    for _ in range(2):
        apeiros.uninstrument()
    assert framework.calls == ["instrument", "uninstrument"]
    apeiros.instrument()
    assert framework.calls[2:] == ["instrument"]


def test_without_an_adapter_wrap_records(installed: list[Adapter]) -> None:
    apeiros.instrument()
    apeiros.start_session()
    assert apeiros.wrap(CHAT)["cost"] == CHAT_COST
    assert installed == []


def test_an_adapter_that_cannot_be_imported_is_logged_once(
    installed: list[Adapter], caplog: pytest.LogCaptureFixture
) -> None:
    broken = Adapter("broken", error=ImportError("no module named framework"))
    fine = Adapter("fine", "instrument")
    installed += [broken, fine]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            apeiros.instrument()
    (record,) = caplog.records
    assert "broken_apeiros cannot be imported: ImportError: no module named framework" in record.message
    assert fine.calls == ["instrument"]


def test_an_adapter_that_fails_is_logged_and_tried_again(
    installed: list[Adapter], caplog: pytest.LogCaptureFixture
) -> None:
    adapter = Adapter("framework", "uninstrument")
    adapter.module.instrument = lambda: 1 / 0  # type: ignore[attr-defined]
    installed.append(adapter)
    apeiros.instrument()
    assert "framework_apeiros.instrument() failed" in caplog.text
    adapter.module.instrument = lambda: adapter.calls.append("instrument")  # type: ignore[attr-defined]
    apeiros.instrument()
    apeiros.uninstrument()
    assert adapter.calls == ["instrument", "uninstrument"]


def test_the_installed_adapters_are_in_the_group() -> None:
    assert {found.name for found in importlib.metadata.entry_points(group=sdk.ADAPTERS)}

"""What a person may set, and what a wrong setting says, before any call is made."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from apeiros_callbacks import (
    Budget,
    BudgetExceeded,
    ConfigError,
    Price,
    Session,
    StoppedByFinding,
    UnknownPrice,
)
from apeiros_callbacks.errors import GateFailed, Unbounded
from apeiros_callbacks.testing import Reply
from langchain_apeiros import ApeirosHandler, ApeirosMiddleware, with_downgrade
from tests.langchain.clients import openai


@pytest.mark.parametrize("budget", [-1, 0, float("nan"), float("inf"), True, "0.50", Decimal("NaN"), [1]])
def test_a_bad_budget_says_what_to_write(budget: Any) -> None:
    with pytest.raises(ConfigError, match=r'Decimal\("0.50"\)'):
        ApeirosHandler(budget=budget)


@pytest.mark.parametrize(
    "options",
    [
        {"ledger": "mysql://somewhere/ledger"},
        {"ledger": "ledger.db"},
        {"prices": {"gpt-4o": 2.5}},
        {"prices": {"gpt-4o": {"input": 1}}},
        {"models": {"mine": ""}},
        {"unknown_price": "guess"},
        {"on": {"retry_lop": "raise"}},
        {"on": {"retry_loop": "explode"}},
        {"on": ["retry_loop"]},
        {"agent_budgets": [0.20]},
        {"ledger": Path("ledger.db")},
        {"customer": ""},
        {"customer": 7},
        {"strict": "no"},
        {"enforce": None},
        {"enforce": "False"},
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ApeirosHandler(budget=0.50, **options)


def test_an_unknown_price_is_refused_while_a_budget_is_set(serve: Any) -> None:
    server = serve(Reply("hi"))
    handler = ApeirosHandler(budget=0.50)
    with pytest.raises(UnknownPrice, match=r'prices=\{"my-model": Price\(input=…, output=…\)\}'):
        openai(server, model="my-model").invoke("hello", {"callbacks": [handler]})
    assert server.request_count == 0
    assert handler.session.entries() == []


def test_an_unknown_price_is_recorded_without_a_budget(serve: Any) -> None:
    handler = ApeirosHandler()
    openai(serve(Reply("hi")), model="my-model").invoke("hello", {"callbacks": [handler]})
    [entry] = handler.session.entries()
    assert (entry.amount, entry.price_certainty) == (None, "unpriced")
    assert handler.session.health.unpriced == 1


def test_an_unknown_price_can_be_assumed_or_allowed(serve: Any) -> None:
    server = serve(Reply("hi", input_tokens=1_000_000, output_tokens=0))
    for policy, amount in (("assume", Decimal(3)), ("allow", None)):
        handler = ApeirosHandler(budget=10, unknown_price=policy)  # type: ignore[arg-type]
        openai(server, model="my-model").invoke("hello", {"callbacks": [handler]})
        assert [entry.amount for entry in handler.session.entries()] == [amount]


def test_another_name_of_a_listed_model(serve: Any) -> None:
    handler = ApeirosHandler(budget=0.50, models={"my-deployment": "openai:gpt-4o"})
    server = serve(Reply("hi", input_tokens=1000, output_tokens=0))
    openai(server, model="my-deployment").invoke("hello", {"callbacks": [handler]})
    assert handler.session.spent == Decimal("0.0025")


def test_calls_and_tokens_can_be_limited(serve: Any) -> None:
    for budget, unit in ((Budget(calls=2), "calls"), (Budget(tokens=2500), "tokens")):
        server = serve(Reply("hi", input_tokens=1000, output_tokens=0))
        handler = ApeirosHandler(budget=budget)
        model = openai(server, max_tokens=1)
        with pytest.raises(BudgetExceeded) as stopped:
            for _ in range(4):
                model.invoke("word " * 1000, {"callbacks": [handler]})
        assert server.request_count == 2
        assert stopped.value.unit == unit


def test_watching_only_refuses_nothing(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=0))
    price = {"*": Price(input=1000, output=0)}
    watching = ApeirosHandler(budget=0.50, prices=price, enforce=False)
    monkeypatch.setenv("APEIROS_ENFORCE", "0")
    everywhere = ApeirosHandler(budget=0.50, prices=price)
    for handler in (watching, everywhere):
        openai(server).invoke("word " * 1000, {"callbacks": [handler]})
        assert handler.session.spent == 1
        assert [finding.type for finding in handler.session.findings] == ["budget_exceeded"]
    assert server.request_count == 2


def test_a_finding_can_refuse(serve: Any) -> None:
    server = serve(Reply("hi"))
    handler = ApeirosHandler(on={"retry_loop": "raise"})
    model = openai(server)
    for _ in range(2):
        model.invoke("hello", {"callbacks": [handler]})
    with pytest.raises(StoppedByFinding, match="retry_loop: the same prompt runs 3 times in a row"):
        model.invoke("hello", {"callbacks": [handler]})
    assert server.request_count == 2
    assert handler.session.open_holds == 0
    model.invoke("something else", {"callbacks": [handler]})
    assert server.request_count == 3


def test_a_budget_can_be_raised(serve: Any) -> None:
    server = serve(Reply("hi", input_tokens=1000, output_tokens=0))
    handler = ApeirosHandler(budget=0.50, prices={"*": Price(input=400, output=0)})
    model = openai(server)
    model.invoke("word " * 1000, {"callbacks": [handler]})
    with pytest.raises(BudgetExceeded):
        model.invoke("word " * 1000, {"callbacks": [handler]})
    handler.session.raise_budget(to=1)
    model.invoke("word " * 1000, {"callbacks": [handler]})
    assert (server.request_count, handler.session.spent) == (2, Decimal("0.80"))


@pytest.mark.parametrize(
    "options", [{"on_exceeded": "rase"}, {"on_exceeded": None}, {"parent": "nightly"}], ids=str
)
def test_a_bad_setting_of_a_session_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Session(budget=0.50, **options)


def test_what_takes_a_handler_takes_nothing_else(serve: Any) -> None:
    session, model = Session(budget=0.50), openai(serve())
    for made in (
        lambda: ApeirosHandler(session=ApeirosHandler()),  # type: ignore[arg-type]
        lambda: ApeirosMiddleware(session),  # type: ignore[arg-type]
        lambda: with_downgrade(model, [model], session),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=r"must be an? \w+, got <"):
            made()


def test_a_setting_beside_a_session_is_refused() -> None:
    session = Session(0.50)
    for options in ({"budget": 1}, {"strict": True}, {"ledger": "memory:"}, {"on": {"retry_loop": "raise"}}):
        with pytest.raises(ConfigError, match="belongs to the session"):
            ApeirosHandler(session=session, **options)  # type: ignore[arg-type]


def test_a_refusal_is_not_logged_as_an_error(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    handler = ApeirosHandler(budget=0.000001)
    with pytest.raises(BudgetExceeded):
        openai(serve()).invoke("hello", {"callbacks": [handler]})
    assert not [record for record in caplog.records if record.name.startswith("langchain_core")]


def test_handlers_can_share_a_session(serve: Any) -> None:
    session = Session(budget=0.50, prices={"*": Price(input=350, output=0)})
    server = serve(Reply("hi", input_tokens=1000, output_tokens=0))
    openai(server).invoke("word " * 1000, {"callbacks": [ApeirosHandler(session=session)]})
    with pytest.raises(BudgetExceeded):
        openai(server).invoke("word " * 1000, {"callbacks": [ApeirosHandler(session=session)]})
    assert server.request_count == 1


def test_a_check_that_fails_refuses_while_a_budget_is_set(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    server = serve(Reply("hi"))
    limited, free = ApeirosHandler(budget=0.50), ApeirosHandler()
    monkeypatch.setattr("langchain_apeiros.prompts._message_mark", broken)
    with pytest.raises(GateFailed, match="ZeroDivisionError"):
        openai(server).invoke([HumanMessage("hello")], {"callbacks": [limited]})
    assert server.request_count == 0
    openai(server).invoke([HumanMessage("hello")], {"callbacks": [free]})
    assert len(free.session.entries()) == 1
    assert free.session.health.failures == 1


def test_a_failure_while_recording_does_not_reach_the_chain(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    handler = ApeirosHandler(budget=0.50)
    monkeypatch.setattr("langchain_apeiros.handler.read_outcome", broken)
    answer = openai(serve(Reply("hi"))).invoke("hello", {"callbacks": [handler]})
    assert answer.text == "hi"
    assert handler.session.health.failures == 1
    assert len(handler.session.entries()) == 1
    assert handler.session.open_holds == 0


def test_a_guess_can_be_passed_and_a_bound_cannot(serve: Any) -> None:
    # Seven short answers, then one as long as the request allows: 6 cents each, then 48.
    replies = [*[Reply("hi", input_tokens=10, output_tokens=100)] * 7, Reply("hi", output_tokens=800)]
    spent = {}
    for strict in (False, True):
        handler = ApeirosHandler(budget=0.5, strict=strict, prices={"*": Price(input=0, output=600)})
        model = openai(serve(*replies), max_tokens=800)
        with pytest.raises(BudgetExceeded):
            for _ in range(20):
                model.invoke("hello", {"callbacks": [handler]})
        spent[strict] = handler.session.spent
        assert handler.session.open_holds == 0
    assert spent == {False: Decimal("0.90"), True: Decimal("0.06")}


def test_a_strict_budget_needs_a_maximum(serve: Any) -> None:
    server = serve(Reply("hi"))
    with pytest.raises(Unbounded, match="Set max_tokens on the model"):
        openai(server).invoke("hello", {"callbacks": [ApeirosHandler(budget=0.5, strict=True)]})
    assert server.request_count == 0

"""What customers may spend, in whose month, and what is reported of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import apeiros_callbacks as apeiros
from apeiros_callbacks import (
    ApeirosAgent,
    BudgetExceeded,
    ConfigError,
    Price,
    Session,
    UnknownPrice,
    current,
    customer_report,
    meter,
    open_ledger,
    set_customer,
)
from apeiros_callbacks.agent import Tasks
from apeiros_callbacks.alerts import Alert
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.errors import InvalidUsage, NoSession
from apeiros_callbacks.ledger import Ledger, default_ledger_url
from tests.contract.entries import until
from tests.contract.processes import ROOT
from tests.contract.spending import session_on, spend

DOLLAR = 10**9
SONNET = "claude-3-5-sonnet"  # $3 and $15 per million tokens


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The ledger of customers is this test's own."""
    monkeypatch.setenv("APEIROS_LEDGER", "memory:")
    session = Session(customer="nobody")
    session.ledger.close()
    yield
    for left in list(current._anywhere):
        current.leave(left)


class Clock:
    """Gives the time that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def set(self, *moment: int) -> None:
        self.now = datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 25, 12, tzinfo=UTC))


def dollars(clock: Clock, ledger: Ledger | None = None) -> Session:
    """A session whose calls cost a dollar each."""
    return session_on(ledger or Session(customer="x").ledger, [DOLLAR], clock=clock)


def work(customer: str, tokens: int, task: str = "summarise", **options: Any) -> ApeirosAgent:
    """A task from its start to its end."""
    with ApeirosAgent(customer, **{"model": SONNET, **options}) as agent:
        agent.start_task(task)
        agent.update_tokens(tokens)
    return agent


# Caps


def test_a_cap_holds_in_every_session_and_agent(clock: Clock) -> None:
    set_customer("acme", monthly=3)
    assert spend(dollars(clock), DOLLAR)
    work("acme", 125_000, clock=clock)  # a dollar
    assert spend(dollars(clock), DOLLAR)
    assert not spend(dollars(clock), DOLLAR)
    with pytest.raises(BudgetExceeded, match=r"budget of \$3\.00 for customer acme in 2026-11"):
        ApeirosAgent("acme", SONNET, clock=clock).start_task("another")
    assert spend(dollars(clock), DOLLAR, customer="zoo")
    assert meter("acme", clock=clock)["spend"] == 3.0


def test_a_session_has_a_customer_of_its_own(clock: Clock) -> None:
    set_customer("acme", monthly=1, timezone="Asia/Tokyo")
    apeiros.start_session(customer="acme", clock=clock)
    apeiros.wrap(None, input_tokens=100_000, output_tokens=25_000)  # a dollar
    prices = {"tool:t": Price(call=1)}
    inner = apeiros.start_session(budget=5, on_exceeded="raise", clock=clock, prices=prices)
    assert inner.customer == "acme"
    with pytest.raises(BudgetExceeded, match="for customer acme in 2026-11"):
        inner.open_tool("t1", "t")
    assert meter("acme", clock=clock)["status"] == "capped"


def test_a_session_that_only_warns_is_held_to_the_caps_of_its_customers(clock: Clock) -> None:
    set_customer("acme", monthly=3)
    ours = apeiros.start_session(
        1, customer="acme", clock=clock, prices={"tool:t": Price(call=1)}, on={"budget_exceeded": "warn"}
    )
    for name in "abc":
        ours.open_tool(name, "t")
        ours.close_tool(name)
    with pytest.raises(BudgetExceeded, match="for customer acme in 2026-11") as stop:
        ours.open_tool("d", "t")
    assert "It was not sent." in str(stop.value)
    assert (ours.spent, ours.open_holds) == (3, 0)
    assert {warning["type"] for warning in apeiros.end_session()["warnings"]} == {"budget_exceeded"}
    assert meter("acme", clock=clock)["spend"] == 3
    assert spend(dollars(clock), DOLLAR) is False

    watching = Session(customer="acme", clock=clock, prices={"tool:t": Price(call=1)}, enforce=False)
    watching.open_tool("e", "t")


def test_a_stream_is_cut_at_the_cap_of_its_customer_where_budgets_only_warn(clock: Clock) -> None:
    set_customer("acme", monthly=0.01)
    prices = {"m": Price(input=0, output=10)}
    ours = Session(0.001, customer="acme", clock=clock, prices=prices, on_exceeded="warn")
    prompt = Prompt((1,), lambda _: Piece("hello"))
    stream = ours.open_call(Call(id="a", provider="openai", model="m", prompt=prompt, max_output_tokens=200))
    with pytest.raises(BudgetExceeded, match="for customer acme"):
        for _ in range(100):
            ours.grow_call(stream, "word " * 20)
    assert 900 <= stream.output_counted + stream.output_bytes <= 1_200
    ours.close_call("a", Outcome(ending="cut"))


@pytest.mark.parametrize(
    ("limit", "before", "after", "periods"),
    [
        ({"daily": 1}, (2026, 11, 25, 22, 59, 59), (2026, 11, 25, 23), ("2026-11-25", "2026-11-26")),
        ({"weekly": 1}, (2026, 11, 29, 22, 59, 59), (2026, 11, 29, 23), ("2026-W48", "2026-W49")),
        ({"monthly": 1}, (2026, 11, 30, 22, 59, 59), (2026, 11, 30, 23), ("2026-11", "2026-12")),
        # The clocks went back on 25 October 2026, at three: that day had 25 hours.
        ({"daily": 1}, (2026, 10, 24, 22), (2026, 10, 25, 22, 59, 59), ("2026-10-25", "2026-10-25")),
        ({"daily": 1}, (2026, 10, 25, 22, 59, 59), (2026, 10, 25, 23), ("2026-10-25", "2026-10-26")),
        # They go forward on 28 March 2027: that day has 23.
        ({"daily": 1}, (2027, 3, 27, 23), (2027, 3, 28, 21, 59, 59), ("2027-03-28", "2027-03-28")),
        ({"daily": 1}, (2027, 3, 28, 21, 59, 59), (2027, 3, 28, 22), ("2027-03-28", "2027-03-29")),
    ],
)
def test_a_period_ends_at_the_customers_own_midnight(
    limit: dict[str, int],
    before: tuple[int, ...],
    after: tuple[int, ...],
    periods: tuple[str, str],
    clock: Clock,
) -> None:
    set_customer("acme", timezone="Europe/Berlin", **limit)  # type: ignore[arg-type]
    ours = dollars(clock)
    clock.set(*before)
    assert meter("acme", clock=clock)["period"] == periods[0]
    assert spend(ours, DOLLAR)
    assert not spend(ours, DOLLAR)
    clock.set(*after)
    assert meter("acme", clock=clock)["period"] == periods[1]
    assert spend(ours, DOLLAR) is (periods[0] != periods[1])


def test_customers_in_different_zones_begin_their_months_apart(clock: Clock) -> None:
    zones = {"samoa": "Pacific/Apia", "berlin": "Europe/Berlin", "utc": "UTC", "la": "America/Los_Angeles"}
    for name, zone in zones.items():
        set_customer(name, monthly=10, timezone=zone)
    ours = dollars(clock)
    for day, hour in ((31, 9), (31, 12), (31, 23), (1, 0), (1, 8)):
        clock.set(2026, 11 if day == 1 else 10, day, hour, 30)
        for name in zones:
            assert spend(ours, DOLLAR, customer=name)
    spent = {name: [meter(name, month)["spend"] for month in ("2026-10", "2026-11")] for name in zones}
    assert spent == {"samoa": [1, 4], "berlin": [2, 3], "utc": [3, 2], "la": [4, 1]}
    assert {one["period"] for one in meter(clock=clock).values()} == {"2026-11"}


def test_a_cap_is_replaced_as_a_whole(clock: Clock) -> None:
    set_customer("acme", monthly=1, alert_at=1, plan_price=299)
    ours = dollars(clock)
    assert spend(ours, DOLLAR)
    assert not spend(ours, DOLLAR)
    assert meter("acme", clock=clock)["status"] == "capped"
    set_customer("acme", plan_price=300)
    assert spend(ours, DOLLAR)
    metered = meter("acme", clock=clock)
    assert (metered["budget"], metered["remaining"], metered["status"]) == (None, None, "ok")
    assert customer_report(clock=clock)["acme"]["plan_price"] == 300


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"customer_id": ""}, "a customer has a name"),
        ({"customer_id": 7}, "a customer has a name"),
        ({"customer_id": "a/2026-11"}, "must not end like a period"),
        ({"monthly": 1, "daily": 1}, "one limit"),
        ({"monthly": -1}, "must not be negative"),
        ({"timezone": "Berlin"}, "no time zone"),
        ({"alerts": ["https://example.com"]}, "an alert goes to"),
    ],
)
def test_what_cannot_be_set(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        set_customer(**{"customer_id": "acme", **settings})
    assert meter() == {}


# Who is told


def test_alerts_of_a_customers_month(clock: Clock) -> None:
    told: list[Alert] = []
    set_customer("acme", monthly=3, alert_at=2, alerts=[told.append])
    ours = dollars(clock)
    for _ in range(5):
        spend(ours, DOLLAR)
    until(lambda: len(told) == 2)
    clock.set(2026, 12, 1)
    for _ in range(2):
        spend(ours, DOLLAR)
    until(lambda: len(told) == 3)
    assert [(alert.level, alert.customer, alert.period) for alert in told] == [
        ("alert_at", "acme", "2026-11"), ("cap", "acme", "2026-11"), ("alert_at", "acme", "2026-12"),
    ]  # fmt: skip
    assert (told[0].threshold, told[1].spent, told[0].budget) == (2, 3, 3)


def test_a_session_tells_of_the_customers_that_it_serves(clock: Clock, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    told: list[Alert] = []
    for name in ("acme", "zoo", "other"):
        set_customer(name, monthly=3, alert_at=2, ledger=url)
    with closing(open_ledger(url)) as ledger:
        ours = session_on(ledger, [DOLLAR], clock=clock, alerts=[told.append])
        elsewhere = session_on(ledger, [DOLLAR], clock=clock)
        assert spend(elsewhere, DOLLAR, customer="acme")
        for name in ("acme", "zoo"):
            assert spend(ours, DOLLAR, customer=name)
        for _ in range(3):
            spend(elsewhere, DOLLAR, customer="other")
        ledger.flush()
        until(lambda: told)
    until(lambda: ours.health.alerts_waiting == 0)
    assert [(alert.customer, alert.spent) for alert in told] == [("acme", 2)]


# Tasks


def test_a_task_costs_eight_dollars_a_million_where_the_model_costs_three_and_fifteen() -> None:
    agent = work("acme", 42_000)
    assert agent.cost_estimate == 0.3360
    assert agent.spent == Decimal("0.336")
    (entry,) = agent.session.entries()
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (24_500, 17_500)
    assert (entry.agent, entry.model, entry.customer_id) == ("summarise", SONNET, "acme")
    assert entry.price_certainty == "assumed"
    assert entry.price_source.endswith("; 7 tokens read to 5 written assumed")


@pytest.mark.parametrize("tokens", [1, 7, 11, 1_000, 999_999, 50_000_000])
def test_that_is_exact_for_any_number_of_tokens(tokens: int) -> None:
    agent = work("acme", tokens)
    assert agent.spent == Decimal(8) * tokens / 1_000_000
    (entry,) = agent.session.entries()
    assert entry.usage.input_tokens + entry.usage.output_tokens == tokens


def test_other_models_have_other_prices() -> None:
    assert work("acme", 12_000, model="gpt-4o").spent == Decimal("0.0675")  # (7 x 2.5 + 5 x 10) / 12
    assert work("acme", 1_000_000, model=None).spent == 8
    assert work("acme", 12, model="mine", prices={"mine": Price(input=12, output=0)}).spent == Decimal(
        "0.000084"
    )
    assert work("acme", 1_000_000, model="mine", unknown_price="assume").spent == 8
    with pytest.raises(UnknownPrice, match="no price is known for 'mine'"):
        ApeirosAgent("acme", "mine")


def test_tokens_are_added_up() -> None:
    agent = ApeirosAgent(customer_id="acme", model=SONNET)
    assert agent.cost_estimate == 0
    agent.start_task("one")
    for tokens in (1_000, 0, 2_000):
        agent.update_tokens(tokens)
        assert meter("acme")["spend"] == agent.cost_estimate
    agent.start_task("two")  # ends the first
    agent.update_tokens(1_000)
    agent.end_task()
    assert agent.cost_estimate == 0.008
    lines = ApeirosAgent._registry["acme"]
    assert [(line["task"], line["cost_estimate"], line["tokens"]) for line in lines] == [
        ("one", 0.024, 3_000), ("two", 0.008, 1_000),
    ]  # fmt: skip


def test_misuse_of_an_agent_is_said() -> None:
    agent = ApeirosAgent("acme", SONNET)
    for use in (lambda: agent.update_tokens(1), agent.end_task):
        with pytest.raises(NoSession, match="no task is started"):
            use()
    with pytest.raises(InvalidUsage, match="a task has a name"):
        agent.start_task("")
    agent.start_task("one")
    for tokens in (-1, 1.5, True, "1"):
        with pytest.raises(InvalidUsage, match="whole number of 0 or more"):
            agent.update_tokens(tokens)  # type: ignore[arg-type]
    assert agent.session.entries() == []


def test_a_task_that_fails_is_recorded_and_ended() -> None:
    with pytest.raises(RuntimeError), ApeirosAgent("acme", SONNET) as agent:
        agent.start_task("one")
        agent.update_tokens(1_000)
        raise RuntimeError
    assert repr(agent) == f"<ApeirosAgent for 'acme', {SONNET}>"
    assert [line["task"] for line in ApeirosAgent._registry["acme"]] == ["one"]


def test_watched_caps_begin_tasks() -> None:
    set_customer("acme", monthly=0.001)
    work("acme", 1_000, enforce=False)
    agent = work("acme", 1_000, enforce=False)
    assert agent.session.findings[0].type == "budget_exceeded"
    with pytest.raises(BudgetExceeded):
        work("acme", 1_000)


# What is reported


def test_the_registry_has_what_everybody_spent_this_month(clock: Clock) -> None:
    work("acme", 1_000_000, clock=clock)
    ours = dollars(clock)
    assert spend(ours, DOLLAR)
    ours.open_tool("t", f"tool-{DOLLAR}", customer="acme", agent="researcher")
    ours.close_tool("t")
    clock.set(2026, 12, 1)
    work("acme", 125_000, "later", clock=clock)
    work("zoo", 125_000, clock=clock)

    november = Tasks(clock=lambda: datetime(2026, 11, 30, tzinfo=UTC))
    assert [(line["task"], line["cost_estimate"]) for line in november["acme"]] == [
        ("summarise", 8.0), (ours.id, 1.0), ("researcher", 1.0),
    ]  # fmt: skip
    assert list(november) == ["acme"]
    december = Tasks(clock=clock)
    assert {name: [line["task"] for line in lines] for name, lines in december.items()} == {
        "acme": ["later"], "zoo": ["summarise"],
    }  # fmt: skip
    assert december.get("nobody", []) == []
    assert len(december) == 2
    assert json.loads(json.dumps(dict(december))) == dict(december)


def test_a_task_of_unknown_price_has_no_estimate() -> None:
    session = apeiros.start_session(customer="acme")
    apeiros.wrap(None, input_tokens=10, output_tokens=10, model="nobody-knows")
    (line,) = ApeirosAgent._registry["acme"]
    assert line["task"] == session.id
    assert "cost_estimate" not in line
    assert customer_report()["acme"]["unpriced"] == 1


def test_the_meter(clock: Clock) -> None:
    set_customer("acme", monthly=250, alert_at=200)
    set_customer("quiet", weekly=10)
    work("acme", 25_500_000, clock=clock)
    work("free", 1_000, clock=clock)
    metered = meter(clock=clock)
    assert metered == {
        "acme": {
            "period": "2026-11", "spend": 204.0, "budget": 250.0, "remaining": 46.0, "status": "alert",
            "calls": 1, "tokens": 25_500_000,
        },
        "free": {
            "period": "2026-11", "spend": 0.008, "budget": None, "remaining": None, "status": "ok",
            "calls": 1, "tokens": 1_000,
        },
        "quiet": {
            "period": "2026-W48", "spend": 0.0, "budget": 10.0, "remaining": 10.0, "status": "ok",
            "calls": 0, "tokens": 0,
        },
    }  # fmt: skip
    assert json.loads(json.dumps(metered)) == metered
    assert meter("acme", clock=clock) == metered["acme"]
    assert meter("acme", "2026-10", clock=clock)["spend"] == 0
    assert meter("nobody", clock=clock)["spend"] == 0
    work("acme", 10_000_000, clock=clock)
    assert meter("acme", clock=clock)["status"] == "capped"
    assert meter("acme", clock=clock)["remaining"] == -34.0


def test_a_month_of_days_and_weeks(clock: Clock) -> None:
    for name, limit in (("days", {"daily": 9}), ("weeks", {"weekly": 9})):
        set_customer(name, **limit)  # type: ignore[arg-type]
        ours = dollars(clock)
        for day in (1, 2, 30):
            clock.set(2026, 11, day, 12)
            assert spend(ours, DOLLAR, customer=name)
    # 1 November is in the week that began in October, 30 November in that of December's first days.
    assert [meter(name, "2026-11")["spend"] for name in ("days", "weeks")] == [3, 2]
    assert meter("weeks", "2026-10")["spend"] == 1
    assert meter("days", "2026-11")["budget"] is None
    assert meter("days", clock=clock)["spend"] == 1
    assert customer_report("2026-11")["days"]["cost"] == 3


@pytest.mark.parametrize("month", ["2026-11-25", "2026-W48", "November", "2026-13", ""])
def test_what_is_no_month(month: str) -> None:
    for ask in (lambda: meter(month=month), lambda: customer_report(month)):
        with pytest.raises(ConfigError, match="write a month such as '2026-11'"):
            ask()


def test_the_report(clock: Clock) -> None:
    set_customer("acme", monthly=250, plan_price=299)
    work("acme", 1_000_000, clock=clock)
    work("acme", 2_000_000, clock=clock)
    work("acme", 400_000, "translate", model="gpt-4o", clock=clock)
    assert spend(dollars(clock), DOLLAR)
    report = customer_report(clock=clock)
    assert report == {
        "acme": {
            "period": "2026-11", "cost": 27.25, "plan_price": 299.0, "margin": 271.75,
            "calls": 3, "tokens": 3_400_000, "unpriced": 0,
            "tasks": {
                "summarise": {"cost": 24.0, "calls": 2, "tokens": 3_000_000},
                "translate": {"cost": 2.25, "calls": 1, "tokens": 400_000},
                "-": {"cost": 1.0, "calls": 0, "tokens": 0},
            },
            "models": {
                SONNET: {"cost": 24.0, "calls": 2, "tokens": 3_000_000},
                "gpt-4o": {"cost": 2.25, "calls": 1, "tokens": 400_000},
            },
        }
    }  # fmt: skip
    assert json.loads(json.dumps(report)) == report
    assert customer_report("2026-10")["acme"]["cost"] == 0


# Where it is kept


def test_it_is_kept_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("APEIROS_LEDGER")
    monkeypatch.setenv("APEIROS_HOME", str(tmp_path))
    assert default_ledger_url().startswith(f"sqlite:///{tmp_path}")
    set_customer("acme", monthly=250, plan_price=299)
    work("acme", 1_000_000)
    code = """
import json
from apeiros_callbacks import ApeirosAgent, BudgetExceeded, Session, customer_report, meter
with ApeirosAgent("acme", "claude-3-5-sonnet") as agent:
    agent.start_task("again")
    agent.update_tokens(1_000_000)
print(json.dumps([
    meter("acme")["remaining"],
    customer_report()["acme"]["margin"],
    [line["task"] for line in ApeirosAgent._registry["acme"]],
    Session(customer="acme").ledger.url == Session(customer="zoo").ledger.url != Session().ledger.url,
]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(ended.stdout) == [234.0, 283.0, ["summarise", "again"], True]
    assert meter("acme")["spend"] == 16.0


def test_a_ledger_of_ones_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    set_customer("acme", monthly=1, ledger=url)
    work("acme", 125_000, ledger=url)
    with closing(open_ledger(url)) as ledger:
        assert meter("acme", ledger=ledger)["status"] == "capped"
        assert customer_report(ledger=ledger)["acme"]["cost"] == 1
    assert [line["cost_estimate"] for line in Tasks(url)["acme"]] == [1.0]
    assert meter() == {}

"""Whoever is to be told that a budget is nearly spent, or is, is told: once, and without delaying a call."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Price, Session, Usage
from apeiros_callbacks.alerts import Alert, Slack, Webhook, outbox
from apeiros_callbacks.call import NO_PROMPT, Call, Outcome, Piece, Prompt
from apeiros_callbacks.customers import set_customer
from tests.contract.entries import until
from tests.contract.processes import ROOT
from tests.unit.alert_server import AlertServer

PRICES = {"*": Price(input=1_000_000, output=1_000_000)}  # a dollar a token


@pytest.fixture
def endpoint() -> Iterator[AlertServer]:
    with AlertServer() as running:
        yield running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_FIRST_RETRY", 0.01)
    monkeypatch.setattr(outbox, "_LONGEST_RETRY", 0.02)


def session(budget: float | Budget | None = 100, **options: Any) -> Session:
    return Session(budget, prices=PRICES, **options)


_numbers = iter(range(10**9))


def spend(ours: Session, dollars: int, **more: Any) -> None:
    """A call that was made, and is paid for."""
    call = Call(id=f"c{next(_numbers)}", provider="openai", model="m", prompt=NO_PROMPT, **more)
    assert ours.record(call, Outcome(ending="answered", usage=Usage(input_tokens=dollars))) is not None


def ask(ours: Session, dollars: int, **more: Any) -> None:
    """A call that is expected to cost so much."""
    name = f"c{next(_numbers)}"
    prompt = Prompt((hash(name),), lambda _: Piece(""))
    call = Call(id=name, provider="openai", model="m", prompt=prompt, max_output_tokens=dollars, **more)
    ours.open_call(call)
    ours.close_call(name, Outcome(ending="answered", usage=Usage(output_tokens=dollars)))


class Told:
    """Somebody to tell."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.threads: set[str] = set()

    def __call__(self, alert: Alert) -> None:
        self.threads.add(threading.current_thread().name)
        self.alerts.append(alert)

    @property
    def levels(self) -> list[str]:
        return [alert.level for alert in self.alerts]


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    made = type(request.node.name, (Told,), {})()  # of another name in each test, as another function is
    assert isinstance(made, Told)
    return made


def all_sent(ours: Session) -> None:
    until(lambda: ours.health.alerts_waiting == 0)


# When


def test_at_four_fifths_of_the_budget_and_at_the_budget(told: Told) -> None:
    ours = session(id="s1", alerts=[told])
    spend(ours, 79)
    all_sent(ours)
    assert told.alerts == []

    spend(ours, 1)
    until(lambda: told.levels == ["alert_at"])
    spend(ours, 19)
    spend(ours, 1)
    spend(ours, 5)
    until(lambda: len(told.alerts) == 2)
    all_sent(ours)

    first, second = told.alerts
    assert (first.level, first.spent, first.threshold, first.budget) == ("alert_at", 80, 80, 100)
    assert (second.level, second.spent, second.threshold) == ("cap", 100, 100)
    assert (second.session, second.customer, second.period) == ("s1", None, None)
    assert first.message == "session s1: $80.00 of a budget of $100.00 spent: the alert at $80.00 is reached."
    assert second.message == "session s1: $100.00 of a budget of $100.00 spent: it is reached."
    assert told.threads == {"apeiros-alerts"}


def test_both_when_one_call_passes_both(told: Told) -> None:
    ours = session(alerts=[told])
    spend(ours, 120)
    until(lambda: told.levels == ["alert_at", "cap"])


def test_an_alert_that_comes_while_the_thread_of_the_last_one_ends_is_sent(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, start = session(alerts=[told]), outbox.start_thread
    spend(ours, 10)

    def slow(thread: threading.Thread) -> None:
        monkeypatch.setattr(outbox, "start_thread", start)
        start(thread)
        thread.join()  # it has sent the first one and is over, and the lock is not free yet
        other = threading.Thread(target=spend, args=(ours, 20))
        other.start()
        other.join()

    monkeypatch.setattr(outbox, "start_thread", slow)
    spend(ours, 70)
    until(lambda: told.levels == ["alert_at", "cap"])


def test_at_an_amount_of_ones_own(told: Told) -> None:
    ours = session(alerts=[told], alert_at=Decimal("12.5"))
    spend(ours, 12)
    spend(ours, 1)
    until(lambda: [alert.threshold for alert in told.alerts] == [Decimal("12.5")])


def test_an_amount_above_a_lowered_budget_leaves_the_budget(told: Told) -> None:
    ours = session(alerts=[told], alert_at=90)
    ours.raise_budget(to=60)
    spend(ours, 60)
    until(lambda: told.levels == ["cap"])
    spend(ours, 40)
    all_sent(ours)
    assert told.levels == ["cap"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Session(100, alert_at=150),
        lambda: set_customer("acme", monthly=100, alert_at=150, ledger="memory:"),
    ],
)
def test_an_amount_that_would_be_told_too_late(wrong: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=r"alert_at is \$150.00, more than the limit of \$100.00"):
        wrong()


def test_an_amount_without_a_budget() -> None:
    with pytest.raises(ConfigError, match="set budget= too"):
        Session(alert_at=150)


def test_a_refused_call_says_that_the_budget_is_reached(told: Told) -> None:
    ours = session(id="s1", alerts=[told])
    ask(ours, 70)
    for _ in range(3):
        with pytest.raises(BudgetExceeded) as stop:
            ask(ours, 60)
    until(lambda: told.levels == ["cap"])
    all_sent(ours)
    assert told.levels == ["cap"]
    (alert,) = told.alerts
    needed = stop.value.needed
    assert (alert.spent, alert.needed, alert.budget) == (70, needed, 100)
    assert alert.message == (
        f"session s1: $70.00 of a budget of $100.00 spent: a call that needs ${needed}.00 does not fit."
    )


def test_a_budget_of_calls(told: Told) -> None:
    ours = session(Budget(calls=1), id="s1", alerts=[told])
    ask(ours, 1)
    with pytest.raises(BudgetExceeded):
        ask(ours, 1)
    until(lambda: told.levels == ["cap"])
    assert told.alerts[0].unit == "calls"
    assert told.alerts[0].message.startswith("session s1: 1 call of a budget of 1 call spent")


def test_where_budgets_are_only_watched(told: Told) -> None:
    ours = session(alerts=[told], enforce=False)
    ask(ours, 70)
    ask(ours, 60)
    until(lambda: sorted(told.levels) == ["alert_at", "cap"])


def test_each_run_with_a_budget_of_its_own(told: Told) -> None:
    ours = session(id="s1", per="run", agent_budgets={"researcher": 50}, alerts=[told])
    spend(ours, 85, root="r1")
    spend(ours, 45, root="r2", agent="researcher")
    spend(ours, 45, root="r2")
    until(lambda: len(told.alerts) == 3)
    assert sorted(alert.message.partition(":")[0] for alert in told.alerts) == [
        "agent researcher in run r2, session s1",
        "run r1, session s1",
        "run r2, session s1",
    ]
    assert {alert.session for alert in told.alerts} == {"s1"}


def test_a_session_around_it(told: Told) -> None:
    around = session(id="around", alerts=[told])
    inner = session(10, id="inner", parent=around, on_exceeded="warn")
    spend(inner, 85)
    until(lambda: len(told.alerts) == 3)
    all_sent(around)
    assert {(alert.session, alert.level) for alert in told.alerts} == {
        ("inner", "alert_at"), ("inner", "cap"), ("around", "alert_at"),
    }  # fmt: skip


def test_a_raised_budget_and_a_session_that_begins_anew(told: Told) -> None:
    ours = session(alerts=[told])
    spend(ours, 80)
    ours.raise_budget(to=200)
    spend(ours, 80)
    until(lambda: [alert.threshold for alert in told.alerts] == [80, 160])
    ours.reset()
    spend(ours, 170)
    until(lambda: [alert.threshold for alert in told.alerts] == [80, 160, 160])


def test_a_session_that_goes_on_tells_once(told: Told, tmp_path: Any) -> None:
    for dollars in (85, 5):
        ours = session(id="s1", ledger=f"sqlite:///{tmp_path}/l.db", alerts=[told])
        spend(ours, dollars)
        all_sent(ours)
        ours.ledger.close()
    assert told.levels == ["alert_at"]


def test_without_a_budget_nobody_is_told(told: Told) -> None:
    ours = session(None, alerts=[told])
    spend(ours, 1_000)
    all_sent(ours)
    assert told.alerts == []


# How


def test_what_a_webhook_gets(endpoint: AlertServer) -> None:
    ours = session(id="s1", alerts=[Webhook(f"{endpoint.url}/hook", secret="s3cret")])
    spend(ours, 85)
    until(lambda: len(endpoint.posts) == 1)
    (post,) = endpoint.posts
    assert (post.path, post.headers["content-type"]) == ("/hook", "application/json")
    data = post.json["data"]
    assert post.json.keys() == {"type", "timestamp", "data"}
    assert post.json["type"] == "budget.alert_at"
    assert post.json["timestamp"].endswith("Z")
    assert data.pop("id") == post.headers["webhook-id"]
    assert data == {
        "scope": "session:s1", "customer": None, "period": None, "session": "s1", "unit": "usd",
        "spent": "85", "threshold": "80", "budget": "100", "needed": None,
        "message": "session s1: $85.00 of a budget of $100.00 spent: the alert at $80.00 is reached.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("secret", "key"),
    [("s3cret", b"s3cret"), ("whsec_" + base64.b64encode(b"\0\1key").decode(), b"\0\1key"), (None, b"")],
)
def test_how_a_webhook_is_signed(endpoint: AlertServer, secret: str | None, key: bytes) -> None:
    ours = session(alerts=[Webhook(endpoint.url, secret)])
    spend(ours, 85)
    until(lambda: len(endpoint.posts) == 1)
    headers, body = endpoint.posts[0].headers, endpoint.posts[0].body
    if secret is None:
        assert "webhook-signature" not in headers
        return
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


def test_what_slack_gets(endpoint: AlertServer) -> None:
    ours = session(id="<a & b>", alerts=[Slack(f"{endpoint.url}/services/T0/B0/x")])
    spend(ours, 85)
    until(lambda: len(endpoint.posts) == 1)
    assert endpoint.posts[0].json.keys() == {"text"}
    assert endpoint.posts[0].json["text"].startswith("session &lt;a &amp; b&gt;: $85.00 of a budget")


def test_a_refusing_endpoint_is_asked_again(endpoint: AlertServer) -> None:
    endpoint.statuses.extend([500, 429, 301])
    ours = session(alerts=[Webhook(endpoint.url)])
    spend(ours, 85)
    until(lambda: len(endpoint.posts) == 4)
    all_sent(ours)
    assert ours.health.alert_failure is None
    assert len({post.headers["webhook-id"] for post in endpoint.posts}) == 1
    assert len({post.body for post in endpoint.posts}) == 1


def test_a_function_that_fails_is_called_again(told: Told) -> None:
    calls: list[str] = []

    def tell_badly(alert: Alert) -> None:
        calls.append(alert.level)
        if len(calls) < 3:
            raise OSError("https://hooks.slack.com/services/T0/B0/x")

    ours = session(alerts=[tell_badly, told])
    spend(ours, 85)
    until(lambda: len(calls) == 3 and told.levels == ["alert_at"])
    all_sent(ours)


def test_an_alert_that_cannot_be_sent_holds_up_no_other() -> None:
    told: list[str] = []

    def tell_caps(alert: Alert) -> None:
        if alert.level == "alert_at" and not told:
            raise OSError
        told.append(alert.level)

    ours = session(alerts=[tell_caps])
    spend(ours, 100)
    all_sent(ours)
    assert told == ["cap", "alert_at"]


def test_a_dead_endpoint_delays_nothing_and_loses_nothing(told: Told) -> None:
    with AlertServer() as gone:
        port = gone.port
    ours = session(alerts=[Webhook(f"http://127.0.0.1:{port}/hook"), told])
    spend(ours, 80)
    until(lambda: ours.health.alert_failure is not None)
    spend(ours, 20)
    until(lambda: told.levels == ["alert_at", "cap"])
    health = ours.health
    assert health.alerts_waiting == 2
    assert health.alert_failure is not None
    assert health.alert_failure.startswith(f"Webhook('http://127.0.0.1:{port}/…', not signed): it cannot be")

    with AlertServer(port) as back:
        until(lambda: len(back.posts) == 2)
        all_sent(ours)
    assert ours.health.alert_failure is None
    assert {post.json["type"] for post in back.posts} == {"budget.alert_at", "budget.cap"}


def test_an_endpoint_that_hangs_delays_no_other(endpoint: AlertServer, told: Told) -> None:
    endpoint.answering.clear()
    ours = session(alerts=[Webhook(endpoint.url), told])
    spend(ours, 80)
    until(lambda: len(endpoint.posts) == 1)
    spend(ours, 20)
    until(lambda: told.levels == ["alert_at", "cap"])
    endpoint.answering.set()
    until(lambda: len(endpoint.posts) == 2)


def test_what_waits_is_bounded_and_offered_again(
    endpoint: AlertServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST", 2)
    endpoint.answering.clear()
    ours = session(1, per="run", alerts=[Webhook(endpoint.url)])
    for root in ("r1", "r2", "r3"):
        spend(ours, 1, root=root)
    assert ours.health.alerts_waiting == 2
    endpoint.answering.set()
    all_sent(ours)
    for root in ("r1", "r2", "r3") * 2:
        spend(ours, 1, root=root)
        all_sent(ours)
    scopes = [(post.json["data"]["scope"].rpartition("/")[2], post.json["type"]) for post in endpoint.posts]
    assert sorted(scopes) == [
        (f"run {root}", f"budget.{level}") for root in ("r1", "r2", "r3") for level in ("alert_at", "cap")
    ]


def test_no_secret_is_shown(endpoint: AlertServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    endpoint.statuses.append(500)
    with AlertServer() as gone:
        port = gone.port
    to = [
        Slack(f"{endpoint.url}/T0KEN"),
        Webhook(f"http://user:PASSW0RD@127.0.0.1:{port}/T0KEN?t=T0KEN", secret="S3CRET"),
    ]
    ours = session(alerts=to)
    spend(ours, 80)
    until(lambda: len(endpoint.posts) == 2 and ours.health.alert_failure is not None)
    shown = caplog.text + repr(to) + repr(ours.health)
    with AlertServer(port):
        all_sent(ours)
    assert "an alert was not sent, and is tried again" in caplog.text
    for secret in ("T0KEN", "PASSW0RD", "S3CRET"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("alerts", "says"),
    [
        (lambda _: None, "alerts is a list"),
        (Slack("https://example.com/x"), "alerts is a list"),
        (["https://example.com/T0KEN"], "an alert goes to"),
    ],
)
def test_what_cannot_be_told(alerts: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        session(alerts=alerts)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Slack("hooks.slack.com/T0KEN"), "must begin with https://"),
        (lambda: Webhook("https://example.com:T0KEN/"), "must begin with https://"),
        (lambda: Webhook("https://example.com/", secret=""), "secret must be a text"),
        (lambda: Webhook("https://example.com/", secret="whsec_T0KEN-"), "must be base64"),
        (lambda: session(alert_at=-1), "alert_at must not be negative"),
    ],
)
def test_settings_that_cannot_be(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as wrong:
        make()
    assert "T0KEN" not in str(wrong.value)


def test_a_coroutine_function_is_refused_at_once() -> None:
    async def tell(alert: Alert) -> None:
        raise AssertionError(alert)

    with pytest.raises(ConfigError, match="must be an ordinary function"):
        session(alerts=[tell])


# The end of a process, and its children

_SPEND = """
import logging, os, sys
logging.basicConfig(level=logging.WARNING)
from apeiros_callbacks import Price, Session, Usage
from apeiros_callbacks.alerts import Webhook
from apeiros_callbacks.call import NO_PROMPT, Call, Outcome

def spend(name, dollars, **more):
    ours = Session(100, id=name, prices={"*": Price(input=1_000_000)}, alerts=[Webhook(sys.argv[1])], **more)
    call = Call(id=name, provider="openai", model="m", prompt=NO_PROMPT)
    ours.record(call, Outcome(ending="answered", usage=Usage(input_tokens=dollars)))
    return ours
"""


def process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SPEND + code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_alerts_are_sent_before_the_process_ends(endpoint: AlertServer) -> None:
    process("spend('s1', 100)", endpoint.url)
    assert [post.json["type"] for post in endpoint.posts] == ["budget.alert_at", "budget.cap"]


def test_so_are_those_that_the_last_write_brings_about(endpoint: AlertServer, tmp_path: Any) -> None:
    code = """
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import open_ledger
open_ledger(sys.argv[2]).set_cap(Cap("customer:acme", alert_at=50))
spend("s1", 60, customer="acme", ledger=sys.argv[2])
"""
    process(code, endpoint.url, f"sqlite:///{tmp_path}/l.db")
    assert [post.json["data"]["customer"] for post in endpoint.posts] == ["acme"]


def test_they_are_sent_where_no_thread_can_start_any_more(endpoint: AlertServer, tmp_path: Any) -> None:
    """As from Python 3.12 on, once the interpreter is ending."""
    code = """
import atexit, threading
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import open_ledger

def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

ledger = open_ledger(sys.argv[2])
ledger.set_cap(Cap("customer:acme", alert_at=50))
spend("s1", 1, customer="acme", ledger=ledger)
ledger.flush()  # there is a thread that writes
atexit.register(setattr, threading.Thread, "start", start)
spend("s2", 60, customer="acme", ledger=ledger)
threading.Thread.start = start
"""
    process(code, endpoint.url, f"sqlite:///{tmp_path}/l.db")
    assert [post.json["data"]["spent"] for post in endpoint.posts] == ["61"]


def test_a_process_does_not_wait_long_for_a_dead_endpoint() -> None:
    with AlertServer() as gone:
        url = gone.url
    ended = process("spend('s1', 100)", url)
    assert "lost with the end of this process: 2 alerts to Webhook('http://127.0.0.1" in ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_leaves_the_parents_alerts_to_it_and_sends_its_own(endpoint: AlertServer) -> None:
    endpoint.statuses.append(500)  # so that the parent has something to send when it forks
    code = """
parents = spend("parent", 80)
while not parents.health.alert_failure:
    pass
child = os.fork()
if not child:
    assert parents.health.alerts_waiting == 0
    childs = spend("child", 80)
    while childs.health.alerts_waiting:
        pass
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    process(code, endpoint.url)
    sessions = [post.json["data"]["session"] for post in endpoint.posts]
    assert sorted(sessions) == ["child", "parent", "parent"]


def test_a_child_of_multiprocessing_sends_before_it_ends(endpoint: AlertServer) -> None:
    code = """
import multiprocessing
if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=spend, args=("child", 80))
    child.start()
    child.join()
    assert child.exitcode == 0
"""
    process(code, endpoint.url)
    assert [post.json["data"]["session"] for post in endpoint.posts] == ["child"]

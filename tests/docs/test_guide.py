"""The guide's examples, as they are written; and the whole guide as a document, where it is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import apeiros_callbacks as apeiros
from apeiros_callbacks import BudgetExceeded, set_customer
from apeiros_callbacks.testing import Reply, ScriptedServer
from tests.unit.alert_server import AlertServer

GUIDE = Path(__file__).parents[3] / "shared" / "guide.md"

RUN = """
import apeiros_callbacks as apeiros

apeiros.instrument()
apeiros.start_session(budget=0.50)  # $0.50 per session

# Run your agent...
result = apeiros.end_session()
"""

READ_THE_WARNING = """
result = apeiros.end_session()

if any(w["type"] == "budget_exceeded" for w in result.get("warnings", [])):
    print("Session exceeded budget")
    print(result["total_cost"])
"""

ABORT = """
result = apeiros.wrap(None, input_tokens=1200, output_tokens=380)

for warning in result.get("warnings", []):
    if warning["type"] == "budget_exceeded":
        raise RuntimeError(f"Budget exceeded: {warning['message']}")
"""

DOWNGRADE = """
# Check after each step — downgrade if approaching limit
state = apeiros.get_state()
if state["total_cost"] > 0.40:  # 80% of $0.50 budget
    model = "claude-3-haiku"    # switch to cheaper model for remaining steps
"""

ALERT = """
import httpx

result = apeiros.end_session()
for warning in result.get("warnings", []):
    if warning["type"] == "budget_exceeded":
        httpx.post(
            "https://hooks.slack.com/services/YOUR/WEBHOOK/URL",
            json={"text": f"⚠️ Agent budget exceeded: {warning['message']}"},
        )
"""

CHECK_ALL = """
import apeiros_callbacks as apeiros
from apeiros_callbacks import ApeirosAgent

COST_CAP        = 250.0   # no more than that in a month
ALERT_THRESHOLD = 200.0

def check_customer_budgets():
    for customer_id, tasks in ApeirosAgent._registry.items():
        monthly_cost = sum(t.get("cost_estimate", 0.0) for t in tasks)

        if monthly_cost >= COST_CAP:
            enforce_cap(customer_id)
        elif monthly_cost >= ALERT_THRESHOLD:
            send_alert(customer_id, monthly_cost)
"""

HARD_STOP = """
from apeiros_callbacks import ApeirosAgent

def get_customer_spend(customer_id: str) -> float:
    tasks = ApeirosAgent._registry.get(customer_id, [])
    return sum(t.get("cost_estimate", 0.0) for t in tasks)

def run_customer_task(customer_id: str, task_name: str, tokens: int):
    if get_customer_spend(customer_id) >= 250.0:
        raise PermissionError(f"Customer {customer_id} has spent all it may this month.")

    agent = ApeirosAgent(customer_id=customer_id, model="claude-3-5-sonnet")
    agent.start_task(task_name)
    agent.update_tokens(tokens)
    agent.end_task()
    return agent.cost_estimate
"""


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("APEIROS_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    yield
    apeiros.uninstrument()


def run(example: str, within: dict[str, Any] | None = None, **names: Any) -> dict[str, Any]:
    """Run code, in a namespace that is given or a new one, and give that."""
    space = {"apeiros": apeiros, **names} if within is None else within
    exec(example, space)  # noqa: S102 - it is written above, or is the guide's
    return space


def spend(calls: int) -> None:
    """At $8 per million tokens each of these costs $0.01264; 40 of them pass $0.50."""
    for _ in range(calls):
        apeiros.wrap(None, input_tokens=1200, output_tokens=380)


def test_a_session_has_a_budget() -> None:
    result = run(RUN)["result"]
    assert result["total_cost"] == 0
    assert result["warnings"] == []


def test_what_an_agent_spends_in_between_is_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = pytest.importorskip("langchain_apeiros", reason="this environment has no LangChain")
    if not hasattr(adapter, "instrument"):
        pytest.skip("the adapter records nothing by itself")
    from langchain_openai import ChatOpenAI

    begin, end = RUN.split("# Run your agent...")
    with ScriptedServer([Reply("ok", input_tokens=300_000, output_tokens=10)]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        names = run(begin)
        ChatOpenAI(model="gpt-4o").invoke("hello")
        result = run(end, **names)["result"]
    assert (result["calls"], result["total_cost"]) == (1, 0.7501)
    assert "budget_exceeded" in {warning["type"] for warning in result["warnings"]}


@pytest.mark.parametrize(("calls", "shown"), [(39, ""), (40, "Session exceeded budget\n0.5056\n")])
def test_the_result_says_whether_it_was_exceeded(
    calls: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    apeiros.start_session(budget=0.50)
    spend(calls)
    run(READ_THE_WARNING)
    assert capsys.readouterr().out == shown


def test_the_agent_is_aborted() -> None:
    apeiros.start_session(budget=0.50)
    for _ in range(39):
        run(ABORT)
    with pytest.raises(RuntimeError, match=r"Budget exceeded: \$0\.5056 spent of a budget of \$0\.5000"):
        run(ABORT)
    assert apeiros.end_session()["calls"] == 40


@pytest.mark.parametrize(("calls", "model"), [(31, "claude-3-opus"), (32, "claude-3-haiku")])
def test_a_cheaper_model_is_taken(calls: int, model: str) -> None:
    apeiros.start_session(budget=0.50)
    spend(calls)
    assert run(DOWNGRADE, model="claude-3-opus")["model"] == model
    apeiros.end_session()


@pytest.mark.parametrize(("calls", "alerts"), [(39, 0), (45, 1)])
def test_an_alert_is_sent(calls: int, alerts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    posted: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(httpx, "post", lambda url, json: posted.append((url, json)))
    apeiros.start_session(budget=0.50)
    spend(calls)
    run(ALERT)
    assert len(posted) == alerts
    for url, sent in posted:
        assert url.startswith("https://hooks.slack.com/")
        assert sent["text"].startswith("⚠️ Agent budget exceeded: $0.5688 spent of a budget of $0.5000")


# Customers


class Told:
    """The functions that the guide leaves to its reader."""

    def __init__(self) -> None:
        self.capped: list[str] = []
        self.alerted: list[tuple[str, float]] = []

    def enforce_cap(self, customer_id: str) -> None:
        self.capped.append(customer_id)

    def send_alert(self, customer_id: str, cost: float) -> None:
        self.alerted.append((customer_id, cost))

    @property
    def names(self) -> dict[str, Any]:
        return {"enforce_cap": self.enforce_cap, "send_alert": self.send_alert}


def check_what_customers_spent(names: dict[str, Any], told: Told) -> None:
    """At $8 per million tokens."""
    for customer, millions in (("small", 1), ("large", 25), ("larger", 15), ("larger", 17)):
        agent = apeiros.ApeirosAgent(customer_id=customer, model="claude-3-5-sonnet")
        agent.start_task("work")
        agent.update_tokens(millions * 1_000_000)
        agent.end_task()
    names["check_customer_budgets"]()
    assert told.capped == ["larger"]
    assert told.alerted == [("large", 200.0)]


def stop_a_customer(names: dict[str, Any]) -> None:
    assert names["run_customer_task"]("acme", "summarise", 42_000) == 0.3360
    assert names["run_customer_task"]("acme", "summarise", 31_250_000) == 250.0
    assert names["get_customer_spend"]("acme") == pytest.approx(250.336)
    with pytest.raises(PermissionError, match="Customer acme"):
        names["run_customer_task"]("acme", "summarise", 1)
    assert names["get_customer_spend"]("nobody") == 0


def test_customers_are_checked() -> None:
    told = Told()
    check_what_customers_spent(run(CHECK_ALL, **told.names), told)


def test_a_customer_is_stopped() -> None:
    stop_a_customer(run(HARD_STOP))


def test_a_customer_with_a_cap_is_stopped_without_being_asked_about() -> None:
    set_customer("acme", monthly=250, alert_at=200, timezone="Europe/Berlin", plan_price=299)
    names = run(HARD_STOP)
    names["run_customer_task"]("acme", "summarise", 31_249_500)
    with pytest.raises(BudgetExceeded, match=r"budget of \$250\.00 for customer acme"):
        names["run_customer_task"]("acme", "summarise", 1)
    metered = apeiros.meter("acme")
    assert (metered["spend"], metered["remaining"], metered["status"]) == (249.996, 0.004, "alert")
    assert apeiros.customer_report()["acme"]["margin"] == 49.004


# The whole guide


def code_of(text: str) -> list[str]:
    """The code blocks of a document, told from its prose by what is Python, where no fence marks them."""
    blocks: list[str] = []
    is_code = False
    for part in re.split(r"\n[^\S\n]*\n", re.sub(r"^```.*$", "", text, flags=re.MULTILINE)):
        longer = f"{blocks[-1]}\n\n{part}" if is_code else part
        if part.strip() and is_python(longer):
            blocks[-1:] = [longer] if is_code else [*blocks[-1:], longer]
            is_code = True
        else:
            is_code = bool(part.strip()) and is_python(part)
            blocks.extend([part] if is_code else [])
    return blocks


def is_python(text: str) -> bool:
    try:
        compile(text.strip("\n"), "guide", "exec")
    except SyntaxError:
        return False
    return True


def test_code_is_told_from_prose() -> None:
    first = "x = 1\n\nif x:\n    y = 2\n\n    z = 3"
    text = f"A title\n\n{first}\n\nSome words, and\nmore.\n\n```python\nx = 4\n```\n"
    assert [block.strip() for block in code_of(text)] == [first, "x = 4"]


def test_the_whole_guide(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not GUIDE.exists():
        pytest.skip(f"the guide is not here: {GUIDE}")
    httpx = pytest.importorskip("httpx")
    monkeypatch.setitem(sys.modules, "apeiros", apeiros)
    post = httpx.post
    told = Told()
    names: dict[str, Any] = dict(told.names)
    in_a_session, warned, abort, downgrade, alert, check_all, hard_stop = code_of(GUIDE.read_text())

    run(in_a_session, names)
    assert names["result"]["total_cost"] == 0

    apeiros.start_session(budget=0.50)
    spend(40)
    run(warned, names)
    assert capsys.readouterr().out == "Session exceeded budget\n0.5056\n"

    apeiros.start_session(budget=0.50)
    spend(39)
    with pytest.raises(RuntimeError, match=r"Budget exceeded: \$0\.5056 spent of a budget of \$0\.5000"):
        run(abort, names)

    run(downgrade, names)
    assert names["model"] == "claude-3-haiku"

    with AlertServer() as slack:
        there = "https://hooks.slack.com"
        monkeypatch.setattr(httpx, "post", lambda url, **sent: post(url.replace(there, slack.url), **sent))
        run(alert, names)
    assert [sent.path for sent in slack.posts] == ["/services/YOUR/WEBHOOK/URL"]
    assert slack.posts[0].json["text"].startswith("⚠️ Agent budget exceeded: $0.5056 spent")

    run(check_all, names)
    check_what_customers_spent(names, told)
    run(hard_stop, names)
    stop_a_customer(names)

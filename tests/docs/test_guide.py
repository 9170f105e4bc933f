"""The guide's examples about sessions, as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import apeiros_callbacks as apeiros
from apeiros_callbacks.testing import Reply, ScriptedServer

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


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    apeiros.uninstrument()


def run(example: str, **names: Any) -> dict[str, Any]:
    names = {"apeiros": apeiros, **names}
    exec(example, names)  # noqa: S102 - it is written above
    return names


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

"""The way of one call through a session, whatever framework it comes from."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apeiros_callbacks import Budget, BudgetExceeded, ConfigError, Price, Session, Usage
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.errors import InvalidBudget
from apeiros_callbacks.report import Health, roll_up, total

PRICES = {"*": Price(input=1_000_000, output=1_000_000)}  # a dollar a token
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def call(name: str = "a", text: str = "word", *, maximum: int | None = 10, **more: Any) -> Call:
    prompt = Prompt((hash(text),), lambda _: Piece(text))
    return Call(id=name, provider="openai", model="m", prompt=prompt, max_output_tokens=maximum, **more)


def answered(tokens_in: int, tokens_out: int = 0, **more: Any) -> Outcome:
    return Outcome(ending="answered", usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out), **more)


def session(budget: float | None = 100, **options: Any) -> Session:
    return Session(budget, prices=PRICES, **options)


def test_one_call_is_one_entry() -> None:
    times = iter(NOW + timedelta(seconds=i) for i in range(100))
    ours = session(clock=lambda: next(times))
    ours.open_call(call())
    assert ours.open_holds == 1
    entry = ours.close_call("a", answered(10, 5))
    assert entry is not None
    assert ours.entries() == [entry]
    assert (entry.amount, ours.spent, ours.remaining, ours.open_holds) == (15, 15, 85, 0)
    assert entry.started_at < entry.ended_at


def test_a_second_start_while_open_is_the_same_call() -> None:
    ours = session()
    assert ours.open_call(call()) is ours.open_call(call())
    ours.close_call("a", answered(10))
    assert ours.close_call("a", answered(10)) is None
    assert len(ours.entries()) == 1


def test_a_provisional_end_is_corrected_by_a_real_one() -> None:
    ours = session()
    ours.open_call(call())
    guessed = ours.close_call("a", Outcome(ending="cut", provisional=True, error="CancelledError"))
    assert guessed is not None
    assert guessed.usage_certainty == "estimated"
    assert ours.open_holds == 0
    corrected = ours.close_call("a", answered(7, 2))
    assert corrected is not None
    assert (corrected.kind, corrected.corrects) == ("correction", guessed.key)
    assert corrected.usage == Usage(input_tokens=7, output_tokens=2)
    assert ours.spent == 9 == sum(entry.amount or 0 for entry in ours.entries())
    assert ours.close_call("a", answered(7, 2)) is None
    sums = total(ours.entries())
    assert (sums.input_tokens, sums.usage_estimated, sums.calls) == (7, 0, 1)
    assert roll_up(ours.entries(), "kind")["llm"].input_tokens == 7
    assert ours.health == Health(corrected=1)


def test_what_is_not_certain_is_counted_and_shown() -> None:
    ours = Session(None, prices={"m": Price(input=1, output=1)})
    endings = {
        "a": answered(10),
        "b": Outcome(ending="answered", text="word"),
        "c": Outcome(ending="cut", provisional=True, error="CancelledError"),
        "d": Outcome(ending="failed", error="APIError 500"),
    }
    for name, outcome in endings.items():
        ours.open_call(call(name))
        ours.close_call(name, outcome)
    ours.open_call(replace(call("e"), model="nobody knows"))
    ours.close_call("e", answered(10))
    ours.open_call(call("still open"))
    assert ours.health == Health(open=1, usage_estimated=2, end_inferred=1, failed=1, unpriced=1)
    sums = total(ours.entries())
    assert (sums.usage_estimated, sums.failed, sums.unpriced, sums.unresolved) == (2, 1, 1, 0)
    shown = (
        "not certain: 2 calls without reported usage: counted here; 1 call seen to start and not to end; "
        "1 call without a price: not in the sum"
    )
    assert str(ours).endswith(shown)
    assert shown in ours._repr_html_()


def test_dollars_raise_only_the_limit_in_dollars() -> None:
    ours = Session(Budget(usd=1, calls=2), prices=PRICES)
    ours.raise_budget(to=5)
    assert ours.budget == Budget(usd=5, calls=2)
    ours.raise_budget(to=Budget(usd=6))
    assert ours.budget == Budget(usd=6)
    counted = Session(Budget(calls=1), prices=PRICES)
    with pytest.raises(InvalidBudget, match=r"say which limit to raise.*Budget\(calls=100\)"):
        counted.raise_budget(to=5)
    assert counted.budget == Budget(calls=1)
    counted.open_call(call())
    with pytest.raises(BudgetExceeded, match=r"raise_budget\(to=Budget\(calls=…\)\)"):
        counted.open_call(call("b"))


def test_a_session_with_a_name_goes_on_where_it_stopped(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first = session(id="job", ledger=url)
    first.open_call(call())
    first.close_call("a", answered(60))
    first.flush()
    again = session(id="job", ledger=url)
    assert (again.spent, again.remaining, again.state()["calls"]) == (60, 40, 1)
    with pytest.raises(BudgetExceeded, match="60.00 spent"):
        again.open_call(call("b", "word " * 50))
    again.open_call(call("a"))
    again.close_call("a", answered(2))
    assert [(entry.id, entry.attempt) for entry in again.entries()] == [("a", 1), ("a", 2)]
    assert session(id="other", ledger=url).spent == 0


@pytest.mark.parametrize("said", ["0", "false", "No", "off"])
def test_watching_by_the_environment(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("APEIROS_ENFORCE", said)
    ours = session(budget=1)
    ours.open_call(call())
    ours.close_call("a", answered(10))
    [finding] = ours.findings
    assert (finding.type, finding.count) == ("budget_exceeded", 1)
    assert "It was sent, because budgets are not enforced." in finding.message


def test_watching_notes_a_model_without_a_price() -> None:
    ours = Session(1, prices={"other": Price(input=1, output=1)}, enforce=False)
    ours.open_call(call())
    [finding] = ours.findings
    assert "no price is known for 'openai:m'" in finding.message


def test_a_word_that_is_not_known_does_not_enforce_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEIROS_ENFORCE", "banana")
    with pytest.raises(ConfigError, match="APEIROS_ENFORCE must be 0 or 1, got 'banana'"):
        session()


def test_a_stream_that_is_collected_in_the_middle_of_a_change_is_closed_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = session()
    for name in ("abandoned", "a"):
        ours.open_call(call(name))
    count = Health.counting

    def collected(health: Health, entry: Any) -> Health:
        # As the garbage collector does: in this thread, inside the section that this thread has locked.
        assert ours.close_call("abandoned", Outcome(ending="cut", error="GeneratorExit")) is None
        return count(health, entry)

    monkeypatch.setattr(Health, "counting", collected)
    closing = threading.Thread(target=ours.close_call, args=("a", answered(10)), daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive(), "it waits for a lock that it holds itself"
    assert sorted(entry.id for entry in ours.entries()) == ["a", "abandoned"]
    assert (ours.open_holds, ours.health.usage_estimated) == (0, 1)


def test_a_call_that_was_taken_for_unsent_and_ends_after_all_is_recorded() -> None:
    ours = session()
    ours.open_call(call())
    assert ours.close_call("a", Outcome(ending="unsent", provisional=True)) is None
    assert ours.entries() == []
    ours.close_call("a", answered(7, 2))
    assert [entry.kind for entry in ours.entries()] == ["llm"]
    assert ours.spent == 9


def test_a_refusal_is_remembered_for_its_root_run_only() -> None:
    ours = session(budget=30)
    ours.open_call(call("big", "word " * 8, root="one"))
    with pytest.raises(BudgetExceeded):
        ours.open_call(call("refused", "word " * 5, root="two"))
    ours.close_call("big", answered(1, 10))
    with pytest.raises(BudgetExceeded, match="It was not sent"):
        ours.open_call(call("retried", "word " * 5, root="two"))
    with pytest.raises(BudgetExceeded):
        ours.open_call(call("dearer", "word " * 20, root="two"))
    ours.open_call(call("cheaper", "w", root="two", maximum=1))
    ours.open_call(call("other", "word ", root="three", maximum=1))
    assert [(finding.type, finding.count) for finding in ours.findings] == [("budget_exceeded", 3)]


def test_a_call_whose_price_fails_keeps_the_budget_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = session()
    ours.open_call(call())
    held = ours._account.held.nano
    monkeypatch.setattr("apeiros_callbacks.recorder.settle", lambda *_: 1 / 0)
    entry = ours.close_call("a", answered(10))
    assert entry is not None
    assert (entry.amount, entry.usage_certainty) == (None, "unresolved")
    assert ours._account.spent.nano == held > 0
    assert (ours.health.failures, ours.health.unresolved, ours.open_holds) == (1, 1, 0)


def test_a_stream_extends_its_hold_and_is_cut_at_the_cap() -> None:
    ours = session(budget=200)
    opened = ours.open_call(call(maximum=5))
    with pytest.raises(BudgetExceeded) as cut:
        for _ in range(1000):
            ours.grow_call(opened, "word ")
    assert cut.value.mid_stream
    entry = ours.close_call("a", Outcome(ending="cut", error="BudgetExceeded"))
    assert entry is not None
    assert 150 <= entry.usage.output_tokens <= 200
    assert ours.spent <= 202


def test_state_is_plain_data() -> None:
    ours = session(budget=20, id="mine")
    ours.open_call(call())
    ours.close_call("a", answered(15))
    with pytest.raises(BudgetExceeded):
        ours.open_call(call("b"))
    state = json.loads(json.dumps(ours.state()))
    assert {
        key: state[key] for key in ("session_id", "total_cost", "budget", "remaining", "calls", "tokens")
    } == {
        "session_id": "mine",
        "total_cost": 15.0,
        "budget": 20.0,
        "remaining": 5.0,
        "calls": 1,
        "tokens": 15,
    }
    assert [warning["type"] for warning in state["warnings"]] == ["budget_exceeded"]
    assert all(warning["message"] for warning in state["warnings"])


def test_a_session_shows_itself() -> None:
    ours = session(budget=100, id="mine")
    for name, agent in (("a", "<reader>"), ("b", None)):
        ours.open_call(call(name, agent=agent))
        ours.close_call(name, answered(10, 1))
    ours.open_tool("t", "search", agent="<reader>")
    ours.close_tool("t")
    assert str(ours) == (
        "mine: $22.0000 of $100.0000 spent, 2 calls\n\n"
        "#  agent     model     in  cached  out      cost     spent\n"
        "1  <reader>  m         10       0    1  $11.0000  $11.0000\n"
        "2  -         m         10       0    1  $11.0000  $22.0000\n"
        "3  <reader>  ↳ search                             $22.0000"
    )
    html = ours._repr_html_()
    assert "22% of the budget spent" in html
    assert "<reader>" not in html
    assert repr(ours) == "<Session mine: $22.0000 of $100.0000 spent, 2 calls>"
    assert str(ours.findings) == "no findings"


def test_a_first_call_that_is_refused_for_the_answer_it_may_get_says_so() -> None:
    ours = Session(0.01)
    model = {"provider": "openai", "model": "gpt-4o", "prompt": Prompt((1,), lambda _: Piece("hi"))}
    with pytest.raises(BudgetExceeded, match=r"An answer of 2,048 tokens is assumed, since gpt-4o has not"):
        ours.open_call(Call(id="a", **model))
    opened = ours.open_call(Call(id="b", max_output_tokens=100, **model))
    ours.close_call("b", answered(8, 500))
    assert opened.estimate is not None
    with pytest.raises(BudgetExceeded) as known:
        ours.open_call(Call(id="c", **model))
    assert "is assumed" not in str(known.value), "it is as long as the last one"


def test_a_prompt_that_does_not_fit_is_not_put_down_to_its_answer() -> None:
    with pytest.raises(BudgetExceeded) as long:
        session(3).open_call(call(text="word " * 100, maximum=None))
    assert "is assumed" not in str(long.value)


def test_a_cut_stream_is_found_once() -> None:
    ours = session(20)
    opened = ours.open_call(call(maximum=10))
    with pytest.raises(BudgetExceeded):
        ours.grow_call(opened, "word " * 100)
    ours.close_call("a", Outcome(ending="cut", error="BudgetExceeded"))
    (finding,) = ours.findings
    assert (finding.count, ours.spent > 20) == (1, True)
    assert "the limit and was cut" in finding.message


def test_a_name_that_is_empty_is_none() -> None:
    with pytest.raises(ConfigError, match="leave it out for a random one"):
        session(id=" ")


def test_a_wrong_budget_of_an_agent_names_the_agent() -> None:
    with pytest.raises(InvalidBudget, match=r"agent_budgets\['researcher'\]"):
        session(agent_budgets={"researcher": -1})


def test_a_call_that_failed_is_shown_as_failed() -> None:
    ours = session()
    ours.open_call(call())
    ours.close_call("a", Outcome(ending="failed", error="AuthenticationError 401"))
    assert str(ours).splitlines()[-1].split()[-2:] == ["failed", "$0.0000"]


def test_a_session_is_not_pickled_and_says_what_to_do_instead() -> None:
    ours = session()
    assert copy.copy(ours) is copy.deepcopy(ours) is ours
    with pytest.raises(TypeError, match="Give each process one of its own"):
        pickle.dumps(ours)


def test_totals_by_agent() -> None:
    ours = session(budget=None)
    for name, agent, tokens in (("a", "x", 10), ("b", "y", 30), ("c", "x", 5)):
        ours.open_call(call(name, agent=agent))
        ours.close_call(name, answered(tokens))
    totals = roll_up(ours.entries(), "agent")
    assert [(name, sums.cost, sums.calls) for name, sums in totals.items()] == [
        ("y", Decimal(30), 1),
        ("x", Decimal(15), 2),
    ]


def test_a_ledger_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("APEIROS_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    ours = session()
    ours.open_call(call())
    entry = ours.close_call("a", answered(10))
    ours.flush()
    assert ours.entries() == [entry]
    assert (tmp_path / "ledger.db").exists()
    ours.ledger.close()


def test_a_stream_that_nothing_can_cut_goes_on_and_its_run_is_refused_the_next_call() -> None:
    ours = session()
    opened = ours.open_call(call(root="run"))
    for _ in range(4):
        ours.grow_call(opened, "word " * 100, can_cut=False)
    (finding,) = ours.findings
    assert "reached the limit and was not cut" in finding.message
    ours.close_call("a", answered(1, 40))
    with pytest.raises(BudgetExceeded):
        ours.open_call(call("b", root="run"))
    assert (ours.spent, ours.open_holds) == (41, 0)

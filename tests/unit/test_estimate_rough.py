"""While a budget has plenty left, prompts are measured and not counted; near the limit nothing changes."""

from __future__ import annotations

from itertools import count

import pytest

from apeiros_callbacks import Budget, BudgetExceeded, Price, Session, Usage
from apeiros_callbacks.call import Call, OpenCall, Outcome, Piece, Prompt
from apeiros_callbacks.estimate import Estimator

PRICES = {"*": Price(input=1, output=1)}  # a millionth of a dollar a token
WORDS = "word " * 400
TOKENS, BYTES = 400, 2_000
_numbers = count()


def call(text: str = WORDS, *, maximum: int = 10) -> Call:
    prompt = Prompt((hash(text),), lambda _: Piece(text))
    name = f"call {next(_numbers)}"
    return Call(id=name, provider="openai", model="gpt-4o", prompt=prompt, max_output_tokens=maximum)


def well_heard(budget: float | Budget) -> Session:
    """A session that knows how its model counts, and what it answers."""
    ours = Session(budget, prices=PRICES)
    for number in range(8):
        text = f"{number} {WORDS}"
        opened = ours.open_call(call(text))
        assert opened.estimate is not None
        assert not opened.estimate.is_rough
        usage = Usage(input_tokens=opened.estimate.input_tokens, output_tokens=10)
        ours.close_call(opened.call.id, Outcome(ending="answered", usage=usage))
    return ours


def is_counted(opened: OpenCall) -> bool:
    assert opened.estimate is not None
    return opened.estimate.input_tokens < TOKENS * 1.1


@pytest.mark.parametrize("budget", [100, Budget(tokens=10_000_000), Budget(calls=20)])
def test_with_plenty_left_a_prompt_is_measured(budget: float | Budget) -> None:
    opened = well_heard(budget).open_call(call())
    assert opened.estimate is not None
    assert opened.estimate.is_rough
    assert BYTES <= opened.estimate.input_tokens <= BYTES + 20


@pytest.mark.parametrize("budget", [0.5, Budget(tokens=1_000_000)])
def test_near_the_limit_a_prompt_is_counted(budget: float | Budget) -> None:
    assert is_counted(well_heard(budget).open_call(call()))


def test_what_was_measured_is_counted_when_it_gets_tight() -> None:
    ours = well_heard(100)
    assert not is_counted(ours.open_call(call()))
    dear = ours.open_call(call("word"))
    ours.close_call(dear.call.id, Outcome(ending="answered", usage=Usage(output_tokens=99_000_000)))
    assert is_counted(ours.open_call(call()))


def test_the_same_calls_fit_whether_they_were_measured_before_or_not() -> None:
    sent = []
    for plenty in (True, False):
        ours = well_heard(100 if plenty else 0.5)
        dear = ours.open_call(call("word"))
        left = int((float(ours.remaining or 0) - 0.002) * 1e6)  # room for four calls
        ours.close_call(dear.call.id, Outcome(ending="answered", usage=Usage(output_tokens=left)))
        n = 0
        with pytest.raises(BudgetExceeded):
            while True:
                opened = ours.open_call(call(maximum=10))
                usage = Usage(input_tokens=TOKENS, output_tokens=10)
                ours.close_call(opened.call.id, Outcome(ending="answered", usage=usage))
                n += 1
        sent.append(n)
    assert sent[0] == sent[1] > 0


def test_an_answer_without_usage_is_recorded_as_counted() -> None:
    ours = well_heard(100)
    opened = ours.open_call(call())
    entry = ours.close_call(opened.call.id, Outcome(ending="answered", text="word"))
    assert entry is not None
    assert entry.usage_certainty == "estimated"
    assert TOKENS <= entry.usage.input_tokens <= TOKENS * 1.1


def test_a_stream_that_outgrows_its_hold_is_counted() -> None:
    ours = well_heard(100)
    opened = ours.open_call(call(maximum=100_000))
    assert not is_counted(opened)
    ours.grow_call(opened, "word " * 4_000)
    assert is_counted(opened)


@pytest.mark.parametrize(
    "text", ["word", "", "naïve café", "漢字かな交じり文", "🙂" * 30, "x" * 500, "{}[];" * 40]
)
def test_a_rough_estimate_is_never_below_the_counted_one(text: str) -> None:
    estimator = Estimator()
    for number in range(8):
        heard = call(f"{number} {WORDS}")
        counted = estimator.estimate(heard)
        estimator.learn(heard, counted, Usage(input_tokens=2 * counted.input_tokens, output_tokens=1))
    asked = call(text)
    rough = estimator.rough(asked)
    assert rough is not None
    assert rough.input_tokens >= estimator.estimate(asked).input_tokens


def test_what_was_counted_before_is_estimated_as_exactly_as_ever() -> None:
    estimator = Estimator()
    for number in range(8):
        heard = call(f"{number} {WORDS}")
        counted = estimator.estimate(heard)
        estimator.learn(heard, counted, Usage(input_tokens=counted.input_tokens // 2 + 10, output_tokens=1))
    asked = call(WORDS)
    exact = estimator.estimate(asked)
    assert exact.input_tokens < TOKENS * 0.9, "a provider that reports less than is counted"
    assert estimator.rough(asked) == exact


def test_before_the_ratio_is_known_and_under_strict_there_is_no_rough_estimate() -> None:
    assert Estimator().rough(call()) is None
    assert Estimator(strict=True).rough(call()) is None

"""A session in one line."""

from __future__ import annotations

import pytest

from apeiros_callbacks import Budget, Price, Session, Usage
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.display import session_line


@pytest.mark.parametrize(
    ("budget", "line"),
    [
        (None, "s: $1.2000 spent, 1 call"),
        (Budget(usd=5), "s: $1.2000 of $5.0000 spent, 1 call"),
        (Budget(calls=5), "s: $1.2000 spent, 1 of 5 calls"),
        (Budget(calls=1), "s: $1.2000 spent, 1 of 1 call"),
        (Budget(tokens=200_000), "s: $1.2000 spent, 1 call, 1,200 of 200,000 tokens"),
        (
            Budget(usd=5, calls=5, tokens=200_000),
            "s: $1.2000 of $5.0000 spent, 1 of 5 calls, 1,200 of 200,000 tokens",
        ),
    ],
    ids=str,
)
def test_the_line_shows_what_the_budget_counts(budget: Budget | None, line: str) -> None:
    session = Session(budget, id="s", prices={"m": Price(input=1_000, output=1_000)})
    prompt = Prompt((1,), lambda _: Piece("word"))
    session.open_call(Call(id="a", provider="openai", model="m", prompt=prompt, max_output_tokens=1))
    session.close_call("a", Outcome(ending="answered", usage=Usage(input_tokens=1_000, output_tokens=200)))
    assert session_line(session) == line

"""Errors say what happened, with the numbers, and survive the way between processes."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest

from apeiros_callbacks import BudgetExceeded, Finding, Refused, StoppedByFinding, UnknownPrice
from apeiros_callbacks.errors import GateFailed, Unbounded


def refusal(needed: str = "0.36", unit: str = "usd", held: str = "0", *, cut: bool = False) -> BudgetExceeded:
    return BudgetExceeded(
        "session s", unit, Decimal("0.5"), Decimal("0.35"), Decimal(held), Decimal(needed),
        model="gpt-4o", mid_stream=cut, advice="Raise it.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("needed", "shown"),
    [
        ("0.36", "$0.36"),
        ("0.3612", "$0.3612"),
        ("0.361", "$0.3610"),
        ("0.0000123", "$0.000012"),
        ("1200", "$1,200.00"),
    ],
)
def test_amounts_are_shown_as_far_as_they_say_something(needed: str, shown: str) -> None:
    assert f"needs about {shown}. It was not sent. Raise it." in str(refusal(needed))


@pytest.mark.parametrize(
    ("unit", "numbers", "said"),
    [
        ("calls", "1 1 0 1", "budget of 1 call for s: 1 of 1 call used; this call would be one more."),
        (
            "calls",
            "3 1 2 1",
            (
                "budget of 3 calls for s: 1 of 3 calls used and 2 calls held by open calls; "
                "this call would be one more."
            ),
        ),
        (
            "tokens",
            "200000 1 1 199999",
            (
                "budget of 200,000 tokens for s: 1 of 200,000 tokens used and 1 token held by open calls; "
                "this call needs about 199,999 tokens."
            ),
        ),
    ],
)
def test_counts_are_shown_as_counts(unit: str, numbers: str, said: str) -> None:
    limit, spent, held, needed = map(Decimal, numbers.split())
    shown = str(BudgetExceeded("s", unit, limit, spent, held, needed))
    assert shown == f"{said} It was not sent."


def test_a_cut_stream_says_so() -> None:
    assert "the stream to gpt-4o reached the limit and was cut." in str(refusal(cut=True))


REFUSALS = [
    refusal(cut=True),
    UnknownPrice("openai", "x", "typo?"),
    Unbounded("x"),
    StoppedByFinding(Finding(type="retry_loop", severity="notice", message="Again.")),
    GateFailed(KeyError("a")),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error: Refused) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again).keys() == vars(error).keys()


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_the_repr_is_the_message(error: Refused) -> None:
    assert repr(error) == f"{type(error).__name__}({str(error)!r})"


def test_a_refusal_is_an_ordinary_exception() -> None:
    assert not issubclass(BudgetExceeded, RuntimeError | ValueError | OSError)

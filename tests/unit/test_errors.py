"""Errors say what happened, with the numbers, and survive the way between processes."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from apeiros_callbacks import BudgetExceeded, Refused, UnknownPrice
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


def test_counts_are_shown_as_counts() -> None:
    assert "budget of 0.5 calls" in str(refusal(unit="calls"))


def test_a_cut_stream_says_so() -> None:
    assert "the stream to gpt-4o reached the limit and was cut." in str(refusal(cut=True))


@pytest.mark.parametrize(
    "error",
    [refusal(cut=True), UnknownPrice("openai", "x", "typo?"), Unbounded("x"), GateFailed(KeyError("a"))],
)
def test_errors_survive_pickling(error: Refused) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again).keys() == vars(error).keys()


def test_a_refusal_is_an_ordinary_exception() -> None:
    assert not issubclass(BudgetExceeded, RuntimeError | ValueError | OSError)

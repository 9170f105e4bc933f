"""Dollars: exact as a person writes them, whole nano-dollars in counters."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apeiros_callbacks.errors import ConfigError, InvalidBudget
from apeiros_callbacks.money import NANO, exact_usd, from_nano, show_usd, to_nano, to_nano_up


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (0.1, "0.1"),
        (1e-7, "1E-7"),
        (0.1 + 0.2, "0.30000000000000004"),
        (5, "5"),
        (0, "0"),
        (Decimal("2.50"), "2.50"),
    ],
)
def test_an_amount_is_read_as_it_prints(written: float | Decimal, read: str) -> None:
    assert str(exact_usd(written, "budget")) == str(Decimal(read))


@pytest.mark.parametrize(
    "wrong", [True, False, "0.5", None, [1], 1j, math.nan, math.inf, -math.inf, -1, -0.01]
)
def test_what_is_no_amount_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r'^budget must .*Decimal\("0.50"\), got') as error:
        exact_usd(wrong, "budget")
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("text", "said"),
    [("0.5", '; convert it with Decimal("0.5")'), (" 2 ", '; convert it with Decimal("2")'), ("a lot", "")],
)
def test_a_number_in_quotes_is_refused_with_the_way_to_convert_it(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        exact_usd(text, "budget")
    assert str(error.value).endswith(f"got {text!r}{said}")


@pytest.mark.parametrize("wrong", ["NaN", "sNaN", "Infinity", "-1"])
def test_a_decimal_that_is_no_amount_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError):
        exact_usd(Decimal(wrong), "budget")


def test_the_error_is_the_caller_s() -> None:
    with pytest.raises(InvalidBudget):
        exact_usd(-1, "budget", InvalidBudget)


@given(st.integers(-(10**18), 10**18))
def test_a_counter_survives_the_way_to_dollars_and_back(nano: int) -> None:
    assert to_nano(from_nano(nano)) == to_nano_up(from_nano(nano)) == nano


@given(st.decimals(0, 10**9, places=15))
def test_a_hold_is_never_less_than_its_amount(amount: Decimal) -> None:
    up, near = to_nano_up(amount), to_nano(amount)
    with localcontext() as exact:
        exact.prec = 60
        assert 0 <= up - amount * NANO < 1
        assert abs(near - amount * NANO) <= Decimal("0.5")


def test_halves_go_to_the_even_side() -> None:
    assert [to_nano(Decimal(n) / (2 * NANO)) for n in (1, 3, 5)] == [0, 2, 2]


def test_counters_are_exact_whatever_the_program_s_decimal_context() -> None:
    with localcontext() as narrow:
        narrow.prec = 3
        assert from_nano(123_456_789_012) == Decimal("123.456789012")
        assert to_nano(Decimal("123.456789012")) == 123_456_789_012


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "?"),
        ("0.35", "$0.3500"),
        ("1234567.891", "$1,234,567.8910"),
        ("-0.5", "-$0.5000"),
        ("0", "$0.0000"),
    ],
)
def test_amounts_for_a_person(amount: str | None, shown: str) -> None:
    assert show_usd(None if amount is None else Decimal(amount)) == shown


def test_digits_on_request() -> None:
    assert show_usd(Decimal("0.126"), digits=2) == "$0.13"

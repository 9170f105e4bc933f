"""Dollars: `Decimal` in the API, whole nano-dollars in counters.

A counter of nano-dollars (10⁻⁹ USD) in 64 bits reaches 9.2 billion dollars. What is held is rounded
up, what is settled is rounded to the nearest, and the exact decimal stays on the entry.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import TypeAlias

from apeiros_callbacks.errors import ConfigError

__all__ = [
    "NANO", "USD", "Dollars", "exact_usd", "finite_usd", "from_nano", "show_usd", "to_nano", "to_nano_up",
]  # fmt: skip

Dollars: TypeAlias = Decimal | int | float
"""What a person may write for an amount of USD. A float is read as it prints: 0.1 is exactly 0.10."""

USD = Decimal
NANO = 1_000_000_000
_NANO_DIGITS = 9
_MOST_DIGITS = 20
# Wide enough that no amount a counter can hold is ever rounded by accident.
EXACT = Context(prec=60)


def exact_usd(value: object, what: str, error: type[ConfigError] = ConfigError) -> Decimal:
    """Read an amount of USD that a person wrote.

    Args:
        value: a `Decimal`, an `int` or a `float`.
        what: what the amount is for, for the error's sentence.
        error: the error to raise.

    Raises:
        ConfigError: it is a bool, a string, NaN, infinite or negative.

    Example:
        >>> exact_usd(0.1, "budget")
        Decimal('0.1')
    """
    amount = finite_usd(value, what, error)
    if amount < 0:
        raise error(f'{what} must not be negative, such as Decimal("0.50"), got {value!r}')
    return amount


def finite_usd(value: object, what: str, error: type[ConfigError] = ConfigError) -> Decimal:
    """As `exact_usd`, for a caller that says itself which amounts are too small."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float):
        raise error(
            f'{what} must be a number of US dollars such as 0.50 or Decimal("0.50"), got {value!r}'
            f"{_conversion(value)}"
        )
    amount = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    if not amount.is_finite():
        raise error(f'{what} must be a finite number of US dollars such as Decimal("0.50"), got {value!r}')
    if amount.adjusted() > _MOST_DIGITS:
        raise error(f'{what} must be below $9 billion, such as Decimal("0.50"), got about {amount:.1E}')
    return amount


def _conversion(value: object) -> str:
    if not isinstance(value, str):
        return ""
    try:
        Decimal(value)
    except InvalidOperation:
        return ""
    return f'; convert it with Decimal("{value.strip()}")'


def to_nano(amount: Decimal) -> int:
    """Nano-dollars, rounded to the nearest (half to even)."""
    return int(amount.scaleb(_NANO_DIGITS, EXACT).to_integral_value(ROUND_HALF_EVEN))


def to_nano_up(amount: Decimal) -> int:
    """Nano-dollars, rounded up: what a hold sets aside."""
    return int(amount.scaleb(_NANO_DIGITS, EXACT).to_integral_value(ROUND_CEILING))


def from_nano(nano: int) -> Decimal:
    """US dollars of a counter, exactly, without zeros at the end."""
    amount = Decimal(nano).scaleb(-_NANO_DIGITS, EXACT)
    whole = amount.to_integral_value()
    return whole if amount == whole else amount.normalize(EXACT)


def show_usd(amount: Decimal | None, digits: int = 4) -> str:
    """An amount for a person; an unknown one is ``?``.

    Example:
        >>> show_usd(Decimal("0.35")), show_usd(None)
        ('$0.3500', '?')
    """
    if amount is None:
        return "?"
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.{digits}f}"

"""A `Cap` as a row of the table ``cap``, and back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.money import to_nano

__all__ = ["CAP_COLUMNS", "cap_of_row", "row_of_cap"]

CAP_COLUMNS = "scope, usd, usd_nano, alert_at, period, timezone, plan_price"

_MOST = Decimal(9_000_000_000)


def row_of_cap(cap: Cap) -> tuple[Any, ...]:
    """The values of `CAP_COLUMNS`.

    Raises:
        ConfigError: the limit is more than a counter can hold.
    """
    if cap.usd is not None and cap.usd > _MOST:
        raise ConfigError(f"a cap must be below $9 billion, got {cap.usd}")
    usd = cap.usd
    return (
        cap.scope,
        _text(usd),
        None if usd is None else to_nano(usd),
        _text(cap.alert_at),
        cap.period,
        cap.timezone,
        _text(cap.plan_price),
    )


def cap_of_row(row: Sequence[Any]) -> Cap:
    """The cap of a row of `CAP_COLUMNS`."""
    scope, usd, _, alert_at, period, timezone, plan_price = row
    return Cap(
        scope,
        usd=_amount(usd),
        alert_at=_amount(alert_at),
        period=period,
        timezone=timezone,
        plan_price=_amount(plan_price),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)

"""Moments as a ledger keeps them: whole microseconds since 1970-01-01 00:00 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["instant_of", "moment_at"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant_of(moment: datetime) -> int:
    """The microseconds of a moment.

    Example:
        >>> instant_of(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
        1000000
    """
    return (moment - _EPOCH) // _MICROSECOND


def moment_at(instant: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + timedelta(microseconds=instant)

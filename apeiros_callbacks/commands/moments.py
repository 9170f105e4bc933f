"""Times as a person reads and writes them: in the time zone of this machine."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

__all__ = ["clock_time", "day_start", "moment_of", "now", "short_time"]

_AGO = re.compile(r"(\d{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")


def now() -> datetime:
    """The present time, in the time zone of this machine."""
    return datetime.now(UTC).astimezone()


def day_start(moment: datetime) -> datetime:
    """The midnight before a moment, in its time zone."""
    return moment.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None).astimezone()


def moment_of(text: str) -> datetime:
    """Read a time: ``today``, ``90m``, ``24h``, ``7d`` or ``4w`` ago, or ``2026-11-25T14:30``.

    Raises:
        typer.BadParameter: it is none.
    """
    if text == "today":
        return day_start(now())
    if ago := _AGO.fullmatch(text):
        return now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form).astimezone()
        except ValueError:
            continue
    raise typer.BadParameter(f"{text!r} is no time; write 2026-11-25, 2026-11-25T14:30, today, 24h or 7d")


def clock_time(moment: datetime) -> str:
    """The time of a day, to the second."""
    return f"{moment.astimezone():%H:%M:%S}"


def short_time(moment: datetime) -> str:
    """A time in 12 cells or less: the time of today, the day and time of this year, or the date.

    Example:
        >>> short_time(datetime(1999, 11, 24, 12, tzinfo=UTC))
        '1999-11-24'
    """
    here, present = moment.astimezone(), now()
    if here.date() == present.date():
        return f"{here:%H:%M}"
    return f"{here:%b %d %H:%M}" if here.year == present.year else f"{here:%Y-%m-%d}"

"""A limit that processes share, for each day, week or month of its own time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.money import Dollars, exact_usd, show_usd

__all__ = [
    "Cap",
    "Period",
    "checked_alert",
    "checked_customer",
    "customer_of",
    "customer_scope",
    "is_customer",
    "is_period_scope",
    "kind_of_period",
    "period_end",
    "period_of",
    "period_scope",
    "period_start",
    "zone_of",
]

Period: TypeAlias = Literal["day", "week", "month"]

_PERIOD = re.compile(r"/\d{4}-(?:\d\d|W\d\d|\d\d-\d\d)$")


@dataclass(frozen=True, slots=True, init=False)
class Cap:
    """What one scope, such as a customer, may spend in each period.

    Args:
        scope: whose limit it is, for instance ``"customer:acme"``.
        usd: US dollars for each period; None for no limit.
        alert_at: US dollars of a period at which somebody is told; None for never.
        period: ``"day"``, ``"week"`` (from Monday, as ISO 8601 counts) or ``"month"``.
        timezone: the IANA name of the zone whose midnight divides the periods.
        plan_price: US dollars that the customer pays for a period, for the margin in reports.

    Raises:
        ConfigError: an amount, the period or the time zone is not valid.

    Example:
        >>> from datetime import UTC
        >>> cap = Cap("customer:acme", usd=250, timezone="America/Los_Angeles")
        >>> cap.period_at(datetime(2026, 11, 1, 6, 59, tzinfo=UTC))
        '2026-10'
    """

    scope: str
    usd: Decimal | None
    alert_at: Decimal | None
    period: Period
    timezone: str
    plan_price: Decimal | None

    def __init__(
        self,
        scope: str,
        *,
        usd: Dollars | None = None,
        alert_at: Dollars | None = None,
        period: Period = "month",
        timezone: str = "UTC",
        plan_price: Dollars | None = None,
    ) -> None:
        if not isinstance(scope, str) or not scope:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a cap needs a scope such as 'customer:acme', got {scope!r}")
        if period not in get_args(Period):
            raise ConfigError(f'period must be "day", "week" or "month", got {period!r}')
        zone_of(timezone)
        object.__setattr__(self, "scope", scope)
        object.__setattr__(self, "usd", None if usd is None else exact_usd(usd, "usd"))
        object.__setattr__(self, "alert_at", None if alert_at is None else exact_usd(alert_at, "alert_at"))
        object.__setattr__(self, "period", period)
        object.__setattr__(self, "timezone", timezone)
        price = None if plan_price is None else exact_usd(plan_price, "plan_price")
        object.__setattr__(self, "plan_price", price)

    def period_at(self, moment: datetime) -> str:
        """The name of the period that a moment is in: ``2026-11-25``, ``2026-W48`` or ``2026-11``."""
        return period_of(moment, self.period, self.timezone)


def period_of(moment: datetime, period: Period = "month", timezone: str = "UTC") -> str:
    """The name of the period that a moment is in, in a time zone.

    Example:
        >>> from datetime import UTC
        >>> moment = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
        >>> period_of(moment), period_of(moment, "day", "Europe/Berlin"), period_of(moment, "week")
        ('2026-12', '2027-01-01', '2026-W53')
    """
    there = moment.astimezone(zone_of(timezone))
    if period == "day":
        return f"{there:%Y-%m-%d}"
    if period == "week":
        year, week, _ = there.isocalendar()
        return f"{year}-W{week:02}"
    return f"{there:%Y-%m}"


def period_start(name: str, timezone: str = "UTC") -> datetime:
    """The moment at which a period begins.

    Raises:
        ConfigError: it is no period's name.

    Example:
        >>> period_start("2026-11", "America/New_York").isoformat()
        '2026-11-01T00:00:00-04:00'
    """
    try:
        if kind_of_period(name) == "week":
            day = datetime.strptime(f"{name}-1", "%G-W%V-%u")  # noqa: DTZ007 - the zone is added below
        else:
            written = "%Y-%m-%d" if kind_of_period(name) == "day" else "%Y-%m"
            day = datetime.strptime(name, written)  # noqa: DTZ007
    except ValueError:
        raise ConfigError(f"write a month such as '2026-11', got {name!r}") from None
    return datetime.combine(day.date(), time(), zone_of(timezone))


def period_end(name: str, timezone: str = "UTC") -> datetime:
    """The moment at which a period ends and the next begins."""
    start = period_start(name, timezone)
    kind = kind_of_period(name)
    if kind == "week":
        days = 7
    elif kind == "day":
        days = 1
    else:
        days = ((start.replace(day=1) + timedelta(days=32)).replace(day=1) - start.replace(day=1)).days
    return datetime.combine((start + timedelta(days=days)).date(), time(), start.tzinfo)


def kind_of_period(name: str) -> Period:
    """Whether a period's name is that of a day, a week or a month.

    Example:
        >>> kind_of_period("2026-11-25"), kind_of_period("2026-W48"), kind_of_period("2026-11")
        ('day', 'week', 'month')
    """
    if "-W" in name:
        return "week"
    return "day" if name.count("-") == 2 else "month"


def checked_customer(customer_id: object) -> str:
    """A customer's name, if it can be one.

    Raises:
        ConfigError: it is no text, is empty, or ends like the name of a period.
    """
    if not isinstance(customer_id, str) or not customer_id.strip():
        raise ConfigError(f"a customer has a name such as 'acme', got {customer_id!r}")
    if _PERIOD.search(customer_id):
        raise ConfigError(f"a customer's name must not end like a period, got {customer_id!r}")
    return customer_id


def checked_alert(alert_at: Decimal | None, usd: Decimal | None) -> Decimal | None:
    """US dollars at which somebody is told, if that can come before the limit.

    Raises:
        ConfigError: it is more than the limit.
    """
    if usd is not None and alert_at is not None and alert_at > usd:
        raise ConfigError(
            f"alert_at is {show_usd(alert_at, 2)}, more than the limit of {show_usd(usd, 2)}: "
            "nobody would be told before the limit is reached"
        )
    return alert_at


def is_customer(customer_id: object) -> bool:
    """Whether something can be a customer's name."""
    try:
        checked_customer(customer_id)
    except ConfigError:
        return False
    return True


def is_period_scope(scope: str) -> bool:
    """Whether a scope is one period of another.

    Example:
        >>> is_period_scope("customer:acme/2026-11"), is_period_scope("customer:acme")
        (True, False)
    """
    return _PERIOD.search(scope) is not None


def customer_scope(customer_id: str) -> str:
    """The scope that a customer's entries are charged to.

    Example:
        >>> customer_scope("acme")
        'customer:acme'
    """
    return f"customer:{customer_id}"


def customer_of(scope: str) -> str | None:
    """The customer of a scope that `customer_scope` gave, or None.

    Example:
        >>> customer_of("customer:acme"), customer_of("session:3f2a")
        ('acme', None)
    """
    kind, colon, name = scope.partition(":")
    return name if colon and kind == "customer" else None


def period_scope(scope: str, period: str) -> str:
    """The scope of one period of a scope.

    Example:
        >>> period_scope("customer:acme", "2026-11")
        'customer:acme/2026-11'
    """
    return f"{scope}/{period}"


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, TypeError, KeyError):
        raise ConfigError(
            f"there is no time zone {name!r}: write an IANA name such as 'Europe/Berlin'"
        ) from None

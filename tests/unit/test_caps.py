"""Caps and the periods they are for."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apeiros_callbacks import ConfigError
from apeiros_callbacks.caps import Cap, period_end, period_of, period_start

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kathmandu", "Pacific/Apia"])
MOMENTS = st.datetimes(
    datetime(2012, 1, 1),  # noqa: DTZ001 - the zone is added
    datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(MOMENTS, st.sampled_from(["day", "week", "month"]), ZONES)
def test_a_moment_is_in_the_period_that_it_names(moment, period, zone):
    name = period_of(moment, period, zone)
    start, end = period_start(name, zone), period_end(name, zone)
    assert start <= moment < end
    assert period_of(start, period, zone) == name
    # By the clock of UTC, since an hour may come twice by the zone's own.
    before = end.astimezone(UTC) - timedelta(microseconds=1)
    assert period_of(before, period, zone) == name
    assert period_of(end, period, zone) != name


def test_the_month_is_the_customers_own():
    moment = datetime(2026, 11, 1, 6, 59, 59, tzinfo=UTC)
    assert Cap("c", timezone="America/Los_Angeles").period_at(moment) == "2026-10"
    assert Cap("c", timezone="Europe/Berlin").period_at(moment) == "2026-11"


@pytest.mark.parametrize(("zone", "hours"), [("Europe/Berlin", 743), ("America/New_York", 743), ("UTC", 744)])
def test_a_month_in_which_the_clocks_go_forward_is_an_hour_shorter(zone, hours):
    start, end = period_start("2026-03", zone), period_end("2026-03", zone)
    assert (end.astimezone(UTC) - start.astimezone(UTC)) == timedelta(hours=hours)


def test_amounts_are_exact():
    cap = Cap("customer:acme", usd=0.1, alert_at=Decimal("0.05"), plan_price=299)
    assert (cap.usd, cap.alert_at, cap.plan_price) == (Decimal("0.1"), Decimal("0.05"), 299)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"usd": -1}, "must not be negative"),
        ({"usd": "250"}, 'convert it with Decimal("250")'),
        ({"alert_at": float("nan")}, "finite"),
        ({"period": "year"}, '"day", "week" or "month"'),
        ({"timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"timezone": None}, "no time zone None"),
        ({"timezone": "../etc/passwd"}, "no time zone"),
    ],
)
def test_what_cannot_be_is_said(given, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        Cap("customer:acme", **given)


@pytest.mark.parametrize("name", ["", "November", "2026-13", "2026-W60", "2026"])
def test_a_period_that_is_none_is_said(name):
    with pytest.raises(ConfigError, match="write a month"):
        period_start(name)

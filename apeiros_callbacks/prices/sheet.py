"""Everything that decides what a model is charged, in one place for a person to check."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from apeiros_callbacks.entry import PriceCertainty
from apeiros_callbacks.prices.book import PriceBook
from apeiros_callbacks.prices.catalog import Catalog, Row, catalog
from apeiros_callbacks.prices.names import Context, is_local, price_context, split, tidy
from apeiros_callbacks.prices.rates import Rates
from apeiros_callbacks.usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

__all__ = ["DataAge", "PriceSheet", "Step", "Window", "data_age", "price_sheet", "tool_sheet"]

_OLDEST = date(2020, 1, 1)  # an earlier date of a file is a packager's placeholder


@dataclass(frozen=True, slots=True)
class Step:
    """The unit prices of calls whose input is above a size."""

    above: int
    """Tokens; 0 for the smallest calls."""
    prices: Mapping[str, Decimal]
    """As `Charge.unit_prices`."""


@dataclass(frozen=True, slots=True)
class Window:
    """The unit prices at some hours of the day."""

    hours: tuple[tuple[time, time], ...]
    """From and to, in UTC; none when the time of day changes nothing."""
    now: bool
    """Whether these are the hours asked about."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """What a model is charged, and why."""

    provider: str
    model: str
    at: datetime
    context: Mapping[str, str]
    """What was asked for beyond the standard price, such as ``{"service_tier": "flex"}``."""
    certainty: PriceCertainty
    source: str
    missing: tuple[str, ...]
    windows: tuple[Window, ...]
    listed: Mapping[str, Decimal] | None = None
    """What the price data say, where a price of your own is charged instead."""
    context_window: int | None = None
    since: date | None = None
    until: date | None = None
    """The day, in UTC, from which another price is listed."""
    tiers: tuple[str, ...] = ()
    """What else has a price of its own."""
    check_at: tuple[str, ...] = ()
    """The provider's pages with its prices."""
    notes: str = ""

    @property
    def now(self) -> Window:
        """The prices at the time asked about."""
        return next(window for window in self.windows if window.now)


@dataclass(frozen=True, slots=True)
class DataAge:
    """Which price data are in use, and how old they are."""

    package: str
    """The installed version of genai-prices."""
    models: int
    newest: date | None
    """The newest day from which a price in them holds: they are at least as new as that."""
    fetched_at: datetime | None = None
    url: str = ""
    made_with: str = ""
    """The version of genai-prices that was installed when refreshed data were fetched."""
    file_date: date | None = None
    """The date of the bundled data's file, which carries none of its own."""


def price_sheet(
    book: PriceBook, provider: str, model: str, at: datetime, tier: str | None = None
) -> PriceSheet | None:
    """What a call would be charged at these names, None when nobody knows.

    Args:
        book: the declared prices.
        provider: as for `PriceBook.rates`.
        model: as for `PriceBook.rates`.
        at: when the call is made; UTC when it has no time zone.
        tier: a service tier, or any other word by which the price data list a price, such as ``batch``.
    """
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    data = catalog()
    row = _row(data, provider, model)
    asked = _asked(row, tier)
    rates = book.rates(provider, model, at, asked)
    if rates is None:
        return None
    context = price_context(asked)
    listed = data.rates(row, at, context) if row is not None else None
    if row is None or listed is None or rates.source != listed.source:
        beside = listed if rates.certainty == "override" or rates.source == "override" else None
        whole = Window((), True, (Step(0, _prices(rates, 0)),))
        return PriceSheet(
            provider or (row.provider if row and beside else ""),
            model,
            at,
            dict(context),
            rates.certainty,
            rates.source,
            rates.missing,
            (whole,),
            listed=None if beside is None else _prices(beside, 0),
            context_window=row.model.context_window if row and beside else None,
        )
    maker = next(known for known in data.providers if known.id == row.provider)
    starts = _starts(row.model)
    return PriceSheet(
        row.provider,
        row.model.id,
        at,
        dict(context),
        rates.certainty,
        rates.source,
        rates.missing,
        _windows(data, row, at, context),
        context_window=row.model.context_window,
        since=max((start for start in starts if start <= at.date()), default=None),
        until=min((start for start in starts if start > at.date()), default=None),
        tiers=_tiers(row.model, at) if row.own else (),
        check_at=tuple(maker.pricing_urls or ()),
        notes=" ".join((row.model.price_comments or "").split()),
    )


def tool_sheet(book: PriceBook, name: str, at: datetime) -> PriceSheet | None:
    """What a call of a tool is charged, None when it has no price and is free."""
    rates = book.tool(name)
    if rates is None:
        return None
    whole = Window((), True, (Step(0, _prices(rates, 0)),))
    return PriceSheet("", f"tool:{name}", at, {}, rates.certainty, rates.source, rates.missing, (whole,))


def data_age(today: date) -> DataAge:
    """Which price data are in use, and how old they are."""
    data = catalog()
    models = [model for provider in data.providers for model in provider.models]
    starts = [start for model in models for start in _starts(model) if start <= today]
    age = DataAge(version("genai-prices"), len(models), max(starts, default=None))
    if (kept := data.refreshed) is not None:
        return DataAge(age.package, age.models, age.newest, kept.fetched_at, kept.url, kept.made_with)
    return DataAge(age.package, age.models, age.newest, file_date=_file_date())


def _file_date() -> date | None:
    found = importlib.util.find_spec("genai_prices.data")
    if found is None or found.origin is None or not (file := Path(found.origin)).exists():
        return None
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
    return day if day >= _OLDEST else None


def _row(data: Catalog, provider: str, model: str) -> Row | None:
    tidied, named = tidy(provider), tidy(model)
    if tidied is None or named is None:
        return None
    names = split(tidied, named)
    return None if is_local(*names) else data.find(*names)


def _asked(row: Row | None, tier: str | None) -> dict[str, str]:
    if not tier:
        return {}
    for variant in (row.model.price_variants or ()) if row is not None and row.own else ():
        if tier.lower() in variant.when.values():
            return dict(variant.when)
    return {"service_tier": tier}


def _prices(rates: Rates, above: int) -> Mapping[str, Decimal]:
    return rates.charge(Usage(input_tokens=above + 1 if above else 0)).unit_prices


def _windows(data: Catalog, row: Row, at: datetime, asked: Context) -> tuple[Window, ...]:
    """The day, cut at every time at which the price may change, hours of the same prices together."""
    edges = _edges(row.model) or (time(0),)
    current = next((edge for edge in reversed(edges) if edge <= at.time()), edges[-1])
    now = _steps(data, row, datetime.combine(at.date(), current, UTC), asked)
    found: list[tuple[tuple[Step, ...], list[tuple[time, time]]]] = []
    for start, end in zip(edges, (*edges[1:], edges[0]), strict=True):
        steps = _steps(data, row, datetime.combine(at.date(), start, UTC), asked)
        spans = next((spans for known, spans in found if known == steps), None)
        if spans is None:
            found.append((steps, [(start, end)]))
        elif spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    if len(found) == 1:
        return (Window((), True, now),)
    return tuple(Window(tuple(spans), steps == now, steps) for steps, spans in found)


def _steps(data: Catalog, row: Row, at: datetime, asked: Context) -> tuple[Step, ...]:
    rates = data.rates(row, at, asked)
    if rates is None:
        return ()
    return tuple(Step(above, _prices(rates, above)) for above in (0, *data.tier_starts(row, at, asked)))


def _edges(model: ModelInfo) -> tuple[time, ...]:
    """The times of day, in UTC and in order, at which the price may change."""
    edges: set[time] = set()
    for price in model.prices if isinstance(model.prices, list) else ():
        for name in ("start_time", "end_time"):
            edge: time | None = getattr(price.constraint, name, None)
            if edge is not None:
                aware = edge if edge.tzinfo else edge.replace(tzinfo=UTC)
                edges.add(datetime.combine(_OLDEST, aware).astimezone(UTC).time())
    return tuple(sorted(edges))


def _starts(model: ModelInfo) -> list[date]:
    """The days from which standard prices of a model hold, as far as they are listed."""
    found: list[date] = []
    for price in model.prices if isinstance(model.prices, list) else ():
        start: date | None = getattr(price.constraint, "start_date", None)
        if start is not None:
            found.append(start)
    return found


def _tiers(model: ModelInfo, at: datetime) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                value
                for variant in model.price_variants or ()
                if (variant.constraint is None or variant.constraint.active(at))
                and price_context(variant.when)
                for value in variant.when.values()
            }
        )
    )

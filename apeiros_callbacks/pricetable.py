"""How a price looks: text for a terminal of 80 columns, and plain JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from apeiros_callbacks.layout import plain
from apeiros_callbacks.money import EXACT
from apeiros_callbacks.prices.sheet import DataAge, PriceSheet, Step, Window

__all__ = ["age_json", "age_text", "sheet_json", "show_age", "show_sheet"]

_PER_MILLION: Final = {
    "input": "input",
    "cache_read": "cache read",
    "cache_write": "cache write, 5 min",
    "cache_write_1h": "cache write, 1 h",
    "output": "output",
    "reasoning": "reasoning",
    "input_audio": "audio in",
    "cache_read_audio": "audio in, cached",
    "output_audio": "audio out",
}
_APIECE: Final = {"call": "a call", "web_search": "a web search", "file_search": "a file search"}
# The bucket whose rate holds where one has none of its own. Audio is left out where it is not listed.
_CHARGED_AS: Final = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "reasoning": "output",
}
_MEANING: Final = {
    "listed": "the provider's list price",
    "override": "your own price",
    "assumed": "listed for a name that may not stand for this any more, or not at this provider",
    "partial": "something has no price of its own",
    "free": "nothing is charged",
    "unpriced": "nobody knows",
}
_COLUMNS: Final = 4  # of prices, beside their names, in 80 columns


def show_sheet(console: Console, sheet: PriceSheet, age: DataAge, file: Path | None) -> None:
    """Print what a model is charged; `file` is the one with prices of your own."""
    console.print(_sheet(sheet, age, file), highlight=False, markup=False, width=min(console.width, 80))


def show_age(console: Console, age: DataAge, file: Path | None, declared: int) -> None:
    """Print which price data are in use."""
    own = "none: APEIROS_PRICES names no file" if file is None else f"{declared} in {file}"
    lines = {"data": age_text(age), "listed": f"{age.models:,} models", "prices of your own": own}
    console.print(_lines(lines), highlight=False, markup=False, width=min(console.width, 80))


def age_text(age: DataAge) -> str:
    """Which price data are in use and how old they are, in a sentence."""
    newest = f"the newest price in them is from {age.newest}" if age.newest else "no price in them is dated"
    if age.fetched_at is None:
        dated = f"its file is dated {age.file_date}" if age.file_date else "its file has no date"
        return f"bundled with genai-prices {age.package}; {dated}, {newest}"
    when = age.fetched_at.astimezone(UTC)
    text = f"refreshed {when:%Y-%m-%d %H:%M} UTC from {plain(age.url)}; {newest}"
    if age.made_with != age.package:
        text += (
            f". Since then genai-prices {plain(age.made_with)} became {age.package}, which may be newer: "
            'run "apeiros prices --refresh", or "apeiros prices --bundled"'
        )
    return text


def sheet_json(sheet: PriceSheet, age: DataAge, file: Path | None) -> dict[str, Any]:
    """What a model is charged, for `json.dumps`: amounts as text, times in UTC."""
    return {
        "provider": sheet.provider,
        "model": sheet.model,
        "at": sheet.at.isoformat(),
        "context": dict(sheet.context),
        "unit": "USD per million tokens; call, web_search and file_search in USD apiece",
        "prices": _amounts(sheet.now.steps[0].prices),
        "charged_as": dict(_fallbacks(sheet.now.steps[0].prices)),
        "windows": [
            {
                "utc": [[_clock(start), _clock(end)] for start, end in window.hours] or None,
                "now": window.now,
                "steps": [
                    {"above_input_tokens": step.above, "prices": _amounts(step.prices)}
                    for step in window.steps
                ],
            }
            for window in sheet.windows
        ],
        "certainty": sheet.certainty,
        "missing": list(sheet.missing),
        "source": sheet.source,
        "override": None if not _is_override(sheet) or file is None else str(file),
        "listed": None if sheet.listed is None else _amounts(sheet.listed),
        "data": age_json(age),
        "context_window": sheet.context_window,
        "since": None if sheet.since is None else sheet.since.isoformat(),
        "until": None if sheet.until is None else sheet.until.isoformat(),
        "tiers": list(sheet.tiers),
        "check_at": list(sheet.check_at),
        "notes": sheet.notes,
    }


def age_json(age: DataAge) -> dict[str, Any]:
    """Which price data are in use, for `json.dumps`."""
    return {
        "genai_prices": age.package,
        "from": "bundled" if age.fetched_at is None else "refreshed",
        "fetched_at": None if age.fetched_at is None else age.fetched_at.isoformat(),
        "url": age.url or None,
        "file_date": None if age.file_date is None else age.file_date.isoformat(),
        "newest_price": None if age.newest is None else age.newest.isoformat(),
        "models": age.models,
    }


def _sheet(sheet: PriceSheet, age: DataAge, file: Path | None) -> RenderableType:
    asked = f" ({', '.join(sheet.context.values())})" if sheet.context else ""
    title = Text(plain(f"{sheet.provider} {sheet.model}{asked}".strip()), style="bold")
    columns = [(window, step) for window in sheet.windows for step in window.steps]
    tables = [_table(columns[start : start + _COLUMNS], sheet) for start in range(0, len(columns), _COLUMNS)]
    return Group(title, *tables, _lines(dict(_facts(sheet, age, file))))


def _table(columns: list[tuple[Window, Step]], sheet: PriceSheet) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    tokens = any(bucket in step.prices for _, step in columns for bucket in _PER_MILLION)
    table.add_column("USD per\nmillion tokens" if tokens else "USD", vertical="bottom")
    for window, step in columns:
        table.add_column(_header(window, step, sheet), justify="right", vertical="bottom")
    listed = set[str]().union(*(step.prices for _, step in columns))
    for bucket, label in _PER_MILLION.items():
        if bucket in listed or dict(_fallbacks(columns[0][1].prices)).get(bucket):
            table.add_row(label, *(_cell(step.prices, bucket) for _, step in columns))
    if tokens and "output" not in listed:
        table.add_row("output", *("not listed" for _ in columns))
    for bucket, label in _APIECE.items():
        if bucket in listed:
            table.add_row(f"USD for {label}", *(_cell(step.prices, bucket) for _, step in columns))
    return table


def _header(window: Window, step: Step, sheet: PriceSheet) -> str:
    lines = [f"{_clock(start)}-{_clock(end)} UTC" for start, end in window.hours]
    if lines and window.now:
        lines.append(f"at {sheet.at:%H:%M}")
    if len(window.steps) > 1:
        first = next((other.above for other in window.steps if other.above), 0)
        lines.append(f"input above\n{step.above:,}" if step.above else f"input up to\n{first:,}")
    return "\n".join(lines) or "price"


def _cell(prices: Mapping[str, Decimal], bucket: str) -> Text:
    rate = prices.get(bucket)
    if rate is not None:
        return Text(_amount(rate))
    as_ = dict(_fallbacks(prices)).get(bucket)
    return Text(f"as {_PER_MILLION[as_]}" if as_ else "-", style="dim")


def _facts(sheet: PriceSheet, age: DataAge, file: Path | None) -> Iterator[tuple[str, str]]:
    missing = f": {', '.join(sheet.missing)}; the standard price is charged" if sheet.missing else ""
    yield "certainty", f"{sheet.certainty}, {_MEANING[sheet.certainty]}{plain(missing)}"
    yield "source", plain(sheet.source)
    if _is_override(sheet):
        yield "override", f"yes, from {file}"
        listed = sheet.listed or {}
        rates = ", ".join(f"{bucket} {_amount(rate)}" for bucket, rate in listed.items())
        yield "listed", rates or "no"
    else:
        yield "override", "no" if file else "no: APEIROS_PRICES names no file"
    if sheet.source.startswith("genai-prices") or sheet.listed:
        yield "data", age_text(age)
    if sheet.since and not sheet.context:
        yield "in force", f"since {sheet.since}" + (f", until {sheet.until}" if sheet.until else "")
    elif sheet.until:
        yield "in force", f"until {sheet.until}"
    if sheet.context_window:
        yield "context window", f"{sheet.context_window:,} tokens"
    if sheet.tiers:
        yield "other prices", f"--tier {', '.join(map(plain, sheet.tiers))}"
    if sheet.check_at:
        yield "check at", plain(" ".join(sheet.check_at[:2]))
    if sheet.notes:
        yield "notes", plain(sheet.notes)


def _is_override(sheet: PriceSheet) -> bool:
    return sheet.source == "override"


def _lines(facts: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, fact in facts.items():
        grid.add_row(name, Text(fact))
    return grid


def _fallbacks(prices: Mapping[str, Decimal]) -> Iterator[tuple[str, str]]:
    """The buckets without a rate of their own, and the one whose rate they are charged at."""
    for bucket in _CHARGED_AS:
        if bucket not in prices:
            as_ = _CHARGED_AS[bucket]
            while as_ not in prices and as_ in _CHARGED_AS:
                as_ = _CHARGED_AS[as_]
            if as_ in prices:
                yield bucket, as_


def _amounts(prices: Mapping[str, Decimal]) -> dict[str, str]:
    return {bucket: f"{rate.normalize(EXACT):f}" for bucket, rate in prices.items()}


def _amount(rate: Decimal) -> str:
    """The exact rate, with two decimals at least."""
    shown = f"{rate.normalize(EXACT):f}"
    whole, _, decimals = shown.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}"


def _clock(at: time) -> str:
    return f"{at:%H:%M}"

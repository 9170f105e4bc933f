"""``apeiros prices``."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated

import typer

from apeiros_callbacks.commands.output import WRONG, output, print_json, stop

__all__ = ["prices"]


def prices(
    model: Annotated[
        str | None, typer.Argument(help="A model, such as gpt-4o or azure:gpt-4o; tool:NAME for a tool.")
    ] = None,
    provider: Annotated[str, typer.Option(help="As your framework names it, such as azure_openai.")] = "",
    tier: Annotated[
        str | None, typer.Option(help="Flex, priority, batch or whatever else has a price of its own.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            help="The price at this time in UTC, such as 2026-11-25; now, unless given.",
            metavar="TIME",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, amounts as text.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", metavar="", help="Download today's list, for later runs too.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="With --refresh: where the list is; genai-prices' own, unless given.")
    ] = None,
    bundled: Annotated[
        bool, typer.Option("--bundled", metavar="", help="Go back to the list that genai-prices brings.")
    ] = False,
) -> None:
    """Show what a model is charged, or which price list is in use.

    Nothing is downloaded without --refresh. Prices of your own are in the JSON file that APEIROS_PRICES
    names.
    """
    if (url and not refresh) or sum((refresh, bundled, model is not None)) > 1:
        stop(WRONG, "Give one of MODEL, --refresh and --bundled; --url goes with --refresh.")
    when = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
    if refresh:
        _refresh_prices(url, as_json)
    elif bundled:
        _bundled_prices(as_json)
    else:
        _show_prices(model, provider, tier, when, as_json)


def _refresh_prices(url: str | None, as_json: bool) -> None:
    from apeiros_callbacks.prices.refresh import refresh

    done = refresh(url)
    if as_json:
        print_json(asdict(done) | {"fetched_at": done.fetched_at.isoformat()})
        return
    output().print(
        f"{done.models:,} models of {done.providers} providers, from {done.url}\n"
        f"Against {_label(done.before)}: {done.repriced:,} changed price, {done.added:,} added, "
        f"{done.removed:,} removed.\n"
        'They hold for every process that starts from now on. "apeiros prices --bundled" undoes it.',
        soft_wrap=True,
    )


def _label(version: str) -> str:
    return f"the prices {version}" if version.startswith("refreshed") else f"genai-prices {version}"


def _bundled_prices(as_json: bool) -> None:
    from apeiros_callbacks.prices import stored

    removed = stored.remove()
    if as_json:
        print_json({"removed": removed})
        return
    package = f"the prices bundled with genai-prices {version('genai-prices')}"
    output().print(f"{'Back to' if removed else 'Already in use:'} {package}.")


def _show_prices(model: str | None, provider: str, tier: str | None, at: datetime, as_json: bool) -> None:
    from apeiros_callbacks import pricetable
    from apeiros_callbacks.prices import PriceBook
    from apeiros_callbacks.prices.file import declared_prices, prices_file
    from apeiros_callbacks.prices.sheet import data_age, price_sheet, tool_sheet

    file = prices_file()
    declared = declared_prices()
    age = data_age(datetime.now(UTC).date())
    if model is None:
        if as_json:
            print_json(pricetable.age_json(age) | {"override": file and str(file)})
        else:
            pricetable.show_age(output(), age, file, len(declared))
        return
    book = PriceBook(declared)
    is_tool = model.lower().startswith("tool:")
    sheet = tool_sheet(book, model[5:], at) if is_tool else price_sheet(book, provider, model, at, tier)
    if sheet is None and is_tool:
        stop(WRONG, f"{model!r} has no price, so its calls are recorded as free.")
    if sheet is None:
        why = book.suggest(provider, model)
        name = f"{provider}:{model}" if provider else model
        stop(
            WRONG,
            f"No price is known for {name!r}{f': {why}' if why else ''}".rstrip("?.")
            + ("?" if why.endswith("?") else "."),
            "Declare it, in USD per million tokens, where the handler is made:",
            f"  prices={{{json.dumps(model)}: Price(input=..., output=...)}}",
            "or in the JSON file that APEIROS_PRICES names:",
            f'  {{{json.dumps(model)}: {{"input": "...", "output": "..."}}}}',
        )
    if unlisted := [asked for asked in map(":".join, sheet.context.items()) if asked in sheet.missing]:
        there = f"There is {', '.join(sheet.tiers)}" if sheet.tiers else "No tier is listed for it"
        stop(
            WRONG,
            f"{sheet.provider}:{sheet.model} has no price for the tier {tier!r}. {there}; leave out --tier "
            "for the standard price.",
            f"A call that asks for {unlisted[0]} is charged the standard price, marked partial.",
        )
    if as_json:
        print_json(pricetable.sheet_json(sheet, age, file))
    else:
        pricetable.show_sheet(output(), sheet, age, file)

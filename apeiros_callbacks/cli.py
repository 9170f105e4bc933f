"""The ``apeiros`` command."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from importlib.metadata import entry_points, version
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from apeiros_callbacks.errors import ApeirosError
from apeiros_callbacks.upkeep import register

__all__ = ["app", "main"]

app = typer.Typer(
    name="apeiros",
    help="A hard dollar limit and a right ledger for LLM runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

register(app)

OVER_BUDGET = 3
"""Exit code of a command whose point is that a budget holds, when the budget was passed."""

_ADAPTERS = {"langchain": "langchain-apeiros", "llama-index": "llama-index-callbacks-apeiros"}


def _how_to_install(framework: str) -> str:
    return f'From a clone of the project: pip install . "./integrations/{_ADAPTERS[framework]}[demo]"'


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"apeiros-callbacks {version('apeiros-callbacks')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, metavar="", help="Show the version and stop."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    framework: Annotated[str, typer.Option(help="langchain or llama-index.")] = "langchain",
    model: Annotated[
        str | None,
        typer.Option(help="A real model, such as openai:gpt-5-nano, with its key in the environment."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="US dollars; 0.50, or 0.002 with a real model, unless given.")
    ] = None,
) -> None:
    """Run an agent into its budget and show every call, up to the one that is refused.

    Without --model it needs no key and no network: a scripted server in this process answers the real
    client.
    """
    console = Console()
    errors = Console(stderr=True)
    adapters = {point.name: point for point in entry_points(group="apeiros_callbacks.adapters")}
    if framework not in _ADAPTERS:
        _stop(errors, f"There is no framework {framework!r}. The names are: {', '.join(_ADAPTERS)}.")
    point = adapters.get(framework)
    if point is None:
        _stop(errors, f"The adapter for {framework} is not installed. {_how_to_install(framework)}")
    try:
        demonstration = importlib.import_module(f"{point.value}.demo")
    except ModuleNotFoundError as missing:
        _stop(errors, f"The demo needs {missing.name!r}. {_how_to_install(framework)}")
    try:
        over = demonstration.run(console, model=model, budget=budget)
    except ApeirosError as problem:
        _stop(errors, str(problem))
    raise typer.Exit(OVER_BUDGET if over else 0)


@app.command()
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
            help="The price at this time in UTC; now, unless given.",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, amounts as text.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Download today's list, for this and every later run.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="With --refresh: where the list is; genai-prices' own, unless given.")
    ] = None,
    bundled: Annotated[
        bool, typer.Option("--bundled", help="Go back to the list that genai-prices brings.")
    ] = False,
) -> None:
    """Show what a model is charged and where that is from, or which price list is in use.

    Nothing is downloaded without --refresh. Prices of your own are in the JSON file that APEIROS_PRICES
    names.
    """
    console = Console()
    errors = Console(stderr=True)
    if (url and not refresh) or sum((refresh, bundled, model is not None or as_json)) > 1:
        _stop(errors, "Give one of MODEL, --refresh and --bundled; --url goes with --refresh.")
    when = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
    try:
        if refresh:
            _refresh_prices(console, url)
        elif bundled:
            _bundled_prices(console)
        else:
            _show_prices(console, model, provider, tier, when, as_json)
    except (ApeirosError, OSError) as problem:
        _stop(errors, str(problem))


def _stop(errors: Console, *lines: str) -> NoReturn:
    for line in lines:
        errors.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def _refresh_prices(console: Console, url: str | None) -> None:
    from apeiros_callbacks.prices.refresh import refresh

    done = refresh(url)
    console.print(
        f"{done.models:,} models of {done.providers} providers, from {done.url}\n"
        f"Against {_label(done.before)}: {done.repriced:,} changed price, {done.added:,} added, "
        f"{done.removed:,} removed.\n"
        'They hold for every process that starts from now on. "apeiros prices --bundled" undoes it.',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _label(version: str) -> str:
    return f"the prices {version}" if version.startswith("refreshed") else f"genai-prices {version}"


def _bundled_prices(console: Console) -> None:
    from apeiros_callbacks.prices import stored

    removed = stored.remove()
    package = f"the prices bundled with genai-prices {version('genai-prices')}"
    console.print(f"{'Back to' if removed else 'Already in use:'} {package}.", markup=False, highlight=False)


def _show_prices(
    console: Console, model: str | None, provider: str, tier: str | None, at: datetime, as_json: bool
) -> None:
    from apeiros_callbacks import pricetable
    from apeiros_callbacks.prices import PriceBook
    from apeiros_callbacks.prices.file import declared_prices, prices_file
    from apeiros_callbacks.prices.sheet import data_age, price_sheet, tool_sheet

    file = prices_file()
    declared = declared_prices()
    age = data_age(datetime.now(UTC).date())
    if model is None:
        if as_json:
            typer.echo(json.dumps(pricetable.age_json(age) | {"override": file and str(file)}, indent=2))
        else:
            pricetable.show_age(console, age, file, len(declared))
        return
    book = PriceBook(declared)
    is_tool = model.lower().startswith("tool:")
    sheet = tool_sheet(book, model[5:], at) if is_tool else price_sheet(book, provider, model, at, tier)
    if sheet is None and is_tool:
        _stop(Console(stderr=True), f"{model!r} has no price, so its calls are recorded as free.")
    if sheet is None:
        why = book.suggest(provider, model)
        name = f"{provider}:{model}" if provider else model
        _stop(
            Console(stderr=True),
            f"No price is known for {name!r}{f': {why}' if why else ''}".rstrip("?.")
            + ("?" if why.endswith("?") else "."),
            "Declare it, in USD per million tokens, where the handler is made:",
            f"  prices={{{json.dumps(model)}: Price(input=..., output=...)}}",
            "or in the JSON file that APEIROS_PRICES names:",
            f'  {{{json.dumps(model)}: {{"input": "...", "output": "..."}}}}',
        )
    if unlisted := [asked for asked in map(":".join, sheet.context.items()) if asked in sheet.missing]:
        there = f"There is {', '.join(sheet.tiers)}" if sheet.tiers else "No tier is listed for it"
        _stop(
            Console(stderr=True),
            f"{sheet.provider}:{sheet.model} has no price for the tier {tier!r}. {there}; leave out --tier "
            "for the standard price.",
            f"A call that asks for {unlisted[0]} is charged the standard price, marked partial.",
        )
    if as_json:
        typer.echo(json.dumps(pricetable.sheet_json(sheet, age, file), indent=2))
    else:
        pricetable.show_sheet(console, sheet, age, file)


def main() -> None:
    """Run the command."""
    app()

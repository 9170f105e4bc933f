"""The ``apeiros`` command."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from rich.console import Console

from apeiros_callbacks.errors import ApeirosError

__all__ = ["app", "main"]

app = typer.Typer(
    name="apeiros",
    help="A hard dollar limit and a right ledger for LLM runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OVER_BUDGET = 3
"""Exit code of a command whose point is that a budget holds, when the budget was passed."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"apeiros-callbacks {version('apeiros-callbacks')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    framework: Annotated[
        str, typer.Option(help="langchain, or llama-index where its adapter has one.")
    ] = "langchain",
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
    adapters = {point.name: point for point in entry_points(group="apeiros_callbacks.adapters")}
    point = adapters.get(framework)
    if point is None:
        console.print(
            f"No adapter {framework!r} is installed; there is {', '.join(sorted(adapters)) or 'none'}. "
            f'Install it with: pip install "apeiros-callbacks[{framework}]"'
        )
        raise typer.Exit(2)
    try:
        demonstration = importlib.import_module(f"{point.value}.demo")
    except ModuleNotFoundError as missing:
        if missing.name == f"{point.value}.demo":
            console.print(f"The adapter {framework!r} has no demo yet.")
        else:
            console.print(
                f'The demo needs {missing.name!r}. Install it with: pip install "langchain-apeiros[demo]"',
                markup=False,
            )
        raise typer.Exit(2) from None
    try:
        over = demonstration.run(console, model=model, budget=budget)
    except ApeirosError as problem:
        console.print(str(problem), style="red", markup=False)
        raise typer.Exit(2) from None
    raise typer.Exit(OVER_BUDGET if over else 0)


def main() -> None:
    """Run the command."""
    app()

"""``apeiros demo``."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Annotated

import typer

from apeiros_callbacks.commands.output import OVER_BUDGET, WRONG, output, stop

__all__ = ["ADAPTERS", "demo"]

ADAPTERS = "apeiros_callbacks.adapters"
"""The entry-point group in which adapters of frameworks are found."""

_DISTRIBUTIONS = {"langchain": "langchain-apeiros", "llama-index": "llama-index-callbacks-apeiros"}


def demo(
    framework: Annotated[
        str | None, typer.Option(help="langchain or llama-index; the one that is installed, unless given.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A real model, such as openai:gpt-5-nano, with its key in the environment."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="US dollars; 0.50, or 0.002 with a real model, unless given.")
    ] = None,
) -> None:
    """Run an agent into its budget, and show every call.

    Without --model it needs no key and no network: a scripted server in this process answers the real
    client.
    """
    adapters = {point.name: point for point in entry_points(group=ADAPTERS)}
    if framework is None:
        framework = next((name for name in _DISTRIBUTIONS if name in adapters), "langchain")
    if framework not in _DISTRIBUTIONS:
        stop(WRONG, f"There is no framework {framework!r}. The names are: {', '.join(_DISTRIBUTIONS)}.")
    point = adapters.get(framework)
    if point is None:
        stop(WRONG, f"The adapter for {framework} is not installed. {_how_to_install(framework)}")
    try:
        demonstration = importlib.import_module(f"{point.value}.demo")
    except ModuleNotFoundError as missing:
        stop(WRONG, f"The demo needs {missing.name!r}. {_how_to_install(framework)}")
    over = demonstration.run(output(), model=model, budget=budget)
    raise typer.Exit(OVER_BUDGET if over else 0)


def _how_to_install(framework: str) -> str:
    return f'From a clone of the project: pip install . "./integrations/{_DISTRIBUTIONS[framework]}[demo]"'

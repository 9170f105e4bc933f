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

NOT_YET = frozenset({"llama-index"})
"""Frameworks whose adapter has no handler yet."""

_INSTALL = 'From a clone of the project: pip install . "./integrations/langchain-apeiros[demo]"'


def demo(
    framework: Annotated[
        str, typer.Option(help="langchain; llama-index is not supported yet.")
    ] = "langchain",
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
    if framework in NOT_YET:
        stop(WRONG, f"{framework} is not supported yet. Use --framework langchain.")
    if framework not in {*adapters, "langchain"}:
        names = ", ".join(sorted({*adapters, "langchain"} - NOT_YET))
        stop(
            WRONG,
            f"There is no framework {framework!r}. The names are: {names}; "
            f"{', '.join(sorted(NOT_YET))} is not supported yet.",
        )
    point = adapters.get(framework)
    if point is None:
        stop(WRONG, f"The adapter for {framework} is not installed. {_INSTALL}")
    try:
        demonstration = importlib.import_module(f"{point.value}.demo")
    except ModuleNotFoundError as missing:
        stop(WRONG, f"The demo needs {missing.name!r}. {_INSTALL}")
    over = demonstration.run(output(), model=model, budget=budget)
    raise typer.Exit(OVER_BUDGET if over else 0)

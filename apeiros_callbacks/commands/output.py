"""What a command prints: text that fits the terminal, JSON, and errors of one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console

__all__ = ["CANNOT", "OVER_BUDGET", "WRONG", "errors", "output", "print_json", "say", "stop"]

CANNOT = 1
"""Exit code where what was asked for cannot be had."""

WRONG = 2
"""Exit code where it was asked for wrongly."""

OVER_BUDGET = 3
"""Exit code of a command whose point is that a budget holds, when the budget was passed."""


def output() -> Console:
    """Where results go. Made anew each time, since tests and scripts replace ``sys.stdout``."""
    return Console(highlight=False, markup=False, emoji=False)


def errors() -> Console:
    """Where everything else goes, so that a result can be piped."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str = "", style: str = "") -> None:
    """Print a line of a result, broken between words where the terminal ends."""
    output().print(text, style=style)


def print_json(data: dict[str, Any] | Sequence[Any]) -> None:
    """Print plain data. Amounts of money are texts in it, since JSON has no exact numbers."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def stop(code: int, *lines: str) -> NoReturn:
    """Print an error and end the command.

    Raises:
        typer.Exit: always.
    """
    for line in lines:
        errors().print(line, style="red", soft_wrap=True)
    raise typer.Exit(code)

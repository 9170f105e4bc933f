"""What a command prints: text that fits the terminal, JSON, and errors of one line."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from apeiros_callbacks.display import findings_text
from apeiros_callbacks.finding import Finding, Severity
from apeiros_callbacks.layout import Column, Layout, plain

__all__ = [
    "CANNOT", "OVER_BUDGET", "WRONG", "errors", "finding_lines", "output", "print_json", "print_rows", "say",
    "stop", "working",
]  # fmt: skip

CANNOT = 1
"""Exit code where what was asked for cannot be had."""

WRONG = 2
"""Exit code where it was asked for wrongly."""

OVER_BUDGET = 3
"""Exit code of a command whose point is that a budget holds, when the budget was passed."""


_STYLES: dict[Severity, str] = {"notice": "cyan", "warning": "magenta", "critical": "red"}
_WIDEST = 100


def output() -> Console:
    """Where results go. Made anew each time, since tests and scripts replace ``sys.stdout``."""
    return Console(highlight=False, markup=False, emoji=False)


def errors() -> Console:
    """Where everything else goes, so that a result can be piped."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str = "", style: str = "") -> None:
    """Print lines of a result as they are, so that what they name can be copied."""
    output().print(text, style=style, soft_wrap=True)


def print_rows(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[str] | None = None
) -> None:
    """Print a table, without the columns that the terminal has no room for; each row in its style."""
    console = output()
    layout = Layout(columns, rows, console.width)
    console.print(layout.header, soft_wrap=True)
    for line, style in zip(layout.lines(rows), styles or [""] * len(rows), strict=True):
        console.print(line, style=style, soft_wrap=True)


def finding_lines(finding: Finding, width: int) -> list[Text]:
    """A finding in lines that fit; its severity is a word as well as a colour."""
    style = _STYLES[finding.severity]
    said = textwrap.wrap(
        plain(findings_text([finding])),
        min(width, _WIDEST),
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
    return [Text(line, style=style) for line in said]


@contextmanager
def working(what: str, console: Console | None = None) -> Generator[None]:
    """Say on the terminal that something takes its time.

    Args:
        what: what it is.
        console: what lines are printed with meanwhile; they would be mixed up with those of another.
    """
    with (console or errors()).status(what):
        yield


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

"""What several commands ask for: their common options, and the ledger."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from apeiros_callbacks.commands.moments import moment_of
from apeiros_callbacks.commands.output import CANNOT, WRONG, stop
from apeiros_callbacks.ledger import Ledger, default_ledger_url, open_ledger
from apeiros_callbacks.ledger.url import MEMORY, SqliteUrl, parse_url
from apeiros_callbacks.money import exact_usd

__all__ = ["AsJson", "Asked", "LedgerUrl", "Since", "Until", "asked_url", "reading", "usd_of", "writing"]

LedgerUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--ledger", metavar="URL", help="A ledger; else $APEIROS_LEDGER, or your own."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, amounts as text.")]
Since: TypeAlias = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", parser=moment_of, help="Only from then on: 2026-11-25, today, 24h, 7d."),
]
Until: TypeAlias = Annotated[
    datetime | None, typer.Option(metavar="TIME", parser=moment_of, help="Only before then.")
]


@dataclass(frozen=True, slots=True)
class Asked:
    """A ledger that is open for a command."""

    ledger: Ledger
    url: str
    """To show; holds no password."""
    has_begun: bool = True
    """There is such a ledger; this one is empty otherwise."""

    @property
    def is_empty_because(self) -> str:
        """What to tell a person who finds nothing in it."""
        return (
            "Nothing is recorded yet. Run a script that calls a model:\n"
            "  apeiros run --budget 0.50 script.py\n"
            "or start your own program with this in its environment:\n"
            f"  APEIROS_LEDGER={self.url}"
        )


def asked_url(given: str | None) -> str:
    """The URL of the ledger that is asked for.

    Raises:
        typer.Exit: it is one that no other process can see.
    """
    url = given or os.environ.get("APEIROS_LEDGER") or default_ledger_url()
    if url == MEMORY:
        stop(
            WRONG,
            "The ledger memory: lives in the process that writes it, and cannot be read from here. "
            "Name a file for your program and for this command: --ledger sqlite:///ledger.db",
        )
    return url


@contextmanager
def reading(given: str | None, *, create: bool = False) -> Generator[Asked]:
    """Open the ledger that is asked for. One that nobody has begun yet is empty.

    Args:
        given: what --ledger says.
        create: whether to begin it in that case.

    Raises:
        typer.Exit: it is asked for by --ledger and there is none.
        LedgerError: it cannot be used.
        ConfigError: it is no URL of a ledger.
    """
    url = asked_url(given)
    options = parse_url(url)
    if isinstance(options, SqliteUrl) and not Path(options.path).exists():
        if given:
            stop(CANNOT, f"There is no ledger at {options.path}.")
        if not create:
            yield Asked(open_ledger(MEMORY), url, has_begun=False)
            return
    with writing(given) as asked:
        yield asked


@contextmanager
def writing(given: str | None) -> Generator[Asked]:
    """Open the ledger that is asked for, or create it.

    Raises:
        LedgerError: it cannot be used.
        ConfigError: it is no URL of a ledger.
    """
    with closing(open_ledger(asked_url(given))) as ledger:
        yield Asked(ledger, ledger.url)


def usd_of(text: str) -> Decimal:
    """Read an amount of US dollars, such as ``250`` or ``$0.50``.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        return exact_usd(Decimal(text.strip().removeprefix("$")), "an amount")
    except (InvalidOperation, ValueError) as wrong:
        raise typer.BadParameter(f"{text!r} is no amount of US dollars; write 250 or 0.50") from wrong

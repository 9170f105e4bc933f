"""The commands that look after a ledger: ``check``, ``repair``, ``prune``, ``correct`` and ``reprice``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, NoReturn, TypeAlias

import typer

from apeiros_callbacks.caps import period_start
from apeiros_callbacks.environment import ledger_url
from apeiros_callbacks.errors import ApeirosError
from apeiros_callbacks.ledger import Ledger, default_ledger_url, open_ledger
from apeiros_callbacks.ledger.audit import Audit, check, repair
from apeiros_callbacks.ledger.corrections import correct, reprice
from apeiros_callbacks.ledger.pruning import prune
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.prices import PriceBook
from apeiros_callbacks.prices.file import declared_prices

__all__ = ["register"]

LedgerOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--ledger", metavar="URL", help="The ledger; $APEIROS_LEDGER or your own, unless given."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for name, command in (
        ("check", _check),
        ("repair", _repair),
        ("prune", _prune),
        ("correct", _correct),
        ("reprice", _reprice),
    ):
        app.command(name)(command)


def _check(ledger: LedgerOption = None) -> None:
    """Compare the ledger's counters with its entries. Exit code 1 where they differ."""
    with _opened(ledger) as opened:
        _show(opened, check(opened))


def _repair(ledger: LedgerOption = None) -> None:
    """Rebuild the ledger's counters from its entries. It may be in use meanwhile."""
    with _opened(ledger) as opened:
        _show(opened, repair(opened))


def _prune(
    before: Annotated[str, typer.Option(metavar="DAY", help="2026-11 or 2026-11-25, in UTC.")],
    ledger: LedgerOption = None,
) -> None:
    """Remove entries of calls that ended before a day. What they add up to stays, by month too."""
    with _opened(ledger) as opened:
        removed = prune(opened, period_start(before))
    typer.echo(f"removed {removed:,} entries from {opened.url}; what they add up to is kept")


def _correct(
    key: Annotated[str, typer.Argument(metavar="ENTRY", help="The entry's key, such as 0191-run#1.")],
    amount: Annotated[str, typer.Option(metavar="USD", help="What it really cost.")],
    why: Annotated[str, typer.Option(help="Kept with the correction.")] = "corrected",
    ledger: LedgerOption = None,
) -> None:
    """Put right what an entry cost, by a new entry with the difference. Twice is once."""
    try:
        usd = Decimal(amount)
    except InvalidOperation:
        _stop(f"write an amount such as 0.35, got {amount!r}")
    with _opened(ledger) as opened:
        made = correct(opened, key, usd, why)
    typer.echo("it stands at that amount already" if made is None else f"corrected by {_change(made.amount)}")


def _reprice(
    since: Annotated[str, typer.Option(metavar="DAY", help="2026-11 or 2026-11-25, in UTC.")],
    model: Annotated[str | None, typer.Option(help="Only calls that this model answered.")] = None,
    ledger: LedgerOption = None,
) -> None:
    """Price entries again, by today's data and $APEIROS_PRICES, and correct what differs. Twice is once."""
    with _opened(ledger) as opened:
        book = PriceBook(declared_prices(None))
        made = reprice(opened, book, since=period_start(since).astimezone(UTC), model=model)
    total = sum((one.amount for one in made if one.amount is not None), Decimal(0))
    typer.echo(f"corrected {len(made):,} entries by {_change(total)} in all")


def _change(amount: Decimal | None) -> str:
    usd = show_usd(amount, 6)
    return usd if usd.startswith("-") else f"+{usd}"


@contextmanager
def _opened(url: str | None) -> Iterator[Ledger]:
    """The ledger that is meant, and one line instead of a traceback."""
    try:
        meant = ledger_url(url)
        with closing(
            open_ledger(default_ledger_url() if meant == "memory:" and url is None else meant)
        ) as ledger:
            yield ledger
    except ApeirosError as error:
        _stop(str(error))


def _show(ledger: Ledger, audit: Audit) -> None:
    for lost in audit.lost:
        typer.echo(
            f"{lost.scope}: a process that ended on {_day(lost.expired_at)} had {show_usd(lost.granted)} set "
            f"aside; its open calls held {show_usd(lost.held)}, which may have been spent ({lost.owner})"
        )
    if audit.unresolved:
        typer.echo(f"{audit.unresolved:,} entries are of calls whose end was never seen")
    for problem in audit.problems:
        typer.echo(f"wrong: {problem}", err=True)
    if audit.problems:
        _stop(f"{ledger.url} contradicts itself in {len(audit.problems)} places; try `apeiros repair`")
    typer.echo(f"{ledger.url} is consistent")


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _stop(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(1)

"""The commands that look after a ledger: ``check``, ``repair``, ``prune``, ``correct`` and ``reprice``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, TypeAlias

import typer

from apeiros_callbacks.caps import period_start
from apeiros_callbacks.commands import moments
from apeiros_callbacks.commands.asked import AsJson, Asked, LedgerUrl, reading, usd_of
from apeiros_callbacks.commands.output import CANNOT, WRONG, errors, print_json, say, stop, working
from apeiros_callbacks.commands.records import amount_text, entry_data
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.layout import plain
from apeiros_callbacks.ledger.audit import Audit
from apeiros_callbacks.money import show_usd

__all__ = ["check", "correct", "prune", "repair", "reprice"]

_Day: TypeAlias = Annotated[
    datetime, typer.Option(metavar="DAY", parser=period_start, help="2026-11 or 2026-11-25, in UTC.")
]


def check(ledger: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Compare a ledger's counters with its entries.

    The exit code is 1 where they differ.
    """
    from apeiros_callbacks.ledger import audit

    with reading(ledger) as asked, working("comparing …"):
        found = audit.check(asked.ledger)
    _show(asked, found, as_json)


def repair(ledger: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Rebuild a ledger's counters from its entries.

    It may be in use meanwhile.
    """
    from apeiros_callbacks.ledger import audit

    with reading(ledger) as asked, working("rebuilding …"):
        found = audit.repair(asked.ledger)
    _show(asked, found, as_json)


def prune(before: _Day, ledger: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Remove entries of calls that ended before a day.

    What they add up to stays, also by month.
    """
    from apeiros_callbacks.ledger import pruning

    if before > moments.now() + timedelta(days=1):
        stop(WRONG, f"{before:%Y-%m-%d} is to come. To remove today's entries too, give tomorrow.")
    with reading(ledger) as asked, working("removing …"):
        removed = pruning.prune(asked.ledger, before)
    if as_json:
        print_json({"removed": removed})
    else:
        say(f"removed {removed:,} entries from {asked.url}; what they add up to is kept")


def correct(
    key: Annotated[str, typer.Argument(metavar="ENTRY", help="The entry's key, such as 0191-run#1.")],
    amount: Annotated[Decimal, typer.Option(metavar="USD", parser=usd_of, help="What it really cost.")],
    why: Annotated[str, typer.Option(help="Kept with the correction.")] = "corrected",
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Put right what an entry cost, by a new entry.

    The new one has the difference. Twice is once.
    """
    from apeiros_callbacks.ledger import corrections

    with reading(ledger) as asked, working("looking …"):
        try:
            made = corrections.correct(asked.ledger, key, amount, why)
        except ConfigError as unknown:  # an amount that cannot be was refused before
            stop(CANNOT, plain(str(unknown)))
    if as_json:
        print_json({"correction": None if made is None else entry_data(made)})
    else:
        say("it stands at that amount already" if made is None else f"corrected by {_change(made.amount)}")


def reprice(
    since: _Day,
    model: Annotated[str | None, typer.Option(help="Only calls that this model answered.")] = None,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Price entries again by today's data, and correct what differs.

    Prices of your own are those of $APEIROS_PRICES. Twice is once.
    """
    from apeiros_callbacks.ledger import corrections
    from apeiros_callbacks.prices import PriceBook
    from apeiros_callbacks.prices.file import declared_prices

    book = PriceBook(declared_prices(None))
    with reading(ledger) as asked, working("pricing …"):
        made = corrections.reprice(asked.ledger, book, since=since.astimezone(UTC), model=model)
    change = sum((one.amount for one in made if one.amount is not None), Decimal(0))
    if as_json:
        print_json({"corrected": len(made), "change": amount_text(change)})
    else:
        say(f"corrected {len(made):,} entries by {_change(change)} in all")


def _change(amount: Decimal | None) -> str:
    usd = show_usd(amount, 6)
    return usd if usd.startswith("-") else f"+{usd}"


def _show(asked: Asked, audit: Audit, as_json: bool) -> None:
    if as_json:
        print_json(_data(asked, audit))
    else:
        _say(audit)
    if audit.problems:
        problems = "1 place" if len(audit.problems) == 1 else f"{len(audit.problems):,} places"
        stop(CANNOT, f'{asked.url} contradicts itself in {problems}. "apeiros repair" rebuilds its counters.')
    if not as_json:
        say(f"{asked.url} is consistent" if asked.has_begun else asked.is_empty_because)


def _say(audit: Audit) -> None:
    for lost in audit.lost:
        say(
            plain(
                f"{lost.scope}: a process that ended on {lost.expired_at:%Y-%m-%d %H:%M} UTC had "
                f"{show_usd(lost.granted)} set aside; its open calls held {show_usd(lost.held)}, "
                f"which may have been spent ({lost.owner})"
            )
        )
    if audit.unresolved:
        say(f"{audit.unresolved:,} entries are of calls whose end was never seen")
    for problem in audit.problems:
        errors().print(plain(f"wrong: {problem}"), soft_wrap=True)


def _data(asked: Asked, audit: Audit) -> dict[str, object]:
    return {
        "ledger": asked.url,
        "consistent": not audit.problems,
        "problems": list(audit.problems),
        "unresolved": audit.unresolved,
        "lost": [
            {
                "scope": lost.scope,
                "owner": lost.owner,
                "granted": amount_text(lost.granted),
                "held": amount_text(lost.held),
                "expired_at": lost.expired_at.isoformat(),
            }
            for lost in audit.lost
        ],
    }

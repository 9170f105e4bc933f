"""``apeiros``: today at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from apeiros_callbacks.commands import moments
from apeiros_callbacks.commands.asked import reading
from apeiros_callbacks.commands.customers import dollars, standing_data, standings
from apeiros_callbacks.commands.moments import day_start
from apeiros_callbacks.commands.output import finding_lines, output, print_json, print_rows, say
from apeiros_callbacks.commands.records import amount_text, finding_data, totals_data
from apeiros_callbacks.customers import Status
from apeiros_callbacks.layout import Column, plain
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.ledger.totals import ScopeTotals
from apeiros_callbacks.money import show_usd

__all__ = ["today"]

_COLUMNS = (
    Column("model", most=32),
    Column("calls", right=True, rank=2),
    Column("tokens", right=True, rank=1),
    Column("cost", right=True),
)
_MOST_MODELS = 8
_MOST_FINDINGS = _MOST_CUSTOMERS = 3
_STANDING: dict[Status, str] = {"ok": "", "alert": "alert reached", "capped": "cap reached"}
_SERIOUS = ("critical", "warning", "notice")


def today(ledger: str | None, as_json: bool) -> None:
    """Show what was spent today, on which models, and what was found."""
    begin = day_start(moments.now())
    with reading(ledger) as asked:
        models = [one for one in asked.ledger.sums("model", begin) if one.calls or one.amount]
        sessions = asked.ledger.sums("session", begin)
        before = asked.ledger.sums("model", day_start(begin - timedelta(hours=12)), begin)
        findings = asked.ledger.findings(since=begin)
        reached = [one for one in standings(asked.ledger) if one.style]
        is_empty = not models and not reached and not asked.ledger.page(most=1)
    if as_json:
        print_json(
            _data(begin, models, len(sessions), before, findings)
            | {"customers": [standing_data(one) for one in reached]}
        )
        return
    if is_empty:
        say(asked.is_empty_because)
        return
    calls, tokens = sum(one.calls for one in models), sum(one.tokens for one in models)
    say(
        f"Today, {begin:%Y-%m-%d}: {show_usd(_sum(models))} spent, and {show_usd(_sum(before))} yesterday\n"
        f"{calls:,} calls, {tokens:,} tokens, {len(sessions):,} sessions"
    )
    if models:
        say()
        rows = [
            (one.scope or "-", f"{one.calls:,}", f"{one.tokens:,}", show_usd(one.amount)) for one in models
        ]
        print_rows(_COLUMNS, rows[:_MOST_MODELS])
        if len(rows) > _MOST_MODELS:
            rest = show_usd(_sum(models[_MOST_MODELS:]))
            say(f"and {rest} on {len(rows) - _MOST_MODELS} more models", style="dim")
    if reached:
        say()
    for one in reached[:_MOST_CUSTOMERS]:
        spent = f"{show_usd(one.spent)} of {dollars(one.cap.usd) or 'no limit'} in {one.spending.period}"
        say(plain(f"customer {one.customer}: {spent}, {_STANDING[one.status]}"), style=one.style)
    if len(reached) > _MOST_CUSTOMERS:
        say(f"{len(reached) - _MOST_CUSTOMERS:,} more: apeiros customers", style="dim")
    if findings:
        _show(findings)


def _sum(sums: Sequence[ScopeTotals]) -> Decimal:
    return sum((one.amount for one in sums), Decimal(0))


def _show(findings: Sequence[Noted]) -> None:
    """The most serious findings, the latest of them first."""
    say()
    latest = findings[::-1]
    worst = [one for severity in _SERIOUS for one in latest if one.finding.severity == severity]
    console = output()
    for noted in worst[:_MOST_FINDINGS]:
        console.print(f"session {plain(noted.session_id)}", style="dim", soft_wrap=True)
        for line in finding_lines(noted.finding, console.width):
            console.print(line, soft_wrap=True)
    if len(worst) > _MOST_FINDINGS:
        say(f"{len(worst) - _MOST_FINDINGS:,} more: apeiros findings --since today", style="dim")


def _data(
    begin: datetime,
    models: Sequence[ScopeTotals],
    sessions: int,
    before: Sequence[ScopeTotals],
    findings: Sequence[Noted],
) -> dict[str, object]:
    return {
        "since": begin.isoformat(),
        "cost": amount_text(_sum(models)),
        "cost_yesterday": amount_text(_sum(before)),
        "calls": sum(one.calls for one in models),
        "tokens": sum(one.tokens for one in models),
        "sessions": sessions,
        "models": [{"model": one.scope or None} | totals_data(one) for one in models],
        "findings": [finding_data(one) for one in findings],
    }

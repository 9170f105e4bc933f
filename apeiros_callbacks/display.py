"""How a result looks to a person: text for a terminal, HTML for a notebook. Functions that take a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.money import show_usd
from apeiros_callbacks.report import Health, roll_up

if TYPE_CHECKING:
    from apeiros_callbacks.detectors import Finding
    from apeiros_callbacks.session import Session

__all__ = [
    "CALL_COLUMNS",
    "Findings",
    "call_rows",
    "findings_html",
    "findings_text",
    "health_text",
    "session_html",
    "session_line",
    "session_text",
]

CALL_COLUMNS = ("#", "agent", "model", "in", "cached", "out", "cost", "spent")


def _call_row(entry: Entry, number: int, spent: Decimal) -> tuple[str, ...]:
    usage = entry.usage
    tokens = (
        ("", "", "")
        if entry.kind == "tool"
        else (
            f"{usage.input_tokens:,}",
            f"{usage.cache_read_tokens:,}",
            f"{usage.output_tokens:,}",
        )
    )
    model = {"tool": "↳ ", "correction": "± "}.get(entry.kind, "") + entry.model
    return (str(number), entry.agent or "-", model, *tokens, _cost(entry), show_usd(spent))


def _cost(entry: Entry) -> str:
    if entry.kind == "tool" and not entry.amount:
        return ""
    if entry.cached:
        return "cached"
    if entry.usage_certainty == "assumed" and entry.error and not entry.amount:
        return "failed"
    return ("" if _is_sure(entry) else "~") + show_usd(entry.amount)


def _is_sure(entry: Entry) -> bool:
    return entry.usage_certainty == "reported" and entry.price_certainty in {"listed", "override", "free"}


def call_rows(
    entries: Iterable[Entry], *, before: int = 0, spent: Decimal = Decimal(0)
) -> list[tuple[str, ...]]:
    """Ledger lines as the cells of `CALL_COLUMNS`, with the running sum.

    `before` is how many lines there were before these, and `spent` what they cost in US dollars.

    A ``~`` marks a cost that is not certain: its usage or its price was not given. An answer from a cache is
    ``cached`` in its place, a call that the provider answered with an error ``failed``: both cost nothing.
    """
    rows: list[tuple[str, ...]] = []
    for number, entry in enumerate(entries, start=before + 1):
        spent += entry.amount or 0
        rows.append(_call_row(entry, number, spent))
    return rows


def session_line(session: Session) -> str:
    """A session in one line."""
    limit = session.budget
    usd, calls, tokens = (None, None, None) if limit is None else (limit.usd, limit.calls, limit.tokens)
    state = session.state()
    found = len(session.findings)
    of = "" if usd is None else f" of {show_usd(usd)}"
    parts = [f"{session.id}: {show_usd(session.spent)}{of} spent", _used(state["calls"], calls, "call")]
    if tokens is not None:
        parts.append(_used(state["tokens"], tokens, "token"))
    if session.open_holds:
        parts.append(f"{session.open_holds} open")
    if found:
        parts.append(f"{found} finding{'' if found == 1 else 's'}")
    return ", ".join(parts)


def _used(count: object, limit: int | None, unit: str) -> str:
    of = "" if limit is None else f" of {limit:,}"
    plural = "" if (count if limit is None else limit) == 1 else "s"
    return f"{count:,}{of} {unit}{plural}"


def session_text(session: Session) -> str:
    """A session as text: its line, its calls, its findings."""
    rows = call_rows(session.entries())
    lines = [session_line(session)]
    if rows:
        lines += ["", *_aligned([CALL_COLUMNS, *rows])]
    if session.findings:
        lines += ["", findings_text(session.findings)]
    if doubts := health_text(session.health):
        lines += ["", doubts]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = {0, 1, 2}
    return [
        "  ".join(
            cell.ljust(width) if i in texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


_DOUBTS = (
    ("usage_estimated", "{} without reported usage: counted here"),
    ("end_inferred", "{} seen to start and not to end"),
    ("unresolved", "{} with an end or a price that could not be made out"),
    ("price_assumed", "{} at an assumed price"),
    ("price_partial", "{} priced in part"),
    ("unpriced", "{} without a price: not in the sum"),
)


def health_text(health: Health) -> str:
    """What is not certain about a session, in a line; empty when all is known."""
    found = [
        words.format(f"{count} call{'' if count == 1 else 's'}")
        for name, words in _DOUBTS
        if (count := getattr(health, name))
    ]
    if health.failures:
        found.append(f"{health.failures} failures of this package's own; the first is in the log")
    if health.ledger_failure:
        found.append(f"not written yet: {health.ledger_failure}")
    return f"not certain: {'; '.join(found)}" if found else ""


_SHOWN = Decimal("0.00005")


def findings_text(findings: Sequence[Finding]) -> str:
    """Findings as text, a line each."""
    return "\n".join(
        f"{finding.severity}: {finding.type}{_times(finding)}: {finding.message}{_wasted(finding)}"
        for finding in findings
    )


def _times(finding: Finding) -> str:
    return f" ×{finding.count}" if finding.count > 1 else ""


def _wasted(finding: Finding) -> str:
    """What was wasted, where it is as much as a person is shown of an amount."""
    return f" About {show_usd(finding.wasted)} of it wasted." if finding.wasted >= _SHOWN else ""


class Findings(list["Finding"]):
    """A list of findings that a notebook shows as lines."""

    def __str__(self) -> str:
        return findings_text(self) or "no findings"

    def _repr_html_(self) -> str:
        return findings_html(self)


# Colours of text and page are the notebook's own, so that it reads in light and in dark.
_CELL = 'style="text-align:{};padding:2px 10px;font-variant-numeric:tabular-nums"'
_EDGE = {"notice": "#8a8a8a", "warning": "#c77700", "critical": "#c62828"}


def _html_table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(
                f"<{tag} {_CELL.format('left' if i < texts else 'right')}>{escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)
            )
            + "</tr>"
        )

    body = "".join(line(row, "td") for row in rows)
    return f"<table>{line(columns, 'th')}{body}</table>"


def session_html(session: Session) -> str:
    """A session for a notebook: what was spent of the budget, by agent and model, and the findings."""
    entries = session.entries()
    limit = session.budget
    parts = [f"<div><strong>{escape(session_line(session))}</strong>"]
    if limit is not None and limit.usd is not None:
        share = min(1.0, float(session.spent / limit.usd))
        parts.append(
            f'<div role="img" aria-label="{share:.0%} of the budget spent" '
            'style="border:1px solid currentColor;width:20em;height:.6em;margin:.4em 0">'
            f'<div style="width:{share:.0%};height:100%;background:currentColor;opacity:.6"></div></div>'
        )
    groups = roll_up([entry for entry in entries if entry.kind != "tool"], "model")
    if groups:
        rows = [
            (
                name,
                f"{sums.calls:,}",
                f"{sums.input_tokens:,}",
                f"{sums.cache_read_tokens:,}",
                f"{sums.output_tokens:,}",
                show_usd(sums.cost),
            )
            for name, sums in groups.items()
        ]
        parts.append(_html_table(("model", "calls", "in", "cached", "out", "cost"), rows, texts=1))
    if session.findings:
        parts.append(findings_html(session.findings))
    if doubts := health_text(session.health):
        parts.append(f'<div style="margin:.3em 0">{escape(doubts)}</div>')
    return "".join(parts) + "</div>"


def findings_html(findings: Sequence[Finding]) -> str:
    """Findings for a notebook, a line each, with the severity in words as well as in colour."""
    lines = "".join(
        f'<div style="border-left:4px solid {_EDGE[finding.severity]};padding-left:.6em;margin:.3em 0">'
        f"<strong>{escape(finding.severity)}: {escape(finding.type)}{_times(finding)}</strong><br>"
        f"{escape(finding.message)}{escape(_wasted(finding))}</div>"
        for finding in findings
    )
    return f"<div>{lines or 'no findings'}</div>"

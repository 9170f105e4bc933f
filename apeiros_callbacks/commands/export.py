"""``apeiros export``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from apeiros_callbacks.caps import customer_scope
from apeiros_callbacks.commands.asked import LedgerUrl, Since, Until, reading
from apeiros_callbacks.commands.output import CANNOT, WRONG, errors, stop
from apeiros_callbacks.commands.records import CSV_COLUMNS, csv_row, entry_data
from apeiros_callbacks.commands.sessions import SESSION
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.ledger import Ledger

__all__ = ["export"]

_PAGE = 1_000


class Form(StrEnum):
    """What an export looks like."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def export(
    form: Annotated[
        Form, typer.Option("--format", "-f", help="In jsonl, each entry is a line of JSON.")
    ] = Form.CSV,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="A file; printed, unless given.")
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")] = None,
    customer: Annotated[str | None, typer.Option(metavar="ID", help="Only of this customer.")] = None,
    since: Since = None,
    until: Until = None,
    ledger: LedgerUrl = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="The same as --format json.")] = False,
) -> None:
    """Write entries out as CSV or JSON.

    They come oldest first, with every field, exact amounts and times in UTC.
    """
    if session and customer:
        stop(WRONG, "Give one of --session and --customer.")
    scope = f"{SESSION}{session}" if session else customer_scope(customer) if customer else None
    with reading(ledger) as asked, _opened(file) as out, _progress(file) as count:
        entries = count(_entries(asked.ledger, scope, since, until))
        _write(entries, Form.JSON if as_json else form, out)


def _entries(
    ledger: Ledger, scope: str | None, since: datetime | None, until: datetime | None
) -> Iterator[Entry]:
    place = 0
    while page := ledger.page(scope, after=place, most=_PAGE):
        place = page[-1].place
        for _, entry in page:
            if (since is None or entry.started_at >= since) and (until is None or entry.started_at < until):
                yield entry


def _write(entries: Iterable[Entry], form: Form, out: TextIO) -> None:
    if form is Form.CSV:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(CSV_COLUMNS)
        rows.writerows(map(csv_row, entries))
        return
    lines = (json.dumps(entry_data(entry), ensure_ascii=False) for entry in entries)
    if form is Form.JSONL:
        out.writelines(f"{line}\n" for line in lines)
        return
    out.write("[")
    out.writelines(f"{',' if number else ''}\n{line}" for number, line in enumerate(lines))
    out.write("\n]\n")


@contextmanager
def _opened(file: Path | None) -> Generator[TextIO]:
    """Where it is written: a file appears whole or not at all."""
    if file is None:
        yield sys.stdout
        return
    if not file.parent.is_dir():
        stop(CANNOT, f"There is no folder {file.parent}.")
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            yield out
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(file: Path | None) -> Generator[Callable[[Iterator[Entry]], Iterator[Entry]]]:
    """Says how many were written, where nothing else is on the terminal."""
    console = errors()
    if file is None or not console.is_terminal:
        yield lambda entries: entries
        return
    shown = Progress(TextColumn("{task.completed:,.0f} entries"), TimeElapsedColumn(), console=console)
    with shown:
        task = shown.add_task("", total=None)

        def counted(entries: Iterator[Entry]) -> Iterator[Entry]:
            for entry in entries:
                yield entry
                shown.advance(task)

        yield counted

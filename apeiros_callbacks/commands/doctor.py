"""``apeiros doctor``."""

from __future__ import annotations

import importlib
import logging
import platform
import textwrap
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points, version

import typer
from rich.text import Text

from apeiros_callbacks.checkup import Check, check
from apeiros_callbacks.commands.asked import AsJson, LedgerUrl, asked_url, reading
from apeiros_callbacks.commands.demo import ADAPTERS
from apeiros_callbacks.commands.output import CANNOT, output, print_json, working
from apeiros_callbacks.layout import plain

__all__ = ["doctor"]

_INDENT = 30
_WIDEST = 100
_SIGNS = {True: ("holds", "green"), False: ("FAILS", "bold red"), None: ("-", "dim")}


def doctor(ledger: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Try what is installed here, and say what holds and what does not.

    Every adapter drives its framework through each way to call a model, with
    models that cost nothing. Nothing is sent. The exit code is 1 where
    something does not hold.
    """
    console = output()
    data: list[dict[str, object]] = []
    with _quiet():
        for part, checks in _parts(ledger):
            if not as_json:
                console.print(part, style="bold", soft_wrap=True)
            with working("trying …", None if as_json else console):
                for one in checks:
                    data.append({"part": part, "name": one.name, "holds": one.holds, "said": one.said})
                    if not as_json:
                        for line in _lines(one, console.width):
                            console.print(line, soft_wrap=True)
    if as_json:
        print_json(data)
    raise typer.Exit(CANNOT if any(one["holds"] is False for one in data) else 0)


@contextmanager
def _quiet() -> Generator[None]:
    """Refusals are what is tried here; frameworks log them, and leave warnings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)


def _parts(ledger: str | None) -> Iterator[tuple[str, Iterator[Check]]]:
    """What is looked at, and how."""
    own = f"apeiros-callbacks {version('apeiros-callbacks')}, Python {platform.python_version()}"
    yield own, _own(ledger)
    adapters = entry_points(group=ADAPTERS)
    if not adapters:
        yield "no adapter is installed", iter(())
    for adapter in adapters:
        yield from _adapter(adapter)


def _own(ledger: str | None) -> Iterator[Check]:
    yield check("prices", _prices)
    yield check("tokens", _tokens)
    yield check("ledger", lambda: _ledger(ledger))


def _prices() -> str:
    from apeiros_callbacks.prices.file import declared_prices, prices_file
    from apeiros_callbacks.prices.sheet import data_age
    from apeiros_callbacks.pricetable import age_text

    declared, file = declared_prices(), prices_file()
    own = f"; {len(declared)} of your own in {file}" if file else ""
    return f"{age_text(data_age(datetime.now(UTC).date()))}{own}"


def _tokens() -> str:
    from apeiros_callbacks.tokens.encodings import KNOWN, shelf

    shelf.warm(wait=True)
    loaded = [known.name for known in KNOWN if shelf.get(known.name) is not None]
    if not loaded:
        return "estimated: no file of tiktoken's is on this machine"
    return f"counted with {' and '.join(loaded)} of tiktoken; others are estimated"


def _ledger(given: str | None) -> str:
    url = asked_url(given)
    with reading(given) as asked:
        totals = asked.ledger.totals("session:")
    return f"{url}: {len(totals):,} sessions" if totals else f"{url}: nothing is recorded yet"


def _adapter(adapter: EntryPoint) -> Iterator[tuple[str, Iterator[Check]]]:
    try:
        looks = importlib.import_module(f"{adapter.value}.doctor")
    except Exception as why:  # noqa: BLE001 - another framework's adapter may be fine
        is_absent = isinstance(why, ModuleNotFoundError) and why.name == f"{adapter.value}.doctor"
        said = "it has nothing to try yet" if is_absent else f"it cannot be imported: {why}"
        yield adapter.name, iter([Check("adapter", None if is_absent else False, said)])
        return
    packages = ", ".join(f"{name} {number}" for name, number in looks.versions().items())
    yield f"{adapter.name}: {packages}", looks.checks()


def _lines(one: Check, width: int) -> Iterator[Text]:
    """A check in lines that fit, what was seen at the right of its name."""
    sign, style = _SIGNS[one.holds]
    said = textwrap.wrap(plain(one.said), max(20, min(width, _WIDEST) - _INDENT)) or [""]
    yield Text.assemble("  ", (f"{sign:<5}", style), f"  {plain(one.name):<20} ", (said[0], "dim"))
    for more in said[1:]:
        yield Text(f"{'':{_INDENT}}{more}", style="dim")

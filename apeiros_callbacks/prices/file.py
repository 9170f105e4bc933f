"""Prices of your own in a JSON file, named by ``APEIROS_PRICES``; apart from any price data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final, cast

from apeiros_callbacks.errors import InvalidPrice
from apeiros_callbacks.prices.declared import Overrides
from apeiros_callbacks.prices.names import named_provider
from apeiros_callbacks.prices.price import Price

__all__ = ["declared_prices", "prices_file"]

_VARIABLE: Final = "APEIROS_PRICES"
_EXAMPLE: Final = '{"my-model": {"input": "2.5", "output": "10"}, "tool:search": {"call": "0.01"}}'


@dataclass(frozen=True, slots=True)
class _Rates:
    """The rates of a `Price`, as they stand in the file."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    call: Decimal | None = None
    web_search: Decimal | None = None
    file_search: Decimal | None = None


def prices_file() -> Path | None:
    """The file that ``APEIROS_PRICES`` names, None when it names none."""
    given = os.environ.get(_VARIABLE)
    return Path(given).expanduser().absolute() if given else None


def declared_prices(own: Mapping[str, Price] | None = None) -> Mapping[str, Price]:
    """The prices in the file that ``APEIROS_PRICES`` names, beneath a program's own.

    The file is read once in a process. It holds one object: names as in `PriceBook`, and beside each the
    rates of a `Price` as numbers or, better, as text: ``{"my-model": {"input": "2.5", "output": "10"}}``.

    Args:
        own: prices that win: a name in the file that one of these applies to is left out.

    Raises:
        InvalidPrice: the file cannot be read, or something in it is no price; names file, model and rate.
    """
    file = prices_file()
    if file is None:
        return {} if own is None else own
    declared = _read(file)
    if not own:
        return declared if own is None else {**declared, **own}
    above = Overrides(own)
    kept = {name: price for name, price in declared.items() if not _applies(above, name)}
    return {**kept, **own}


def _applies(above: Overrides, name: str) -> bool:
    if name.strip().lower().startswith("tool:"):
        return above.tool(name.strip()[len("tool:") :]) is not None
    return above.find(("", name.strip()), named_provider(name.strip(), ":") or ("", name.strip())) is not None


@lru_cache(maxsize=8)
def _read(file: Path) -> Mapping[str, Price]:
    try:
        document = json.loads(
            file.read_text("utf-8-sig"), parse_float=Decimal, object_pairs_hook=_once, parse_constant=Decimal
        )
    except OSError as problem:
        raise _wrong(file, f"cannot be read ({problem.strerror})") from problem
    except (ValueError, RecursionError) as problem:
        raise _wrong(file, f"is not the JSON that is meant ({problem}); write {_EXAMPLE}") from problem
    if not isinstance(document, dict):
        raise _wrong(file, f"must hold one object; write {_EXAMPLE}")
    prices = {name: _price(file, name, rates) for name, rates in cast("dict[str, object]", document).items()}
    try:
        Overrides(prices)
    except InvalidPrice as problem:
        raise _wrong(file, f"has a name or a price that cannot be used: {problem}") from problem
    return prices


def _price(file: Path, name: str, rates: object) -> Price:
    from pydantic import TypeAdapter, ValidationError

    for rate, value in cast("dict[str, object]", rates).items() if isinstance(rates, dict) else ():
        if isinstance(value, bool):
            raise _wrong(file, f'has "{name}": "{rate}": {str(value).lower()}, which is no number of USD')
    try:
        checked = TypeAdapter(_Rates).validate_python(rates)
        return Price(**asdict(checked))
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ": ".join(json.dumps(part) for part in (name, *first["loc"]))
        if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            known = ", ".join(Price.__slots__)
            raise _wrong(file, f"has {where}, which is no rate; the rates are {known}") from None
        raise _wrong(file, f"has {where}: {first['input']!r}: {first['msg']}; write {_EXAMPLE}") from None
    except InvalidPrice as problem:
        raise _wrong(file, f"has {json.dumps(name)}: {problem}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def _wrong(file: Path, what: str) -> InvalidPrice:
    return InvalidPrice(f"{_VARIABLE}: the file {file} {what}")

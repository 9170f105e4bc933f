"""Refreshed price data in this user's folder: where it is, and reading, writing and removing it.

One JSON document: when it was fetched, from where, and the provider array just as it was downloaded. What
cannot be read, or holds a price that cannot be, is refused as a whole: half a price list is none.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from apeiros_callbacks.environment import data_folder

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

__all__ = ["BadPriceData", "Refreshed", "build", "check_patterns", "path", "read", "remove", "write"]

_FILE: Final = "genai-prices.json"
# As for a `Price`: beyond these a number is damage, and would make the integers of `Rates` unwieldy.
_DEAREST: Final = Decimal(1_000_000_000)
_MOST_DECIMALS: Final = 30

logger = logging.getLogger("apeiros_callbacks")


class BadPriceData(ValueError):
    """Text that is no price data, or has a price in it that cannot be."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Price data that was downloaded."""

    providers: list[Provider]
    fetched_at: datetime
    url: str
    """Where it is from, without a name, a password or a query."""
    made_with: str
    """The version of genai-prices that was installed when it was fetched."""

    @property
    def version(self) -> str:
        """What stands in the place of a version: ``refreshed 2026-11-23``, a day in UTC."""
        return f"refreshed {self.fetched_at.astimezone(UTC):%Y-%m-%d}"


def path() -> Path:
    """The file of the refreshed price data, whether there is one or not."""
    return data_folder() / _FILE


def read() -> Refreshed | None:
    """The refreshed price data; None where there are none, or where they cannot be used, which is logged."""
    file = path()
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        _ignored(file, problem)
        return None
    try:
        return _parsed(text)
    except BadPriceData as problem:
        _ignored(file, problem)
        return None


def _ignored(file: Path, problem: Exception) -> None:
    logger.warning(
        "the refreshed prices in %s cannot be used (%s); the ones bundled with genai-prices are. "
        'Run "apeiros prices --refresh", or "apeiros prices --bundled" to remove them.',
        file,
        problem,
    )


def write(payload: str, fetched_at: datetime, url: str, made_with: str) -> Path:
    """Keep a provider array, as it was downloaded, for every later process; all of it or nothing.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    file = path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    head = json.dumps({"fetched_at": fetched_at.isoformat(), "url": url, "genai_prices": made_with})
    descriptor, name = tempfile.mkstemp(prefix=f".{_FILE}.", dir=file.parent)  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(f'{head[:-1]}, "providers": {payload}}}\n')
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file


def remove() -> bool:
    """Go back to the data bundled with genai-prices; False when they are in use already.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        path().unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def build(raw: object) -> list[Provider]:
    """The providers of a decoded provider array.

    Raises:
        BadPriceData: it is none, it is empty, or it has a price that cannot be.
    """
    if not isinstance(raw, list):
        raise BadPriceData(f"it is not a list of providers but a {type(raw).__name__}")
    if not raw:
        raise BadPriceData("it is an empty list")
    providers = _built(cast("list[object]", raw))
    models = [(f"{provider.id}/{model.id}", model) for provider in providers for model in provider.models]
    if not models:
        raise BadPriceData("it lists no model")
    for name, model in models:
        _check(name, model)
    return providers


def check_patterns(raw: object) -> None:
    """See that every pattern in a provider array can be used, before a call comes to depend on it.

    Raises:
        BadPriceData: one cannot.
    """
    if isinstance(raw, dict):
        for key, value in cast("dict[str, object]", raw).items():
            if key in {"regex", "api_pattern"} and isinstance(value, str):
                try:
                    re.compile(value)
                except re.error as problem:
                    raise BadPriceData(f"the pattern {value!r} in it is none ({problem})") from None
            else:
                check_patterns(value)
    elif isinstance(raw, list):
        for value in cast("list[object]", raw):
            check_patterns(value)


def _parsed(text: bytes) -> Refreshed:
    try:
        document = json.loads(text, parse_float=Decimal)
        fetched_at = datetime.fromisoformat(document["fetched_at"])
        url, made_with = str(document["url"]), str(document["genai_prices"])
        raw = document["providers"]
    except (ValueError, TypeError, LookupError, RecursionError) as problem:
        raise BadPriceData(f"it is damaged: {problem!r}") from problem
    if fetched_at.tzinfo is None:
        raise BadPriceData("it is damaged: the time it was fetched has no time zone")
    return Refreshed(build(raw), fetched_at, url, made_with)


def _built(raw: list[object]) -> list[Provider]:
    # genai-prices 0.2.3 offers this only behind a fetch of its own, which keeps no text to store.
    from genai_prices.types import _providers_from_raw  # pyright: ignore[reportPrivateUsage]

    try:
        # How to read a provider's answers is not used here, and newer data may say it in words that warn.
        kept = [
            {key: value for key, value in cast("dict[str, Any]", provider).items() if key != "extractors"}
            if isinstance(provider, dict)
            else provider
            for provider in raw
        ]
        return _providers_from_raw(kept)
    except Exception as problem:
        first = str(problem).partition("\n")[0]
        raise BadPriceData(f"genai-prices cannot read it: {type(problem).__name__}: {first}") from problem


def _check(name: str, model: ModelInfo) -> None:
    if model.prices == []:
        raise BadPriceData(f"{name} has no prices")
    standard = model.prices if isinstance(model.prices, list) else [model]
    for holder in (*standard, *(model.price_variants or ())):
        for key, rate in _rates(cast("ModelPrice", holder.prices)):
            exponent = rate.as_tuple().exponent
            plausible = (
                isinstance(exponent, int) and -exponent <= _MOST_DECIMALS and Decimal(0) <= rate <= _DEAREST
            )
            if not plausible:
                raise BadPriceData(f"{name} has {key} {rate}, which cannot be a price")


def _rates(price: ModelPrice) -> Iterator[tuple[str, Decimal]]:
    values = cast("dict[str, Decimal | TieredPrices | None]", vars(price))
    for key, value in values.items():
        if isinstance(value, Decimal):
            yield key, value
        elif value is not None:
            yield key, value.base
            for tier in value.tiers:
                yield key, tier.price

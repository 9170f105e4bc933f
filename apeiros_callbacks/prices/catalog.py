"""The price data of genai-prices: bundled with it, or as a person refreshed them. No network.

The library is imported on first need, because that takes longer than everything else this package does
at import; `warm` does it ahead of time. Its own lookup is not used: that one keeps every unknown name for
ever, follows a snapshot that other code may have replaced, and reads ``azure_openai`` as OpenAI.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, cast

from apeiros_callbacks.entry import PriceCertainty
from apeiros_callbacks.money import EXACT
from apeiros_callbacks.prices import stored
from apeiros_callbacks.prices.names import Context, known_provider, split, squeeze
from apeiros_callbacks.prices.rates import Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

__all__ = ["Catalog", "Row", "catalog", "warm"]

_BUCKETS: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "output_reasoning_mtok": "reasoning",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
}
_PER_THOUSAND: Final = {
    "requests_kcount": "call",
    "web_searches_kcount": "web_search",
    "storage_searches_kcount": "file_search",
}
_SEARCHES: Final = frozenset({"web_search", "file_search"})

# Names that their provider has moved to a newer model, while the data still prices the old one.
# Seen in 0.2.3; the price is kept, because nothing says what the name stands for now, as an assumed one.
_MOVED: Final = frozenset(
    {("deepseek", "deepseek-chat"), ("deepseek", "deepseek-reasoner"), ("mistral", "mistral-large-latest")}
)
# Where a name without a provider is looked for, when it does not begin like a maker's.
_MAKERS: Final = ("openai", "anthropic", "google", "mistral", "cohere", "voyageai", "deepseek", "x-ai")
# OpenAI's and Azure's ways to name a fine-tuned model.
_TUNED = re.compile(r"^ft:|\.ft-")
_DATE = re.compile(r"-?(?:\d{4}-\d{2}-\d{2})?-?$")


@dataclass(frozen=True, slots=True)
class Row:
    """A model in the price data."""

    provider: str
    model: ModelInfo
    own: bool
    """False for a row that the provider borrows, as Azure does OpenAI's: service tiers do not carry over."""
    certainty: PriceCertainty = "listed"

    @property
    def timed(self) -> bool:
        """Whether the price depends on the time of day."""
        prices = self.model.prices
        return isinstance(prices, list) and any(hasattr(price.constraint, "start_time") for price in prices)


class Catalog:
    """The providers and models of the price data."""

    def __init__(
        self, providers: list[Provider], version: str, refreshed: stored.Refreshed | None = None
    ) -> None:
        self._all = providers
        self.refreshed = refreshed
        self._by_name = {squeeze(provider.id): provider for provider in providers}
        # One for each price in the data, at most: they live as long as it does, so their ids are theirs.
        self._standard: dict[tuple[int, str, PriceCertainty], Rates | None] = {}
        self.version = version

    @property
    def providers(self) -> list[Provider]:
        """All of the data."""
        return self._all

    def find(self, provider: str, model: str) -> Row | None:
        """The row of a model, by the names that `split` gives.

        A provider that the data does not know, such as a gateway's own name, leaves the model's name to
        say whose it is; the price is then the maker's, and ``assumed`` for the gateway.
        """
        if not model or model.lower().startswith("arn:"):
            return None  # what an ARN of this kind costs is not in its name
        known = self._by_name.get(squeeze(provider))
        if known is not None:
            return self._own(known, model)
        row = self._by_model(model)
        if row is None or provider in {"", "litellm"}:
            return row
        return Row(row.provider, row.model, own=False, certainty="assumed")

    def rates(self, row: Row, at: datetime, asked: Context) -> Rates | None:
        """The rates of a row at a time; None where the data has no price, or only zeros."""
        if asked:
            context = dict(asked)
            missing = tuple(
                f"{k}:{value}" for k, value in asked if not _covered(row, at, (k, value), context)
            )
            return self._made(row, row.model.get_prices(at, context if row.own else None), missing)
        price = row.model.get_prices(at)
        key = (id(price), row.provider, row.certainty)
        try:
            return self._standard[key]
        except KeyError:
            return self._standard.setdefault(key, self._made(row, price, ()))

    def tier_starts(self, row: Row, at: datetime, asked: Context) -> tuple[int, ...]:
        """The sizes of an input above which a row has other rates."""
        return tuple(
            start for start, _ in _steps(row.model.get_prices(at, dict(asked) if row.own else None))[1]
        )

    def at(self, url: str) -> str | None:
        """The provider whose API has this address."""
        return next((provider.id for provider in self._all if re.match(provider.api_pattern, url)), None)

    def like(self, provider: str, model: str) -> str | None:
        """The id of a listed model that this name may be a slip of, with the same numbers in it."""
        known = self._by_name.get(squeeze(provider))
        ids = [row.id for row in (known.models if known else self._models_of_makers())]
        numbers = re.findall(r"\d+", model)
        close = get_close_matches(model.lower(), ids, n=1, cutoff=0.8)
        return close[0] if close and re.findall(r"\d+", close[0]) == numbers else None

    def _made(self, row: Row, price: ModelPrice, missing: tuple[str, ...]) -> Rates | None:
        base, tiers = _steps(price)
        steps = [base, *(step for _, step in tiers)]
        if not any(rate for step in steps for bucket, rate in step.items() if bucket not in _SEARCHES):
            return None
        source = f"genai-prices {self.version} {row.provider}/{row.model.id}"
        return Rates(base, tiers, certainty=row.certainty, source=source, missing=missing, listed=True)

    def _own(self, provider: Provider, name: str) -> Row | None:
        model = self._match(provider, name)
        if model is None and "/" in name:
            head, _, rest = name.partition("/")
            if known_provider(head) == provider.id:
                name, model = rest, self._match(provider, rest)
        if model is None:
            return None
        moved = (provider.id, name.lower()) in _MOVED
        own = any(model is row for row in provider.models)
        return Row(provider.id, model, own, "assumed" if moved else "listed")

    def _by_model(self, name: str) -> Row | None:
        provider, rest = split("", name)
        if provider and (known := self._by_name.get(squeeze(provider))) and (row := self._own(known, rest)):
            return row
        for maker in self._all:
            claimed = maker.model_match is not None and maker.model_match.is_match(name.lower())
            if claimed and (row := self._own(maker, name)):
                return row
        for maker in self._makers():
            for model in maker.models:
                if model.id == name.lower():
                    return Row(maker.id, model, own=True)
        return None

    def _match(self, provider: Provider, name: str) -> ModelInfo | None:
        model = provider.find_model(name, all_providers=self._all)
        tuned = _TUNED.search(name.lower())
        if tuned is None or (model is not None and tuned[0] in model.id):
            return model
        # Of a fine-tuned model only a fine-tuned row will do: the base model's price is lower.
        family = name.lower().removeprefix("ft:").partition(":")[0]
        rows = [row for row in provider.models if _DATE.sub("", row.id) == f"ft:{family}"]
        return max(rows, key=lambda row: row.id, default=None)

    def _models_of_makers(self) -> list[ModelInfo]:
        return [model for maker in self._makers() for model in maker.models]

    def _makers(self) -> list[Provider]:
        # Refreshed data may be a part of the list, from an address of one's own.
        return [maker for name in _MAKERS if (maker := self._by_name.get(squeeze(name)))]


_loading = threading.Lock()
_loaded: Catalog | None = None


def catalog() -> Catalog:
    """The price data, loaded on the first call; waits where another thread is loading it."""
    if _loaded is None:
        with _loading:
            _load()
    return cast("Catalog", _loaded)


def warm(*, wait: bool = True) -> None:
    """Load the price data now, which takes about 0.15 seconds, instead of when the first call is priced.

    Args:
        wait: False loads it in a thread of its own, so that an event loop reads no file.
    """
    if wait:
        catalog()
    elif _loaded is None and _loading.acquire(blocking=False):
        # Held from here on, so that whoever needs the data waits for the thread and does not load it too.
        threading.Thread(target=_load_and_release, name="apeiros-prices", daemon=True).start()


def _load() -> None:
    global _loaded
    if _loaded is not None:
        return
    if refreshed := stored.read():
        _loaded = Catalog(refreshed.providers, refreshed.version, refreshed)
    else:
        from genai_prices import __version__
        from genai_prices.data import providers

        _loaded = Catalog(providers, __version__)


def _load_and_release() -> None:
    try:
        _load()
    finally:
        _loading.release()


def _after_fork() -> None:
    global _loading
    _loading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _covered(row: Row, at: datetime, pair: tuple[str, str], asked: Mapping[str, str]) -> bool:
    """Whether the data has a price of its own for what was asked for."""
    key, value = pair
    return row.own and any(
        variant.when.get(key) == value
        and variant.when.items() <= asked.items()
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in row.model.price_variants or ()
    )


def _steps(price: ModelPrice) -> tuple[dict[str, Decimal], list[tuple[int, dict[str, Decimal]]]]:
    """The base rates, and the rates above each threshold that any of them has."""
    from genai_prices.types import TieredPrices

    flat: dict[str, Decimal] = {}
    tiered: dict[str, TieredPrices] = {}
    for key, rate in vars(price).items():
        if (fee := _PER_THOUSAND.get(key)) and isinstance(rate, Decimal):
            flat[fee] = rate.scaleb(-3, EXACT)
        elif bucket := _BUCKETS.get(key):
            if isinstance(rate, TieredPrices):
                tiered[bucket] = rate
            elif isinstance(rate, Decimal):
                flat[bucket] = rate
    base = flat | {bucket: rate.base for bucket, rate in tiered.items()}
    starts = sorted({tier.start for rate in tiered.values() for tier in rate.tiers})
    tiers: list[tuple[int, dict[str, Decimal]]] = []
    for start in starts:
        step = dict(base)
        for bucket, rate in tiered.items():
            for tier in rate.tiers:
                if tier.start <= start:
                    step[bucket] = tier.price
        tiers.append((start, step))
    return base, tiers

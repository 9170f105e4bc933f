"""Arithmetic: what a usage costs at the rates of one model, exactly and fast.

Rates are whole numbers at a scale at which each of them is exact, so a call is priced with a few integer
multiplications and no rounding. A `Charge` is exact; a hold is rounded up to the nano-dollar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from apeiros_callbacks.entry import PriceCertainty
from apeiros_callbacks.money import EXACT
from apeiros_callbacks.prices.band import FEES, NANO_DIGITS, Band, scale_of, scaled
from apeiros_callbacks.usage import Usage

__all__ = ["UNPRICED", "Charge", "Rates"]

_NOTHING: Final = Decimal(0)
_NEVER: Final = 1 << 62  # more tokens than a usage can have


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call cost, and how certain that is."""

    amount: Decimal | None
    """US dollars, exact. None when no price is known."""
    certainty: PriceCertainty
    """``partial`` when `missing` names something, unless it is less certain than that already."""
    unit_prices: Mapping[str, Decimal]
    """US dollars per million tokens, under the names of `Price`'s rates, with ``reasoning`` and
    ``cache_read_audio`` where a model lists them; ``call``, ``web_search`` and ``file_search`` are in US
    dollars apiece. Of the tier that applied. A bucket that is not named was charged as the bucket it is a
    part of."""
    source: str
    """What the prices are from, with its version."""
    missing: tuple[str, ...] = ()
    """What has no rate of its own: buckets with tokens, or ``service_tier:priority``."""


UNPRICED: Final = Charge(None, "unpriced", {}, "")
"""The charge of a call that nobody knows the price of."""


_WHOLES: Final = frozenset({"input_tokens", "output_tokens", "web_searches", "file_searches"})
"""Counts of a usage that do not make it an unusual one to price."""


class Rates:
    """The unit prices of one model, at one time and in one service tier.

    Args:
        prices: USD per million tokens by bucket; ``call``, ``web_search`` and ``file_search`` in USD apiece.
        tiers: ``(start, prices)`` for calls whose whole input is *above* `start` tokens. The tier's rates
            then hold for every token of the call, which is how the providers bill long contexts.
        certainty: where the rates come from.
        source: the same in words, for the ledger.
        missing: what was asked for and has no rate, such as ``service_tier:priority``.
        listed: the rates are a provider's list. Tokens written into a cache then need a rate of their own
            to be certain, because providers charge more for them than for plain input; a cached read
            needs none, because where no discount is listed the full price is the price. In an override the
            fallbacks are part of what was declared, but for audio.
    """

    __slots__ = (
        "_bands", "_base", "_call", "_certainty", "_file_search", "_gaps", "_has_cached_audio",
        "_has_input_audio", "_has_output_audio", "_has_reasoning", "_missing", "_nano", "_scale", "_source",
        "_start", "_ten_usd", "_unit", "_web_search", "_whole_gaps",
    )  # fmt: skip

    def __init__(
        self,
        prices: Mapping[str, Decimal],
        tiers: Iterable[tuple[int, Mapping[str, Decimal]]] = (),
        *,
        certainty: PriceCertainty,
        source: str,
        missing: tuple[str, ...] = (),
        listed: bool = False,
    ) -> None:
        steps = [(-1, prices), *sorted(tiers, key=lambda step: step[0])]
        self._scale = scale_of(rate for _, step in steps for rate in step.values())
        self._nano: int = 10 ** (self._scale - NANO_DIGITS)
        self._unit = Decimal(1).scaleb(-self._scale, EXACT)
        self._ten_usd: int = 10 ** (self._scale + 1)
        self._bands = tuple(Band(start, step, self._scale) for start, step in steps)
        for lower, upper in zip(self._bands, self._bands[1:], strict=False):
            upper.at_least(lower)
        self._base = self._bands[0]
        self._start = self._bands[1].start if len(self._bands) > 1 else _NEVER
        self._call, self._web_search, self._file_search = (
            scaled(prices.get(fee, _NOTHING), self._scale, per=1) for fee in FEES
        )
        self._has_input_audio = "input_audio" in prices
        self._has_output_audio = "output_audio" in prices
        self._has_reasoning = "reasoning" in prices
        self._has_cached_audio = self._has_input_audio and "cache_read" in prices
        self._certainty: PriceCertainty = certainty
        self._source = source
        self._missing: tuple[str, ...] = ()
        gaps = () if certainty == "free" else tuple(_gaps(prices, listed))
        self._whole_gaps = tuple(gap for gap in gaps if gap[0] in _WHOLES)
        self._gaps = gaps
        if missing:
            self._note(missing)

    @property
    def certainty(self) -> PriceCertainty:
        """Where the rates come from; a charge is ``partial`` when its usage needs a rate that is missing."""
        return self._certainty

    @property
    def source(self) -> str:
        """What the rates are from, with its version: ``genai-prices 0.2.3 openai/gpt-4o``, ``override``."""
        return self._source

    @property
    def missing(self) -> tuple[str, ...]:
        """What was asked for and has no rate, such as ``service_tier:priority``."""
        return self._missing

    def __repr__(self) -> str:
        rates = ", ".join(f"{bucket}={rate}" for bucket, rate in self._base.prices.items())
        tiers = f", +{len(self._bands) - 1} tiers" if len(self._bands) > 1 else ""
        return f"<Rates {rates}{tiers}: {self._certainty}, {self._source}>"

    def cost_nano(self, usage: Usage) -> int:
        """Nano-dollars, rounded up: what a hold sets aside for this usage."""
        return -(-self._units(usage, self._band(usage.input_tokens)) // self._nano)

    def plain_nano(self, input_tokens: int, output_tokens: int) -> int:
        """`cost_nano` of a usage that is nothing but tokens read and written."""
        band = self._band(input_tokens)
        units = input_tokens * band.input + output_tokens * band.output + self._call
        return -(-units // self._nano)

    def charge(self, usage: Usage) -> Charge:
        """What this usage cost, exactly."""
        band = self._band(usage.input_tokens)
        units = self._units(usage, band)
        # Without the zeros at its end, and without an exponent: 0.035, 20.
        if units % self._ten_usd:
            amount = EXACT.normalize(EXACT.multiply(units, self._unit))
        else:
            amount = Decimal(units // self._ten_usd * 10)
        missing = self._missing
        if self._gaps:
            missing = self._missed(usage, missing)
        certainty = self._certainty
        if missing and (certainty == "listed" or certainty == "override"):
            certainty = "partial"
        return Charge(amount, certainty, band.prices.copy(), self._source, missing)

    def bound_nano(self, input_tokens: int, output_tokens: int, *, audio: bool = True) -> int:
        """Nano-dollars that no usage of at most these tokens can pass.

        The dearest rate of each side, over cached, one-hour and reasoning tokens and over every tier that
        an input of that size can reach, plus the fee per call. Rates for audio, images and video count
        where the model lists them. Searches that the provider runs are not in it: nothing bounds them here.

        Args:
            input_tokens: at most so many tokens are read.
            output_tokens: at most so many tokens are written, all choices together.
            audio: False when the call can have no audio, image or video on either side: the dearest text
                rates then. For a model such as gemini-2.5-flash that is a third of the bound.
        """
        band = self._band(input_tokens)
        if audio:
            units = input_tokens * band.most_input + output_tokens * band.most_output
        else:
            units = input_tokens * band.most_input_text + output_tokens * band.most_output_text
        return -(-(units + self._call) // self._nano)

    def assumed(self) -> Rates:
        """The same rates, for a model that they are only assumed for."""
        if self._certainty in {"assumed", "free"}:
            return self
        other = copy(self)
        other._certainty = "assumed"
        return other

    def _note(self, missing: tuple[str, ...]) -> None:
        self._missing = missing
        if self._certainty in {"listed", "override"}:
            self._certainty = "partial"

    def _band(self, input_tokens: int) -> Band:
        if input_tokens <= self._start:
            return self._base
        return next(band for band in reversed(self._bands) if input_tokens > band.start)

    def _units(self, usage: Usage, band: Band) -> int:
        if usage.web_searches or usage.file_searches:
            fees = usage.web_searches * self._web_search + usage.file_searches * self._file_search
            return fees + self._token_units(usage, band)
        return self._token_units(usage, band)

    def _token_units(self, usage: Usage, band: Band) -> int:
        if (
            usage.cache_read_tokens
            or usage.cache_write_tokens
            or (self._has_reasoning and usage.reasoning_tokens)
            or (self._has_input_audio and usage.input_audio_tokens)
            or (self._has_output_audio and usage.output_audio_tokens)
        ):
            return self._input_units(usage, band) + self._output_units(usage, band) + self._call
        return usage.input_tokens * band.input + usage.output_tokens * band.output + self._call

    def _input_units(self, usage: Usage, band: Band) -> int:
        read = usage.cache_read_tokens
        write = usage.cache_write_tokens
        hour = usage.cache_write_1h_tokens
        audio = usage.input_audio_tokens if self._has_input_audio else 0
        plain = usage.input_tokens - read - write - audio
        heard_before = 0
        if plain < 0:
            # Some of the audio was cached: no more of it than must have been, which is the dearer reading.
            # What was written into the cache costs as audio.
            heard_before = min(-plain, read)
            read -= heard_before
            audio -= heard_before
            write += plain + heard_before
            hour = min(hour, write)
            plain = 0
        return (
            plain * band.input
            + read * band.cache_read
            + (write - hour) * band.cache_write
            + hour * band.cache_write_1h
            + audio * band.input_audio
            + heard_before * band.cache_read_audio
        )

    def _output_units(self, usage: Usage, band: Band) -> int:
        thought = usage.reasoning_tokens if self._has_reasoning else 0
        audio = min(usage.output_audio_tokens, usage.output_tokens - thought) if self._has_output_audio else 0
        plain = usage.output_tokens - thought - audio
        return plain * band.output + thought * band.reasoning + audio * band.output_audio

    def _missed(self, usage: Usage, missing: tuple[str, ...]) -> tuple[str, ...]:
        if usage.cache_write_tokens or usage.input_audio_tokens or usage.output_audio_tokens:
            gaps = self._gaps
            if self._has_cached_audio and usage.input_audio_tokens and usage.cache_read_tokens:
                missing = (*missing, "cache_read_audio")  # how much of the audio was cached is not told
        else:
            gaps = self._whole_gaps
        for field, bucket in gaps:
            if getattr(usage, field):
                missing = (*missing, bucket)
        return missing


def _gaps(prices: Mapping[str, Decimal], listed: bool) -> Iterable[tuple[str, str]]:
    """The counts of a usage that these rates cannot price for certain, with the name of what is missing."""
    if not prices.keys() <= {*FEES}:
        for search in ("web_search", "file_search"):
            if search not in prices:
                yield f"{search}es", search
        for side in ("input", "output"):
            if side not in prices:
                yield f"{side}_tokens", side
            for media in ("image", "video"):
                if prices.get(f"{side}_{media}", 0) > prices.get(side, 0):
                    yield f"{side}_tokens", f"{side}_{media}"
        for bucket in ("input_audio", "output_audio", *(("cache_write", "cache_write_1h") if listed else ())):
            if bucket not in prices:
                yield f"{bucket}_tokens", bucket

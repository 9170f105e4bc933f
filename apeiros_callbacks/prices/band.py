"""The rates of one tier, as whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from apeiros_callbacks.money import EXACT

__all__ = ["FEES", "NANO_DIGITS", "Band", "scale_of", "scaled"]

NANO_DIGITS: Final = 9
FEES: Final = ("call", "web_search", "file_search")
"""What is paid by the piece: USD for each, and not per million."""
_MILLION: Final = 1_000_000
# What a bucket costs where it has no rate of its own: the rate of the bucket it is a part of.
_FALLBACK: Final = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "cache_read_audio": "input_audio",
    "output_audio": "output",
    "reasoning": "output",
}
_INPUT_TEXT = ("input", "cache_read", "cache_write", "cache_write_1h")
_OUTPUT_TEXT = ("output", "reasoning")
# Listed for some models, but a usage does not count such tokens apart from the rest.
_INPUT_MEDIA = ("input_audio", "cache_read_audio", "input_image", "input_video")
_OUTPUT_MEDIA = ("output_audio", "output_image", "output_video")
_UNCOUNTED = ("input_image", "input_video", "output_image", "output_video")


class Band:
    """The rates between two thresholds on the size of the input, per token and scaled to integers."""

    __slots__ = (
        "cache_read", "cache_read_audio", "cache_write", "cache_write_1h", "input", "input_audio",
        "most_input", "most_input_text", "most_output", "most_output_text", "output", "output_audio",
        "prices", "reasoning", "start",
    )  # fmt: skip

    def __init__(self, start: int, prices: Mapping[str, Decimal], scale: int) -> None:
        own = {bucket: scaled(rate, scale) for bucket, rate in prices.items() if bucket not in FEES}
        rate = {"input": 0, "output": 0} | own
        for bucket, whole in _FALLBACK.items():
            rate.setdefault(bucket, rate[whole])
        self.start = start
        self.prices = {bucket: price for bucket, price in prices.items() if bucket not in _UNCOUNTED}
        self.input = rate["input"]
        self.output = rate["output"]
        self.cache_read = rate["cache_read"]
        self.cache_write = rate["cache_write"]
        self.cache_write_1h = rate["cache_write_1h"]
        self.input_audio = rate["input_audio"]
        self.cache_read_audio = rate["cache_read_audio"]
        self.output_audio = rate["output_audio"]
        self.reasoning = rate["reasoning"]
        self.most_input_text = max(rate[bucket] for bucket in _INPUT_TEXT)
        self.most_output_text = max(rate[bucket] for bucket in _OUTPUT_TEXT)
        self.most_input = max(self.most_input_text, *(rate.get(bucket, 0) for bucket in _INPUT_MEDIA))
        self.most_output = max(self.most_output_text, *(rate.get(bucket, 0) for bucket in _OUTPUT_MEDIA))

    def at_least(self, lower: Band) -> None:
        """Make the bounds hold for a smaller input as well, should it be the dearer one."""
        for bound in ("most_input", "most_input_text", "most_output", "most_output_text"):
            setattr(self, bound, max(getattr(self, bound), getattr(lower, bound)))


def scale_of(rates: Iterable[Decimal]) -> int:
    """Decimals that are enough for each rate per token, and for a nano-dollar."""
    decimals = 0
    for rate in rates:
        exponent = rate.as_tuple().exponent
        if isinstance(exponent, int):
            decimals = max(decimals, -exponent)
    return max(NANO_DIGITS, decimals + len(str(_MILLION)) - 1)


def scaled(rate: Decimal, scale: int, per: int = _MILLION) -> int:
    """The rate for one, as a whole number of 10**-scale US dollars."""
    return int(rate.scaleb(scale, EXACT)) // per

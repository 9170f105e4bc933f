"""What a person declares a model, or a tool, to cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from apeiros_callbacks.errors import InvalidPrice
from apeiros_callbacks.money import Dollars, exact_usd

__all__ = ["Price"]

# A dollar per token is a thousand times the dearest model there is, and no list prints thirty decimals:
# beyond either a number is a slip of the keyboard, and would make the integers of `Rates` unwieldy.
_DEAREST = Decimal(1_000_000_000)
_MOST_DECIMALS = 30
_UNITS = {"call": "USD per call", "web_search": "USD per search", "file_search": "USD per search"}


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Price:
    """US dollars per **million** tokens, by bucket, and US dollars per call and per search.

    A rate that is not given falls back: the cache's rates to `input`, `cache_write_1h` to `cache_write`,
    and the audio rates to `input` and `output`. A fallback for audio is reported on the charge as
    ``partial``, because audio costs several times as much as text; so is a search without a rate.

    `Price(input=0, output=0)` declares a model free.

    Args:
        input: USD per million tokens read.
        output: USD per million tokens written, reasoning included.
        cache_read: USD per million tokens read from the provider's cache.
        cache_write: USD per million tokens written into the cache.
        cache_write_1h: USD per million tokens written into the cache for an hour.
        input_audio: USD per million audio tokens read.
        output_audio: USD per million audio tokens written.
        call: USD per call, on top of the tokens; alone, for a tool or a model that is paid by the request.
        web_search: USD for each web search that the provider runs.
        file_search: USD for each search of the provider's own file stores.

    Raises:
        InvalidPrice: a rate is not a finite number of zero or more, or no rate is given.

    Example:
        >>> Price(input=2.5, output=10)
        Price(input=2.5, output=10)
        >>> Price(call=0.01).call
        Decimal('0.01')
    """

    input: Decimal | None
    output: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None
    cache_write_1h: Decimal | None
    input_audio: Decimal | None
    output_audio: Decimal | None
    call: Decimal | None
    web_search: Decimal | None
    file_search: Decimal | None

    def __init__(
        self,
        input: Dollars | None = None,  # noqa: A002  the word of the price lists
        output: Dollars | None = None,
        *,
        cache_read: Dollars | None = None,
        cache_write: Dollars | None = None,
        cache_write_1h: Dollars | None = None,
        input_audio: Dollars | None = None,
        output_audio: Dollars | None = None,
        call: Dollars | None = None,
        web_search: Dollars | None = None,
        file_search: Dollars | None = None,
    ) -> None:
        given = {
            "input": input,
            "output": output,
            "cache_read": cache_read,
            "cache_write": cache_write,
            "cache_write_1h": cache_write_1h,
            "input_audio": input_audio,
            "output_audio": output_audio,
            "call": call,
            "web_search": web_search,
            "file_search": file_search,
        }
        if all(rate is None for rate in given.values()):
            raise InvalidPrice(
                "a Price needs at least one rate, in USD per million tokens: Price(input=2.5, output=10). "
                "Price(input=0, output=0) declares a model free."
            )
        for bucket, rate in given.items():
            object.__setattr__(self, bucket, None if rate is None else _read(bucket, rate))

    def given(self) -> dict[str, Decimal]:
        """The rates that were given, by name: USD per million tokens; `call` and searches in USD apiece."""
        found = {bucket: getattr(self, bucket) for bucket in self.__slots__}
        return {bucket: rate for bucket, rate in found.items() if rate is not None}

    def __repr__(self) -> str:
        return f"Price({', '.join(f'{bucket}={rate}' for bucket, rate in self.given().items())})"


def _read(bucket: str, rate: Dollars) -> Decimal:
    unit = _UNITS.get(bucket, "USD per million tokens")
    what = f"{bucket!r} of a Price ({unit})"
    amount = exact_usd(rate, what, InvalidPrice)
    exponent = amount.as_tuple().exponent
    if amount > _DEAREST or (isinstance(exponent, int) and -exponent > _MOST_DECIMALS):
        raise InvalidPrice(f'{what} must be a plausible number such as Decimal("0.50"), got {amount:.6g}')
    return amount

"""What a call costs.

`price` is what a person declares, `rates` the arithmetic, `names` the words of frameworks and providers,
`catalog` the price data of genai-prices, `hosts` whose address a call goes to, `declared` overrides and
aliases, and `book` puts them together.
Nothing here reads the network, and importing it does not load the price data; `warm` does.
"""

from apeiros_callbacks.prices.book import ASSUMED_PRICE, PriceBook, UnknownPricePolicy
from apeiros_callbacks.prices.catalog import warm
from apeiros_callbacks.prices.hosts import provider_at
from apeiros_callbacks.prices.price import Price
from apeiros_callbacks.prices.rates import UNPRICED, Charge, Rates

__all__ = [
    "ASSUMED_PRICE", "UNPRICED", "Charge", "Price", "PriceBook", "Rates", "UnknownPricePolicy", "provider_at",
    "warm",
]  # fmt: skip

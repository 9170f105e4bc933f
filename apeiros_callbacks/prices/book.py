"""`PriceBook`: the price of any name a framework reports, from what was declared and what is listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias, get_args

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.prices.catalog import Row, catalog
from apeiros_callbacks.prices.declared import Aliases, Overrides
from apeiros_callbacks.prices.names import Context, is_local, price_context, split, tidy
from apeiros_callbacks.prices.price import Price
from apeiros_callbacks.prices.rates import Rates

__all__ = ["ASSUMED_PRICE", "PriceBook", "UnknownPricePolicy"]

UnknownPricePolicy: TypeAlias = Literal["refuse", "assume", "allow"]
"""What to do about a model that nobody knows the price of.

``refuse`` and ``allow`` differ in what a session does with a call it has no rates for: with a budget set,
``refuse`` does not send it, ``allow`` sends it and records it as ``unpriced``. ``assume`` gives such a
model the rates of `ASSUMED_PRICE`.
"""

ASSUMED_PRICE: Final = Price(input=3, output=15)
"""USD per million tokens of an unknown model under ``unknown_price="assume"``.

At the guide's split of 7 input to 5 output tokens that is its $8 per million.
"""

_CACHED = 1024
_FREE: Final = Rates(
    {"input": Decimal(0), "output": Decimal(0)}, certainty="free", source="local: runs on your own machine"
)
_ASSUMED: Final = Rates(
    ASSUMED_PRICE.given(), certainty="assumed", source="assumed: $3 in and $15 out per million tokens"
)


class PriceBook:
    """Finds the rates of a model.

    In this order: a price declared for the name, one declared for what the name stands for, nothing for a
    model on the caller's own machine, and the price data.

    Args:
        prices: USD per million tokens by ``model``, ``provider:model`` or a pattern of either such as
            ``my-*``; ``tool:name`` for a tool. The most specific one applies.
        models: other names of listed models, such as Azure deployments: ``{"my-gpt": "azure:gpt-4o"}``.
        unknown_price: see `UnknownPricePolicy`.

    Raises:
        InvalidPrice: a declared price is not a `Price`.
        ConfigError: the names in `models` are empty or go round in a circle, or an unknown policy.

    Example:
        >>> from datetime import UTC, datetime
        >>> from apeiros_callbacks.usage import Usage
        >>> book = PriceBook({"my-model": Price(input=2.5, output=10)})
        >>> rates = book.rates("openai", "my-model", datetime(2026, 11, 23, tzinfo=UTC))
        >>> rates.charge(Usage(input_tokens=10_000, output_tokens=1_000)).amount
        Decimal('0.035')
    """

    def __init__(
        self,
        prices: Mapping[str, Price] | None = None,
        models: Mapping[str, str] | None = None,
        unknown_price: UnknownPricePolicy = "refuse",
    ) -> None:
        if unknown_price not in get_args(UnknownPricePolicy):
            raise ConfigError(f'unknown_price must be "refuse", "assume" or "allow", got {unknown_price!r}')
        self._overrides = Overrides({} if prices is None else prices)
        self._aliases = Aliases({} if models is None else models)
        self._default = _ASSUMED if unknown_price == "assume" else None
        self.refuses_unknown = unknown_price == "refuse"
        """Whether a call without a price is to be refused while a budget in dollars is set."""
        # Two generations in the place of a linked list: a hit is one lookup and takes no lock, and what
        # was not used while a whole generation filled up is dropped.
        self._recent: dict[object, _Quote] = {}
        self._older: dict[object, _Quote] = {}

    def rates(
        self, provider: str, model: str, at: datetime, context: Mapping[str, str] | None = None
    ) -> Rates | None:
        """The rates of a model at a time, None when nobody knows them.

        Args:
            provider: as the framework names it; empty when it does not.
            model: as the framework names it.
            at: when the call is made; UTC when it has no time zone.
            context: what was asked for, or answered, beyond the standard price: ``{"service_tier":
                "flex"}``, ``{"processing": "batch"}``, ``{"speed": "fast"}``. What the data has no price
                for is named in `Rates.missing`. It does not change a declared price.
        """
        return self._quote(provider, model, context).at(at) or self._default

    def answered(
        self,
        provider: str,
        requested: str,
        answered: str,
        at: datetime,
        context: Mapping[str, str] | None = None,
    ) -> Rates | None:
        """The rates of a call by what answered it, None when nobody knows them.

        What was declared for the requested name holds. Else the answering model's rates; when it is
        unknown, those of the requested one, as ``assumed``.
        """
        asked = self._quote(provider, requested, context)
        if asked.declared or not answered or answered == requested:
            return asked.at(at) or self._default
        rates = self._quote(provider, answered, context).at(at)
        if rates is None and (rates := asked.at(at)) is not None:
            rates = rates.assumed()
        return rates or self._default

    def tool(self, name: str) -> Rates | None:
        """The rates of a tool, declared as ``prices={"tool:search": Price(call=0.01)}``.

        None when it has none: a tool without a price is free.
        """
        price = self._overrides.tool(name)
        return None if price is None else _declared(price)

    def context_window(self, provider: str, model: str) -> int | None:
        """The most tokens the model reads, as far as the price data says."""
        for given in reversed(list(self._names(provider, model))):
            if row := catalog().find(*split(*given)):
                return row.model.context_window
        return None

    def suggest(self, provider: str, model: str) -> str:
        """Why a name may have no price, for the error's message; empty when nothing is known to say."""
        names = list(self._names(provider, model))
        if not names or not names[-1][1]:
            return "the call does not name its model"
        why = _why_unpriced(*split(*names[-1]))
        if len(names) == 1:
            return why
        target = ":".join(part for part in names[-1] if part)
        return f"models= says it is {target!r}, which has no price{f': {why}' if why else ''}"

    def _quote(self, provider: str, model: str, context: Mapping[str, str] | None) -> _Quote:
        key = (provider, model, tuple(context.items())) if context else (provider, model)
        try:
            if (quote := self._recent.get(key)) is not None:
                return quote
        except TypeError:  # a name that is not text
            return _NO_QUOTE
        quote = self._older.get(key) or self._found(provider, model, price_context(context))
        if quote is not _NO_QUOTE:
            if len(self._recent) >= _CACHED:
                self._older, self._recent = self._recent, {}
            self._recent[key] = quote
        return quote

    def _found(self, provider: str, model: str, asked: Context) -> _Quote:
        names = list(self._names(provider, model))
        if not names:
            return _NO_QUOTE
        for given in names:
            if price := self._overrides.find(given, split(*given)):
                return _Quote(fixed=_declared(price), declared=True)
        named = split(*names[-1])
        declared = len(names) > 1
        if is_local(*named):
            return _Quote(fixed=_FREE, declared=declared)
        row = catalog().find(*named)
        return _Quote(row=row, asked=asked, declared=declared)

    def _names(self, provider: str, model: str) -> Iterator[tuple[str, str]]:
        """The name as given, then what it stands for; nothing when it cannot be a name."""
        tidied, named = tidy(provider or ""), tidy(model)
        if tidied is not None and named is not None:
            yield tidied, named
            aliased = list(self._aliases.follow(tidied, named))
            yield from aliased or self._aliases.follow(*split(tidied, named))


class _Quote:
    """What was found for a name: rates that stay, or a row of the price data, whose prices change."""

    __slots__ = ("_asked", "_fixed", "_made", "_row", "_timed", "_today", "declared")

    def __init__(
        self,
        *,
        fixed: Rates | None = None,
        row: Row | None = None,
        asked: Context = (),
        declared: bool = False,
    ) -> None:
        self.declared = declared
        self._fixed = fixed
        self._row = row
        self._asked = asked
        self._timed = row is not None and row.timed
        self._today: tuple[int, Rates | None] = (0, None)

    def at(self, at: datetime) -> Rates | None:
        if self._row is None:
            return self._fixed
        if at.tzinfo is not UTC and at.tzinfo is not None:
            at = at.astimezone(UTC)
        day, rates = self._today
        if day == at.toordinal():
            return rates
        rates = catalog().rates(self._row, at, self._asked)
        if not self._timed:
            self._today = (at.toordinal(), rates)
        return rates


_NO_QUOTE: Final = _Quote()


def _declared(price: Price) -> Rates:
    rates = price.given()
    whole = {"input", "output"} <= rates.keys() or rates.keys() == {"call"}
    free = whole and not any(rates.values())
    return Rates(rates, certainty="free" if free else "override", source="override")


def _why_unpriced(provider: str, model: str) -> str:
    if model.lower().startswith("arn:"):
        return "this ARN does not say which model it is"
    if model.lower().startswith("ft:"):
        return "a fine-tuned model has a price of its own, and none is listed"
    row = catalog().find(provider, model)
    if row is not None:
        return "its list has no price per token; Price(input=0, output=0) declares it free"
    if provider and (other := catalog().find("", model)):
        return f"did you mean {other.provider}:{other.model.id}?"
    if close := catalog().like(provider, model):
        return f"did you mean {close}?"
    return ""

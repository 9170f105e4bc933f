"""What a person declared: prices by name or pattern, and other names of models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import translate
from typing import Final, cast

from apeiros_callbacks.errors import ConfigError, InvalidPrice
from apeiros_callbacks.prices.names import canonical_provider, known_provider, named_provider
from apeiros_callbacks.prices.price import Price

__all__ = ["Aliases", "Overrides"]

_TOOL: Final = "tool:"
_PRICES: Final = 'prices={"my-model": Price(input=2.5, output=10)}'
_MODELS: Final = 'models={"my-deployment": "azure:gpt-4o"}'
_WILD = re.compile(r"[*?\[]")


class Overrides:
    """Prices by ``model``, ``provider:model`` or a pattern of either; names compare without case.

    The most specific one applies: the exact ``provider:model``, the exact ``model``, then the longest
    pattern. A provider may be spelled as the framework spells it or as the price data does.

    A tool's price stands beside ``tool:name``, and is a price per call.

    Raises:
        InvalidPrice: a name is empty, what stands beside it is no `Price`, or a tool's has no `call`.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._exact: dict[str, Price] = {}
        patterns: list[tuple[str, Price]] = []
        for name, price in _items(prices, _PRICES, InvalidPrice):
            label, checked = _checked(name, price)
            if _WILD.search(label):
                patterns.append((_canonical(label), checked))
            else:
                self._exact[label] = checked
        for label, price in list(self._exact.items()):
            self._exact.setdefault(_canonical(label), price)
        patterns.sort(key=lambda pattern: -len(pattern[0]))
        self._patterns = [
            (re.compile(translate(name)), name.startswith(_TOOL), price) for name, price in patterns
        ]

    def find(self, *names: tuple[str, str]) -> Price | None:
        """The price that applies to a model of these names, each a provider and a model."""
        return self._find(_labels(*names), tool=False)

    def tool(self, name: str) -> Price | None:
        """The price of a tool, declared as ``tool:name``."""
        return self._find([_TOOL + name.strip().lower()], tool=True)

    def _find(self, labels: list[str], *, tool: bool) -> Price | None:
        for label in labels:
            if price := self._exact.get(label):
                return price
        for pattern, for_tools, price in self._patterns:
            if for_tools is tool and any(pattern.match(label) for label in labels):
                return price
        return None


class Aliases:
    """Other names of listed models, such as an Azure deployment's: name → ``provider:model`` or ``model``.

    A target may be an alias itself.

    Raises:
        ConfigError: a name or a target is empty or not text, or the names go round in a circle.
    """

    def __init__(self, models: Mapping[str, str]) -> None:
        self._targets = dict(_target(name, to) for name, to in _items(models, _MODELS, ConfigError))
        for label, target in list(self._targets.items()):
            self._targets.setdefault(_canonical(label), target)
        for label in self._targets:
            self._check(label)

    def follow(self, provider: str, model: str) -> Iterator[tuple[str, str]]:
        """The names that this name stands for, the last one being the one to look up."""
        seen: set[str] = set()
        while hit := self._next(provider, model):
            name, (to_provider, to_model) = hit
            if name in seen:
                return
            seen.add(name)
            provider, model = to_provider or provider, to_model
            yield provider, model

    def _next(self, provider: str, model: str) -> tuple[str, tuple[str, str]] | None:
        for label in _labels((provider, model)):
            if label in self._targets:
                return label, self._targets[label]
        return None

    def _check(self, name: str) -> None:
        names, label = [name], name
        while True:
            provider, model = self._targets[label]
            if provider and model.lower() == label:
                return  # a model of the same name, at a provider
            hit = self._next(provider, model)
            if hit is None:
                return
            label = hit[0]
            if label in names:
                way = " -> ".join(repr(step) for step in [*names, label])
                raise ConfigError(
                    f"models={{...}} goes round in a circle: {way}. "
                    f"Each name must lead to a listed model, such as {_MODELS}."
                )
            names.append(label)


def _labels(*names: tuple[str, str]) -> list[str]:
    """What a model of these names may be declared as, the most specific first."""
    labels = [
        f"{spelled}:{model.lower()}"
        for provider, model in names
        if provider
        # Of "openai@gateway.example" also what is declared for the client's own provider.
        for spelled in (provider.lower(), canonical_provider(provider.partition("@")[0]))
    ]
    return labels + [model.lower() for _, model in names]


def _canonical(label: str) -> str:
    """The label with the provider in the price data's words, where it begins with a provider."""
    head, _, rest = label.partition(":")
    provider = known_provider(head) if rest else None
    return f"{provider}:{rest}" if provider else label


def _items(declared: object, example: str, error: type[ConfigError]) -> list[tuple[object, object]]:
    if not isinstance(declared, Mapping):
        raise error(f"{example.partition('=')[0]} must be a mapping, got {declared!r}; write {example}")
    return list(cast("Mapping[object, object]", declared).items())


def _checked(name: object, price: object) -> tuple[str, Price]:
    if not isinstance(name, str) or not name.strip():
        raise InvalidPrice(f"prices={{{name!r}: ...}} names no model; write {_PRICES}")
    if not isinstance(price, Price):
        raise InvalidPrice(
            f"prices={{{name!r}: ...}} must be a Price, got {price!r}; "
            f"write {_PRICES}, in USD per million tokens"
        )
    label = name.strip().lower()
    if label.startswith(_TOOL) and price.call is None:
        raise InvalidPrice(
            f"prices={{{name!r}: ...}} must say what a call costs, got {price!r}; "
            f'write prices={{"tool:search": Price(call=0.01)}}, in USD per call'
        )
    return label, price


def _target(name: object, to: object) -> tuple[str, tuple[str, str]]:
    if isinstance(name, str) and isinstance(to, str) and name.strip() and to.strip(" :"):
        return name.strip().lower(), named_provider(to.strip(), ":") or ("", to.strip())
    raise ConfigError(f"models={{{name!r}: {to!r}}} must be two names of a model; write {_MODELS}")

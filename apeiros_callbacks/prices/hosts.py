"""Whose price an address has: clients of one API are pointed at the servers of many providers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from apeiros_callbacks.prices.catalog import catalog
from apeiros_callbacks.prices.names import known_provider, split

__all__ = ["provider_at"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - a name to compare
_OLLAMA_PORT: Final = 11434
# Addresses that the price data does not have (0.2.3), by their documentation.
_MORE: Final = (
    (re.compile(r"https://bedrock-mantle\.[a-z0-9-]+\.api\.aws(?:[:/]|$)"), "aws"),
    (re.compile(r"https://bedrock(?:-runtime)?(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:[:/]|$)"), "aws"),
    (re.compile(r"https://api\.together\.ai(?:[:/]|$)"), "together"),
)


def provider_at(provider: str, model: str, url: str) -> str:
    """The provider to price a call by that goes to an address of its own.

    An address that belongs to a provider of the price data names it. At any other, such as a gateway's,
    the provider that the client was made for is kept if it has the model; if not, and the name alone says
    whose model it is, the result is ``openai@gateway.example``: its maker's price holds, as ``assumed``.

    Args:
        provider: as the framework names it: whose API the client speaks.
        model: as the framework names it.
        url: the base URL that the client was given.

    Example:
        >>> provider_at("openai", "llama-3.3-70b-versatile", "https://api.groq.com/openai/v1")
        'groq'
        >>> provider_at("openai", "gpt-4o", "https://gateway.example/v1")
        'openai'
        >>> provider_at("openai", "claude-sonnet-4-6", "https://gateway.example/v1")
        'openai@gateway.example'
    """
    return _provider_at(provider, model, url, catalog().version)


@lru_cache(maxsize=1024)
def _provider_at(provider: str, model: str, url: str, _version: str) -> str:
    known, place = _at(url)
    if known:
        # Azure's own name is kept where the framework has one: its hosts serve other makers' models too.
        return provider if known_provider(provider) == known else known
    if not place or known_provider(provider) is None:
        return provider
    prices = catalog()
    if prices.find(*split(provider, model)) is None and prices.find(*split("", model)) is not None:
        return f"{provider}@{place}"
    return provider


def _at(url: str) -> tuple[str, str]:
    """The provider of an address, empty when it is nobody's; and its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", ""
    if host in _LOOPBACK and port == _OLLAMA_PORT:
        return "ollama", host
    for pattern, provider in _MORE:
        if pattern.match(url):
            return provider, host
    return catalog().at(url) or "", host

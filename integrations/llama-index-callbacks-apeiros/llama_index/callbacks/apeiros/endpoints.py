"""Whom a call goes to: the provider that a LlamaIndex integration is made for, and its model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from apeiros_callbacks.prices import provider_at
from apeiros_callbacks.prices.names import is_local, known_provider
from apeiros_callbacks.reported.plain import text
from llama_index.callbacks.apeiros.fields import field

__all__ = ["model_of", "provider_of"]

_ADDRESSES = ("api_base", "azure_endpoint", "base_url", "endpoint", "endpoint_url")
_OF_ANTHROPIC = {"AnthropicBedrock": "aws", "AnthropicVertex": "google"}


def model_of(instance: object, described: Mapping[str, Any]) -> str:
    """The model by its name, as `described` has it (``to_payload`` from 0.14.23 on, ``to_dict`` before)."""
    return (
        text(described.get("model_name"))
        or text(described.get("model"))
        or text(field(instance, "model"))
        or text(field(instance, "model_name"))
        or _by_metadata(instance)
        or type(instance).__name__
    )


def _by_metadata(instance: object) -> str | None:
    """The name that a model of a user's own has in its metadata only."""
    try:
        return text(field(field(instance, "metadata"), "model_name"))
    except Exception:  # noqa: BLE001 - some look up what they do not know
        return None


def provider_of(instance: object, model: str, described: Mapping[str, Any]) -> str:
    """The provider to price a call by: the integration's, or the one whose address it was given."""
    kind: Any = type(instance)
    class_name = text(described.get("class_name")) or _class_name(instance)
    named = _OF_ANTHROPIC.get(type(field(instance, "_client")).__name__) or _named(kind, class_name)
    for name in _ADDRESSES:
        url = field(instance, name)
        if url and isinstance(url, str):
            return provider_at(named, model, url)
    return named


def _class_name(instance: object) -> str:
    name = field(instance, "class_name")
    return str(name()) if callable(name) else ""


@lru_cache(maxsize=1024)
def _named(kind: type, class_name: str) -> str:
    """By the nearest class that is a provider's: a subclass of a user's may be anywhere."""
    for made in kind.__mro__:
        parts = made.__module__.split(".")
        if parts[0] == "llama_index" and len(parts) > 2 and parts[1] != "core":
            name = parts[2].removesuffix("_like")  # OpenAILike speaks OpenAI's API to any address
            return known_provider(name) or name
    for name in (class_name, kind.__name__):
        if provider := known_provider(name) or (name.lower() if is_local(name, "") else None):
            return provider
    return ""

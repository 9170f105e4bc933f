"""Whom a call goes to: the provider that a LlamaIndex integration is made for, and its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.prices import provider_at
from apeiros_callbacks.prices.names import is_local, known_provider
from apeiros_callbacks.reported.plain import text

__all__ = ["model_of", "provider_of"]

_ADDRESSES = ("api_base", "azure_endpoint", "base_url", "endpoint", "endpoint_url")
_OF_ANTHROPIC = {"AnthropicBedrock": "aws", "AnthropicVertex": "google"}


def model_of(instance: object, described: Mapping[str, Any]) -> str:
    """The model by its name, as `described` has it (``to_payload`` from 0.14.23 on, ``to_dict`` before)."""
    return (
        text(described.get("model_name"))
        or text(described.get("model"))
        or text(getattr(instance, "model", None))
        or text(getattr(instance, "model_name", None))
        or _by_metadata(instance)
        or type(instance).__name__
    )


def _by_metadata(instance: object) -> str | None:
    """The name that a model of a user's own has in its metadata only."""
    try:
        return text(getattr(getattr(instance, "metadata", None), "model_name", None))
    except Exception:  # noqa: BLE001 - some look up what they do not know
        return None


def provider_of(instance: object, model: str, described: Mapping[str, Any]) -> str:
    """The provider to price a call by: the integration's, or the one whose address it was given."""
    named = _OF_ANTHROPIC.get(type(getattr(instance, "_client", None)).__name__) or _named(
        instance, text(described.get("class_name")) or _class_name(instance)
    )
    for name in _ADDRESSES:
        if url := text(getattr(instance, name, None)):
            return provider_at(named, model, url)
    return named


def _class_name(instance: object) -> str:
    name = getattr(instance, "class_name", None)
    return str(name()) if callable(name) else ""


def _named(instance: object, class_name: str) -> str:
    """By the nearest class that is a provider's: a subclass of a user's may be anywhere."""
    for made in type(instance).__mro__:
        parts = made.__module__.split(".")
        if parts[0] == "llama_index" and len(parts) > 2 and parts[1] != "core":
            name = parts[2].removesuffix("_like")  # OpenAILike speaks OpenAI's API to any address
            return known_provider(name) or name
    for name in (class_name, type(instance).__name__):
        if provider := known_provider(name) or (name.lower() if is_local(name, "") else None):
            return provider
    return ""

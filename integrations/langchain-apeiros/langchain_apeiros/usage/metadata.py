"""LangChain's ``usage_metadata``: what a client made of the provider's report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from apeiros_callbacks.reported.plain import mapping
from apeiros_callbacks.reported.reading import Reading, reading, tokens

__all__ = ["read_metadata", "tier_of"]

_TIERS = ("priority", "flex")


def read_metadata(reported: Mapping[str, Any]) -> Reading | None:
    """Read it; None when there is nothing in it. Input and output include their details."""
    if "input_tokens" not in reported and "output_tokens" not in reported:
        return None
    inputs = mapping(reported.get("input_token_details"))
    outputs = mapping(reported.get("output_token_details"))
    if not inputs and not outputs:
        return reading(
            reported.get("input_tokens"), reported.get("output_tokens"), total=reported.get("total_tokens")
        )
    hour = _detail(inputs, "ephemeral_1h_input_tokens")
    # Where writes are told by time to live, Anthropic's client and Bedrock's leave ``cache_creation`` at 0.
    by_time = hour + _detail(inputs, "ephemeral_5m_input_tokens")
    return reading(
        reported.get("input_tokens"),
        reported.get("output_tokens"),
        cache_read=_detail(inputs, "cache_read"),
        cache_write=_detail(inputs, "cache_creation") or by_time,
        cache_write_1h=hour,
        reasoning=_detail(outputs, "reasoning"),
        input_audio=_detail(inputs, "audio"),
        output_audio=_detail(outputs, "audio"),
        total=reported.get("total_tokens"),
    )


def tier_of(reported: Mapping[str, Any]) -> str | None:
    """The service tier that langchain-openai marks the details with."""
    details = reported.get("output_token_details")
    return next((tier for tier in _TIERS if tier in details), None) if details else None


def _detail(details: Mapping[str, Any], name: str) -> int:
    """A detail under its own name or, in a tier, under ``priority_…`` or ``flex_…`` (langchain-openai)."""
    found = 0
    for known in _names(name):
        if known in details:
            found += tokens(details[known]) or 0
    return found


@cache
def _names(name: str) -> tuple[str, ...]:
    return (name, *(f"{tier}_{name}" for tier in _TIERS))

"""What a provider itself says a call cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apeiros_callbacks.reported.plain import mapping

__all__ = ["reported_cost"]

_WHO_TELLS = frozenset({"openrouter", "perplexity"})
_MOST = Decimal(1_000_000)


def reported_cost(provider: str, metadata: Mapping[str, Any], body: Mapping[str, Any]) -> Decimal | None:
    """US dollars, where the provider is one that reports them: OpenRouter and Perplexity.

    Others use the word for what is no bill: LiteLLM's ``response_cost`` is a table's price, 0 for a model
    that it does not have.

    Args:
        provider: whom the call goes to.
        metadata: the answer's ``response_metadata``.
        body: the provider's own report of usage, where the client hands it on.
    """
    if provider not in _WHO_TELLS:
        return None
    told = body if body.get("cost") is not None else metadata
    cost = told.get("cost")
    own = _dollars(mapping(cost).get("total_cost", cost))  # Perplexity's is an object
    upstream = _dollars(mapping(told.get("cost_details")).get("upstream_inference_cost"))
    if own is not None and upstream is not None and (told.get("is_byok") is True or upstream > own):
        # With a key of one's own at the model's provider, OpenRouter's cost is only its fee.
        return own + upstream
    return own


def _dollars(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    amount = Decimal(str(value))
    return amount if amount.is_finite() and 0 <= amount <= _MOST else None

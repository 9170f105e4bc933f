"""Whom a call goes to: the provider that LangChain names, or the one whose address the client was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.prices import provider_at
from apeiros_callbacks.reported.plain import mapping, text

__all__ = ["at_address"]

# The clients' own names for a base URL, as their serialized form has them.
_ADDRESSES = frozenset({
    "openai_api_base", "anthropic_api_url", "azure_endpoint", "base_url", "api_base", "endpoint",
    "endpoint_url", "groq_api_base", "xai_api_base", "openrouter_api_base",
})  # fmt: skip


def at_address(
    metadata: Mapping[str, Any], serialized: Mapping[str, Any] | None, params: Mapping[str, Any]
) -> Mapping[str, Any]:
    """LangChain's metadata of a call, with the provider to price it by in the place of ``ls_provider``.

    Args:
        metadata: as LangChain gives it.
        serialized: the client's serialized form, which has its base URL where it was given one.
        params: LangChain's ``invocation_params``.
    """
    named = str(metadata.get("ls_provider") or "")
    given = mapping(mapping(serialized).get("kwargs"))
    url = None
    for key in given:  # a handful, fewer than there are names for an address
        if key in _ADDRESSES and (url := text(given[key])):
            break
    if url is None and named == "openai":
        # Read by the OpenAI SDK itself, so that the client does not know of it.
        url = os.environ.get("OPENAI_BASE_URL")
    if named == "google_genai" and _on_vertex(given):
        return {**metadata, "ls_provider": "google_vertexai"}
    if not url:
        return metadata
    model = text(metadata.get("ls_model_name")) or text(params.get("model")) or ""
    provider = provider_at(named, model, url)
    return metadata if provider == named else {**metadata, "ls_provider": provider}


def _on_vertex(given: Mapping[str, Any]) -> bool:
    """Whether Google's client talks to Vertex AI, decided as langchain-google-genai 4 decides it."""
    if given.get("vertexai") is not None:
        return given["vertexai"] is True
    said = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower()
    if said in {"true", "1", "yes", "false", "0", "no"}:
        return said in {"true", "1", "yes"}
    return bool(given.get("project") or given.get("credentials"))

"""Searches that a provider runs for an answer and bills apart from its tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.reported.reading import tokens

__all__ = ["searches"]

_GEMINI = re.compile(r"gemini-(\d+)")


def searches(
    message: object, metadata: Mapping[str, Any], body: Mapping[str, Any], *, model: str = ""
) -> tuple[int, int]:
    """How many web searches and file searches an answer is billed for.

    Args:
        message: the answer.
        metadata: its ``response_metadata``.
        body: the provider's own report of usage, where the client hands it on.
        model: the model that answered.
    """
    told = _told(body, model) if body else None
    blocks = _blocks(message)
    if not blocks and "grounding_metadata" not in metadata:
        return told or 0, 0
    if told is None:
        told = _anthropic(blocks) + _openai(blocks) if blocks else 0
        told += _google(metadata, model) if "grounding_metadata" in metadata else 0
    return told, _file_searches(blocks)


def _told(body: Mapping[str, Any], model: str) -> int | None:
    """What the report itself says."""
    for place in ("server_tool_use", "server_tool_use_details"):  # Anthropic, OpenRouter
        told = tokens(mapping(body.get(place)).get("web_search_requests"))
        if told is not None:
            return told
    if "deep-research" in model:  # of Perplexity's, the others are paid by the request
        return tokens(body.get("num_search_queries"))
    return tokens(body.get("num_sources_used")) or None  # xAI


def _anthropic(blocks: Sequence[Mapping[str, Any]]) -> int:
    """Searches among the content, for streams: langchain-anthropic drops the count from those.

    A search that failed is not billed.
    """
    asked = {
        text(block.get("id"))
        for block in blocks
        if block.get("type") in {"server_tool_use", "server_tool_call"} and block.get("name") == "web_search"
    }
    failed = {
        text(block.get("tool_use_id"))
        for block in blocks
        if block.get("type") == "web_search_tool_result" and not isinstance(block.get("content"), list)
    }
    return len(asked - failed)


def _openai(blocks: Sequence[Mapping[str, Any]]) -> int:
    """Of the web search tool's actions, a search is billed; opening a page and looking in it are not."""
    return sum(
        block.get("type") == "web_search_call"
        and block.get("status") != "failed"
        and mapping(block.get("action")).get("type", "search") == "search"
        for block in blocks
    )


def _google(metadata: Mapping[str, Any], model: str) -> int:
    """Up to Gemini 2.5 a grounded answer is billed, whatever it took; from Gemini 3 on each query."""
    queries = mapping(metadata.get("grounding_metadata")).get("web_search_queries")
    asked = {query for query in items(queries) if isinstance(query, str) and query}
    version = _GEMINI.search(model)
    return len(asked) if version and int(version[1]) >= 3 else min(1, len(asked))


def _file_searches(blocks: Sequence[Mapping[str, Any]]) -> int:
    return sum(
        block.get("type") == "file_search_call" and block.get("status") != "failed" for block in blocks
    )


def _blocks(message: object) -> Sequence[Mapping[str, Any]]:
    """The blocks of the content, and the tool outputs that older versions of langchain-openai keep apart."""
    more = mapping(getattr(message, "additional_kwargs", None)).get("tool_outputs")
    content = getattr(message, "content", None)
    if more is None and content.__class__ is str:
        return ()
    return [mapping(block) for block in (*items(content), *items(more))]

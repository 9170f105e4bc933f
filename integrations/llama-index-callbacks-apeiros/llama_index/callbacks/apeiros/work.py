"""Calls that are no model's: tools, embeddings and rerankers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from llama_index.core.instrumentation.events.rerank import ReRankStartEvent
from llama_index.core.schema import QueryBundle
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.tools import BaseTool

from apeiros_callbacks.call import NO_PROMPT, Outcome
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.reported.plain import count, items
from llama_index.callbacks.apeiros.calls import calls
from llama_index.callbacks.apeiros.prompts import texts_prompt
from llama_index.callbacks.apeiros.requests import Request
from llama_index.callbacks.apeiros.spans import ASYNC_BATCH, Span

__all__ = ["batch_of", "embedding_request", "rerank_request", "tool_opens"]


def tool_opens(span: Span, tool: BaseTool) -> None:
    """Open a tool's call. A tool that is called by its own other method is the same call.

    A program that has a model fill in a class shows it as a tool: that is no work of its own.
    """
    around = span.parent
    if around is not None and around.instance is tool:
        return
    if around is not None and around.method in _ASKING:
        around = around.parent
    if around is not None and around.id.startswith(_PROGRAMS):
        return
    request = Request(
        tool, lambda *_: NO_PROMPT, kind="tool", model=tool.metadata.name or "tool", provider=""
    )
    try:
        calls.open(span, request)
    except Refused:  # by its price; nothing can keep a tool from running here
        calls.record(span, request, lambda _: Outcome(ending="answered"))


_ASKING = frozenset({"predict_and_call", "apredict_and_call"})
_PROGRAMS = ("FunctionCallingProgram.", "OpenAIPydanticProgram.")


def batch_of(span: Span, described: Mapping[str, Any]) -> Request | None:
    """What an embedding is about to send; None where its cache has all of it.

    The event does not say its texts: they are the span's, in batches.
    """
    args = span.args
    single = args.get("query", args.get("text"))
    if single is not None:
        return embedding_request(span.instance, [single], described)
    size = count(getattr(span.instance, "embed_batch_size", None)) or 1
    texts = list(items(args.get("texts")))[span.batches * size : (span.batches + 1) * size]
    span.batches += 1
    missing = _not_cached(getattr(span.instance, "embeddings_cache", None), texts)
    if not missing:
        return None
    request = embedding_request(span.instance, texts, described, missing)
    if span.method == ASYNC_BATCH:
        task = asyncio.current_task()
        request.made_in = None if task is None else id(task)
    return request


def _not_cached(cache: object, texts: list[str]) -> list[str]:
    """The texts that are not in a cache. One that is not in memory is not asked: that would wait."""
    if not isinstance(cache, SimpleKVStore):
        return texts
    return [one for one in texts if cache.get(key=one, collection="embeddings") is None]


def rerank_request(span: Span, event: ReRankStartEvent) -> Request:
    """What a reranker is about to send."""
    read = event.query.query_str if isinstance(event.query, QueryBundle) else str(event.query)
    texts = [read, *(node.node.get_content() for node in event.nodes)]
    return Request(span.instance, lambda *_: texts_prompt(texts), kind="rerank", model=event.model_name)


def embedding_request(
    embedding: object,
    texts: list[str],
    described: Mapping[str, Any] | None = None,
    sent: list[str] | None = None,
) -> Request:
    """What is asked of an embedding model; `sent`, where its cache has some of the texts."""
    read = texts if sent is None else sent
    return Request(embedding, lambda *_: texts_prompt(read), None, described, kind="embedding", texts=texts)

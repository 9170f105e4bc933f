"""`BudgetedEmbedding`: an embedding model whose texts are counted before they are sent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import PrivateAttr, SerializeAsAny

from apeiros_callbacks import Session
from apeiros_callbacks.call import Outcome
from apeiros_callbacks.errors import ConfigError
from llama_index.callbacks.apeiros.calls import calls, cut_outcome
from llama_index.callbacks.apeiros.guard import Guard
from llama_index.callbacks.apeiros.handler import ApeirosHandler
from llama_index.callbacks.apeiros.live import Live
from llama_index.callbacks.apeiros.routing import Claim, claiming
from llama_index.callbacks.apeiros.spans import Span
from llama_index.callbacks.apeiros.waiting import waited
from llama_index.callbacks.apeiros.work import embedding_request

__all__ = ["BudgetedEmbedding"]


def _is_model(given: object) -> bool:
    return isinstance(given, BaseEmbedding) and not getattr(given, "is_apeiros", False)


class BudgetedEmbedding(BaseEmbedding):
    """Takes an embedding model's place: it keeps to a handler's budget, also in async batches with a cache.

    LlamaIndex's embeddings hand no usage on: the tokens are counted here and marked ``estimated``; with
    ``strict=True`` they are the most that the texts can have. What comes from a cache costs nothing. Each
    batch is one entry of the kind ``embedding``, also where the client sends it in several requests.

    Args:
        embedding: the embedding model. Its cache and its rate limiter go on working, here.
        handler: whose budget it is; otherwise a new one is made of `settings`.
        **settings: of `ApeirosHandler`, such as ``budget=0.50``, where no handler is given.

    Raises:
        ConfigError: a setting is not valid, or `embedding` is no LlamaIndex embedding model.

    Example:
        >>> Settings.embed_model = BudgetedEmbedding(OpenAIEmbedding(), handler)     # doctest: +SKIP
    """

    is_apeiros: ClassVar[bool] = True

    embedding: SerializeAsAny[BaseEmbedding]
    _handler: ApeirosHandler = PrivateAttr()

    def __init__(
        self, embedding: BaseEmbedding, handler: ApeirosHandler | None = None, **settings: Any
    ) -> None:
        if not _is_model(embedding):
            raise ConfigError(
                f"BudgetedEmbedding takes a LlamaIndex embedding model, got {type(embedding).__name__}"
            )
        limiter = embedding.rate_limiter
        super().__init__(
            embedding=embedding,  # type: ignore[call-arg] # LlamaIndex's models are made of their fields
            model_name=embedding.model_name,
            embed_batch_size=embedding.embed_batch_size,
            callback_manager=embedding.callback_manager,
            num_workers=embedding.num_workers,
            embeddings_cache=embedding.embeddings_cache,
            rate_limiter=limiter.inner if isinstance(limiter, Guard) else limiter,
        )
        self._handler = ApeirosHandler(**settings) if handler is None else handler
        self._handler.is_placed = True

    @classmethod
    def class_name(cls) -> str:
        """Its name in LlamaIndex's own descriptions."""
        return "BudgetedEmbedding"

    @property
    def handler(self) -> ApeirosHandler:
        """Whose budget it is."""
        return self._handler

    @property
    def session(self) -> Session:
        """The handler's session."""
        return self._handler.session

    def _get_query_embedding(self, query: str) -> Embedding:
        with self._counted(self._opened([query])):
            return self.embedding._get_query_embedding(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        with self._counted(await waited(partial(self._opened, [query]))):
            return await self.embedding._aget_query_embedding(query)

    def _get_text_embedding(self, text: str) -> Embedding:
        with self._counted(self._opened([text])):
            return self.embedding._get_text_embedding(text)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        with self._counted(await waited(partial(self._opened, [text]))):
            return await self.embedding._aget_text_embedding(text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        with self._counted(self._opened(texts)):
            return self.embedding._get_text_embeddings(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        with self._counted(await waited(partial(self._opened, texts))):
            return await self.embedding._aget_text_embeddings(texts)

    def _opened(self, texts: list[str]) -> tuple[Span, Live | None]:
        span = calls.span_here(self.class_name())
        with claiming(Claim(self._handler, None, None)):
            live = calls.open(span, embedding_request(self.embedding, texts))
        if live is not None:
            live.ends_apart = True
        return span, live

    @contextmanager
    def _counted(self, opened: tuple[Span, Live | None]) -> Generator[None]:
        """Close what was opened, however it ends."""
        span, live = opened
        outcome = Outcome(ending="answered")
        try:
            yield
        except BaseException as error:  # also a cancelled task, and a person who interrupts
            outcome = outcome if live is None else cut_outcome(live, error)
            raise
        finally:
            if live is not None:
                calls.finish(span, live, outcome)

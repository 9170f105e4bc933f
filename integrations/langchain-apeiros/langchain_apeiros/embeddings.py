"""`BudgetedEmbeddings`: LangChain's embeddings send no events, so that they are wrapped to be counted."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from langchain_core.embeddings import Embeddings

from apeiros_callbacks.call import Ending, Outcome
from apeiros_callbacks.checked import instance
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.prices.names import is_local, known_provider
from apeiros_callbacks.reported.plain import count, text
from langchain_apeiros.ended import ending_of_error, error_name, handled_here
from langchain_apeiros.endpoints import at_address
from langchain_apeiros.handler import ApeirosHandler

__all__ = ["BudgetedEmbeddings"]


class BudgetedEmbeddings(Embeddings):
    """Keeps an embedding model within a handler's budget, and records what it is asked for.

    It takes the model's place in a vector store, a retriever or a cache. Each call of a method is one entry
    of the kind ``embedding``, also where the client sends its texts in several requests (``chunk_size`` of
    ``OpenAIEmbeddings``). LangChain's embeddings hand no usage on: the tokens are counted here and marked
    ``estimated``; with ``strict=True`` they are the most that the texts can have. The agent and the run are
    those that it is called in.

    With ``CacheBackedEmbeddings``, wrap the model inside, so that only what is not in the cache costs:
    ``CacheBackedEmbeddings.from_bytes_store(BudgetedEmbeddings(model, handler), store)``.

    Args:
        embeddings: the embedding model.
        handler: whose budget it is.
        model: the model's name, for its price; otherwise what `embeddings` says.
        provider: whose price it has, for instance ``"openai"``; otherwise told from the class of `embeddings`
            and the address that it was given. What runs on this machine, such as Ollama, is free.

    Raises:
        ConfigError: `embeddings` is no LangChain embedding model.

    Each method raises `BudgetExceeded` or another `Refused` before anything is sent. An error of the provider
    costs nothing, but for one that may have come after other requests of the same call were answered.

    Example:
        >>> embeddings = BudgetedEmbeddings(OpenAIEmbeddings(), handler)            # doctest: +SKIP
        >>> store = InMemoryVectorStore(embeddings)                                 # doctest: +SKIP
    """

    def __init__(
        self,
        embeddings: Embeddings,
        handler: ApeirosHandler,
        *,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        if not isinstance(embeddings, Embeddings):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"embeddings must be a LangChain embedding model, got {embeddings!r}")
        self._embeddings = embeddings
        self._handler = instance(handler, ApeirosHandler, "handler")
        self._model = model or _model_of(embeddings)
        self._provider = provider or _provider_of(embeddings, self._model)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of some texts. None of no texts, for which nothing is sent."""
        if not texts:
            return []
        with self._counted(texts):
            return self._embeddings.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text that others are compared with."""
        with self._counted([text]):
            return self._embeddings.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same as `embed_documents`, on an event loop."""
        if not texts:
            return []
        with self._counted(texts):
            return await self._embeddings.aembed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """The same as `embed_query`, on an event loop."""
        with self._counted([text]):
            return await self._embeddings.aembed_query(text)

    @contextmanager
    def _counted(self, texts: Sequence[str]) -> Generator[None]:
        """Open a call, and close it however it ends."""
        session, around = self._handler.session, handled_here()
        call_id = self._handler.open_embedding(self._provider, self._model, texts).call.id
        try:
            yield
        except BaseException as error:  # also a cancelled task, and a person who interrupts
            session.close_call(call_id, self._failed(error, len(texts), around))
            raise
        session.close_call(call_id, Outcome(ending="answered"))

    def _failed(self, error: BaseException, texts: int, around: int) -> Outcome:
        ending: Ending = ending_of_error(error, None, streaming=False, around=around)
        if ending == "failed" and texts > (count(getattr(self._embeddings, "chunk_size", None)) or texts):
            ending = "cut"  # requests that were sent before may have been answered
        return Outcome(ending=ending, error=error_name(error))


def _model_of(embeddings: Embeddings) -> str:
    given: object = getattr(embeddings, "model_fields_set", ())
    deployment = text(getattr(embeddings, "deployment", None))
    if deployment and isinstance(given, set) and "deployment" in given and "model" not in given:
        return deployment  # of Azure: what `model` says is a default that is not used
    for name in ("model", "model_name", "model_id"):
        if model := text(getattr(embeddings, name, None)):
            return model
    return type(embeddings).__name__


def _provider_of(embeddings: Embeddings, model: str) -> str:
    known = {"ls_provider": _provider_by_class(type(embeddings)), "ls_model_name": model}
    return str(at_address(known, {"kwargs": vars(embeddings)}, {})["ls_provider"])


def _provider_by_class(made: type) -> str:
    """The provider that a class, or one that it is made from, is named after. Empty where none is."""
    for kind in made.__mro__:
        name = kind.__name__.lower()
        short = name.removesuffix("embeddings")
        if provider := known_provider(name):
            return provider
        for local in (short, name):
            if is_local(local, ""):
                return local
    return ""

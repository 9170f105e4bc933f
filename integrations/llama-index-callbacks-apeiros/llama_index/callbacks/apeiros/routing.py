"""A ladder of models, and what a wrapper says of the calls that it makes on one of its rungs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM

from apeiros_callbacks.errors import ConfigError, Refused
from apeiros_callbacks.routing import Ladder, Rung, RungModel
from llama_index.callbacks.apeiros.endpoints import model_of, provider_of
from llama_index.callbacks.apeiros.placing import claim_here

if TYPE_CHECKING:
    from llama_index.callbacks.apeiros.handler import ApeirosHandler
    from llama_index.callbacks.apeiros.live import Live
    from llama_index.callbacks.apeiros.requests import Request

__all__ = ["Claim", "Step", "claiming", "steps_of"]


class Claim:
    """Goes with each call of a wrapper: whose it is, and what is heard of it."""

    __slots__ = ("agent", "handler", "later", "request", "routed_why", "rung", "stop")

    def __init__(self, handler: ApeirosHandler, agent: str | None, rung: Rung | None) -> None:
        self.handler = handler
        self.agent = agent
        self.rung = rung
        self.request: Request | None = None
        """What the model will be sent, as far as it was read before."""
        self.later: list[tuple[Live, str]] | None = None
        """Pieces to be counted where money may be awaited; None: each is counted as it comes."""
        self.routed_why = ""
        """Why the rung above was left, as the first call was told that was opened."""
        self.stop: Refused | None = None
        """Why the stream is to be cut."""

    def opened(self, live: Live) -> None:
        """Note a call that was opened under it. A gate and what it stood for are one call in two."""
        for session, open_call in live.opened:
            if session is self.handler.session:
                open_call.routed_why = self.routed_why = open_call.routed_why or self.routed_why

    def taken(
        self, instance: object, messages: Sequence[ChatMessage], options: Mapping[str, Any]
    ) -> Request | None:
        """What was read before of what is sent now, once; None where that is another."""
        request, self.request = self.request, None
        return request if request is not None and request.is_of(instance, messages, options) else None

    def stays(self) -> None:
        """Keep to this rung: what is made of the call cannot go to another model any more."""
        if self.rung is not None:
            self.rung = self.rung._replace(at=self.rung.at[: self.rung.place], below=())


@contextmanager
def claiming(claim: Claim) -> Generator[None]:
    """Make the calls of this thread or task the claim's."""
    token = claim_here.set(claim)
    try:
        yield
    finally:
        claim_here.reset(token)


class Step(NamedTuple):
    """A model on its rung; alone, it has none."""

    model: LLM
    rung: Rung | None
    place: int
    """Where it is among all models of the wrapper."""


def steps_of(
    model: LLM | Ladder[LLM], ladder: Ladder[LLM] | Mapping[str, Ladder[LLM]] | None
) -> Mapping[str, list[Step]]:
    """The models to try, by agent; ``"*"`` for any other.

    Raises:
        ConfigError: something is no LlamaIndex model.
    """
    ladders: Mapping[str, Ladder[LLM] | LLM]
    if isinstance(ladder, Mapping):
        ladders = {"*": model, **ladder}
    else:
        ladders = {"*": model if ladder is None else ladder}
    found: dict[str, list[Step]] = {}
    place = 0
    for agent, models in ladders.items():
        chosen = models.models if isinstance(models, Ladder) else (models,)
        rungs = _rungs(models) if isinstance(models, Ladder) else [None]
        found[agent] = [
            Step(_model(one), rung, place + i)
            for i, (one, rung) in enumerate(zip(chosen, rungs, strict=True))
        ]
        place += len(chosen)
    return found


def _rungs(ladder: Ladder[LLM]) -> list[Rung]:
    known = [_known(_model(model)) for model in ladder.models]
    return [
        Rung(
            ladder.at,
            place,
            preferred=known[0].model,
            below=tuple(known[place + 1 :]),
            takes_tools=known[place].takes_tools,
        )
        for place in range(len(known))
    ]


def _known(model: LLM) -> RungModel:
    name = model_of(model, {})
    return RungModel(provider_of(model, name, {}), name, model.metadata.is_function_calling_model)


def _model(given: object) -> LLM:
    if not isinstance(given, LLM):
        raise ConfigError(f"BudgetedLLM takes LlamaIndex models, got {type(given).__name__}")
    if getattr(given, "is_apeiros", False):
        raise ConfigError("a BudgetedLLM is in a BudgetedLLM: give the models themselves")
    return given

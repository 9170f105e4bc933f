"""What is about to be sent, as LlamaIndex says it, turned into the core's `Call`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

from apeiros_callbacks.call import Call, Prompt
from apeiros_callbacks.entry import EntryKind
from apeiros_callbacks.reported.plain import count, mapping, text
from apeiros_callbacks.routing import Rung
from llama_index.callbacks.apeiros.endpoints import model_of, provider_of
from llama_index.callbacks.apeiros.fields import field
from llama_index.callbacks.apeiros.prompts import has_cache_marks, text_prompt
from llama_index.callbacks.apeiros.spans import Span

__all__ = ["MAXIMA", "Request"]

MAXIMA = (
    "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict",
)  # fmt: skip
"""What integrations call the most that a call may write, for one choice."""


class Request:
    """A call that a model or an embedding is asked to make.

    Args:
        instance: what is asked.
        prompt: gives what is sent, in the core's words.
        options: what the call itself says, such as ``max_tokens`` or ``model``.
        described: LlamaIndex's own description of `instance`.
        kind: what it is in the ledger.
        model: the model, where it is known better than by what `instance` says.
        provider: the same of whom it goes to.
        texts: what is embedded.
        messages: what a chat model is sent.
    """

    __slots__ = (
        "_read", "id", "instance", "kind", "made_in", "messages", "model", "options", "prompt", "provider",
        "texts",
    )  # fmt: skip

    def __init__(
        self,
        instance: object,
        prompt: Callable[[str, str], Prompt],
        options: Mapping[str, Any] | None = None,
        described: Mapping[str, Any] | None = None,
        *,
        kind: EntryKind = "llm",
        model: str | None = None,
        provider: str | None = None,
        texts: Sequence[str] = (),
        messages: Sequence[ChatMessage] = (),
    ) -> None:
        self.instance = instance
        self.prompt = prompt
        self.options: Mapping[str, Any] = options or {}
        known: Mapping[str, Any] = described or {}
        self.kind: EntryKind = kind
        self.model = model or text(self.options.get("model")) or model_of(instance, known)
        self.provider = provider_of(instance, self.model, known) if provider is None else provider
        self.id = ""
        """Its id in the ledger, from its first try on."""
        self.made_in: int | None = None
        """The identity of the task that says it, where others send it: a batch is sent in one of its own."""
        self.texts = texts
        """What is embedded."""
        self.messages = messages
        """What a chat model is sent."""
        self._read: Prompt | None = None

    @property
    def cached(self) -> bool:
        """Whether it marks what is to be cached, so that what a stream says of its input is not all."""
        return has_cache_marks(self.messages, self.options)

    def is_of(self, instance: object, messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> bool:
        """Whether it is what a model is sent with these messages and options."""
        mine = self.messages
        return (
            self.instance is instance
            and len(mine) == len(messages) > 0
            and all(map(is_, mine, messages))
            and self.options == options
        )

    def call(
        self,
        call_id: str,
        span: Span,
        agent: str | None,
        customer: Callable[[], str | None],
        rung: Rung | None,
        failed: Callable[[Exception], None],
    ) -> Call:
        """The call, as a session takes it.

        Args:
            call_id: its id in the ledger.
            span: where it is made.
            agent: who makes it, where that is said; else it is told from `span`.
            customer: says whom it is for.
            rung: where on a ladder it is.
            failed: is told when the prompt cannot be read; it raises when that refuses the call.
        """
        prompt = self._read
        if prompt is None:
            try:
                prompt = self._read = self.prompt(self.provider, self.model)
            except Exception as bug:  # noqa: BLE001 - a shape of message that we cannot read
                failed(bug)
                prompt = text_prompt("")
        tags = span.tags
        own = mapping(field(self.instance, "additional_kwargs"))
        thread = tags.get("thread_id")
        return Call(
            id=call_id,
            kind=self.kind,
            provider=self.provider,
            model=self.model,
            prompt=prompt,
            agent=text(tags.get("agent")) or agent or span.agent_here(),
            thread=None if thread is None else str(thread),
            customer=customer(),
            root=span.root,
            max_output_tokens=self._max_output(own),
            choices=_positive(self.options.get("n")) or _positive(own.get("n")) or 1,
            service_tier=text(self.options.get("service_tier")) or text(own.get("service_tier")),
            rung=rung,
        )

    def _max_output(self, own: Mapping[str, Any]) -> int | None:
        """The largest maximum that is declared anywhere: which one wins differs from client to client."""
        if self.kind != "llm":
            return None
        found: list[object] = [field(self.instance, name) for name in MAXIMA]
        for options in (self.options, own):
            if options:
                found.extend(map(options.get, MAXIMA))
        return max((most for value in found if (most := _positive(value)) is not None), default=None)


def _positive(value: object) -> int | None:
    number = count(value)
    return number if number is not None and number > 0 else None

"""What was sent, kept until its answer comes: some of what an answer leaves out is told by its request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import BaseMessage

from apeiros_callbacks.reported.plain import items, mapping
from langchain_apeiros.usage.streamed import StreamedUsage

__all__ = ["Sent"]


class Sent:
    """A request, and what its stream reported so far.

    Args:
        messages: what was sent.
        params: LangChain's ``invocation_params``.
        shared: a completion model was given several prompts at once: their usage comes with the first.
    """

    __slots__ = ("messages", "params", "shared", "streamed")

    def __init__(
        self,
        messages: Sequence[BaseMessage] = (),
        params: Mapping[str, Any] | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self.messages = messages
        self.params: Mapping[str, Any] = params or {}
        self.shared = shared
        self.streamed = StreamedUsage()

    def cache_times(self) -> set[str]:
        """How long what the request marks is to be cached: ``5m``, ``1h``, or both."""
        marked = (mapping(block).get("cache_control") for block in self._blocks())
        marks = (mapping(mark) for mark in (*marked, self.params.get("cache_control")) if mark)
        return {str(mark.get("ttl") or "5m") for mark in marks}

    def has_sound(self) -> bool:
        """Whether there is audio in it, or a film, which has a sound track."""
        return any(
            block.get("type") in {"audio", "input_audio", "video"}
            or str(block.get("mime_type") or "").startswith(("audio/", "video/"))
            for block in map(mapping, self._blocks())
        )

    def _blocks(self) -> Iterator[object]:
        for message in self.messages:
            content = cast("object", vars(message).get("content"))
            for block in items(content):
                yield block
                yield from items(mapping(block).get("content"))
        yield from items(self.params.get("tools"))
        yield from items(self.params.get("system"))

"""Usage that comes with the chunks of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.reported.plain import mapping
from apeiros_callbacks.reported.reading import tokens

__all__ = ["StreamedUsage"]


class StreamedUsage:
    """Notes the reports of a stream's chunks, to tell parts of a sum from counts that go on.

    LangChain adds the chunks up. That is right for Google, whose client sends differences; some
    OpenAI-compatible servers send the count so far with each chunk, and ten chunks would make ten prompts
    of one. Such reports name the whole input again and again, and never less output than before.
    """

    __slots__ = ("_cumulative", "_input", "_last", "_output", "_reports", "_seen")

    def __init__(self) -> None:
        self._seen: object = None
        self._reports = 0
        self._cumulative = True
        self._input = self._output = 0
        self._last: Mapping[str, Any] = {}

    def saw(self, chunk: Any) -> None:
        """Note what a chunk reports. The same chunk again, from a handler attached twice, is no news."""
        message = getattr(chunk, "message", None)
        reported = getattr(message, "usage_metadata", None)
        if not reported or chunk is self._seen:
            return
        self._seen = chunk
        report = mapping(reported)
        read, written = tokens(report.get("input_tokens")) or 0, tokens(report.get("output_tokens")) or 0
        if self._reports and (read != self._input or written < self._output):
            self._cumulative = False
        self._reports += 1
        self._input, self._output, self._last = read, written, report

    def whole(self, summed: Mapping[str, Any]) -> Mapping[str, Any]:
        """The report that counts: the last one of those that go on, else the sum that LangChain made."""
        if self._reports < 2 or not self._cumulative or not self._input:
            return summed
        return self._last if summed.get("input_tokens") == self._reports * self._input else summed

"""What is remembered of each lane: one agent in one conversation. Detectors compare steps with it."""

from __future__ import annotations

from decimal import Decimal

from apeiros_callbacks.detectors.detector import Attempt, Lane, Step
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.scopes import Account

__all__ = ["Lanes"]


class _Memory:
    __slots__ = ("before", "prompt", "repeat_cost", "repeats", "tool")

    def __init__(self) -> None:
        self.before: Entry | None = None
        self.tool: str | None = None
        self.prompt = 0
        self.repeats = 0
        self.repeat_cost = Decimal(0)


class Lanes:
    """The last step of each lane, those of the last 256 lanes. Used under one lock."""

    def __init__(self) -> None:
        self._lanes: Recent[Lane, _Memory] = Recent()

    def opened(self, lane: Lane, prompt: int, step: int | None) -> Attempt:
        """Note a prompt that is about to be sent."""
        memory = self._lanes.get_or_make(lane, _Memory)
        if memory.prompt == prompt and memory.repeats:
            memory.repeats += 1
        else:
            memory.prompt, memory.repeats, memory.repeat_cost = prompt, 1, Decimal(0)
        return Attempt(lane, prompt, step, memory.repeats, memory.repeat_cost)

    def closed(self, lane: Lane, prompt: int, entry: Entry, accounts: tuple[Account, ...] = ()) -> Step:
        """Note a line that was written, and give it with what came before it."""
        memory = self._lanes.get_or_make(lane, _Memory)
        tokens = entry.usage.total_tokens
        is_llm = entry.kind == "llm" and not entry.cached and tokens > 0
        step = Step(lane, prompt, entry, memory.before, memory.tool, accounts, tokens, is_llm)
        if entry.kind == "tool":
            memory.tool = entry.model
        elif entry.cached:
            # An answer from a cache is no step and no repeat: nothing was sent.
            memory.repeats -= memory.prompt == prompt
        elif tokens:
            memory.before, memory.tool = entry, None
            if memory.prompt == prompt and entry.amount:
                memory.repeat_cost = entry.amount
        return step

"""What a call will cost, guessed before it is sent.

Input: a conversation only grows, so the input that the provider reported for an earlier call of the
same lane anchors the guess, and only the messages that came since are counted: their text as the model
reads it, and what the provider's template puts around it. Neither the tokenizers of most providers are
public, nor their templates; a ratio of reported to counted tokens, kept between 0.5 and 3, corrects what
is counted, but for media. Output: the largest of the last answers of the same agent and model, or, before
the first, the smaller of the declared maximum and 2,048 tokens.

``strict`` swaps the guess for a bound: a byte-level tokenizer never makes more tokens than there are
UTF-8 bytes, and no answer is longer than the declared maximum.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from apeiros_callbacks.call import Call, Prompt
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.tokens import Template, byte_bound, template_of, text_counter
from apeiros_callbacks.usage import Usage

__all__ = ["COLD_OUTPUT_TOKENS", "Estimate", "Estimator", "bound_input", "count_answer"]

COLD_OUTPUT_TOKENS: Final = 2048
"""Expected output of a model that was not heard yet, unless the request declares less."""

STRICT_MESSAGE_TOKENS: Final = 16
"""What a message costs beside its text, when a bound is asked for."""

STRICT_REQUEST_TOKENS: Final = 128
STRICT_TOOLS_TOKENS: Final = 900
"""What a provider's own template adds to a request, and to one with tools, when a bound is asked for.

The most seen in recorded calls: 44 on deepseek-v4 and 50 on gpt-oss; with tools 460 on llama-4 and 435 on
Claude, beyond one token for each byte. The most documented: 804 for tools, on Claude Opus 4.7.
"""

_RATIO_LOW, _RATIO_HIGH = 0.5, 3.0
_ANCHORS = 4
_ANSWERS = 8
_COUNTED_MESSAGES = 20_000
_WAYS_OF_COUNTING = 16


class Estimate(NamedTuple):
    """Tokens that a call is expected to use."""

    input_tokens: int
    output_tokens: int
    known_tokens: int
    """The part of the input that an earlier report anchors."""
    counted_tokens: int
    """The rest but for media, as counted, before the ratio."""
    media_tokens: int = 0
    """The media in the rest."""


class _Counted(NamedTuple):
    """A part of a prompt."""

    text: int
    """Tokens of the encoding."""
    added: int
    media: int


class _Anchor(NamedTuple):
    marks: tuple[int, ...]
    input_tokens: int


class _Lane:
    """The reported inputs of one conversation with one model, the latest few."""

    __slots__ = ("anchors",)

    def __init__(self) -> None:
        # Replaced, never changed: another thread may be reading it.
        self.anchors: tuple[_Anchor, ...] = ()

    def learn(self, marks: tuple[int, ...], input_tokens: int) -> None:
        length = len(marks)
        kept = [old for old in self.anchors if len(old.marks) != length or old.marks != marks]
        self.anchors = (_Anchor(marks, input_tokens), *kept[: _ANCHORS - 1])

    def longest_prefix(self, marks: tuple[int, ...]) -> _Anchor | None:
        best: _Anchor | None = None
        for anchor in self.anchors:
            n = len(anchor.marks)
            if n > len(marks) or marks[n - 1] != anchor.marks[-1]:
                continue  # without a look at all the others
            if (best is None or n > len(best.marks)) and marks[:n] == anchor.marks:
                best = anchor
        return best


class Estimator:
    """Guesses, and learns from what was reported. One for each session; its memory is bounded."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._lanes: Recent[tuple[object, ...], _Lane] = Recent()
        self._answers: Recent[tuple[object, ...], tuple[int, ...]] = Recent()
        self._ratios: Recent[tuple[str, str], float] = Recent()
        self._counted: Recent[tuple[Template, str], dict[object, _Counted]] = Recent(_WAYS_OF_COUNTING)
        """Parts of prompts by their marks, for each way of counting."""

    def estimate(self, call: Call) -> Estimate:
        """Guess the tokens of a call; under ``strict``, bound them.

        A strict call whose request declares no maximum has no bound; the guess for its output is given,
        and the session decides what to do about it.
        """
        if self.strict:
            most = call.most_output
            output = self._output(call) if most is None else most
            return Estimate(bound_input(call.prompt), output, 0, 0)
        lane = self._lanes.get_or_make(_lane_key(call), _Lane)
        marks = call.prompt.marks
        anchor = lane.longest_prefix(marks)
        first_new = 0 if anchor is None else len(anchor.marks)
        known = 0 if anchor is None else anchor.input_tokens
        if first_new >= len(marks):
            return Estimate(known, self._output(call), known, 0)
        counted, media = self._count(call, first_new)
        ratio = self._ratios.get((call.provider, call.model)) or 1.0
        return Estimate(known + round(counted * ratio) + media, self._output(call), known, counted, media)

    def learn(self, call: Call, estimate: Estimate | None, usage: Usage) -> None:
        """Remember what the provider reported for a call."""
        key = _answer_key(call)
        # Replaced, never changed: another thread may be reading it.
        answers = self._answers.get(key) or ()
        self._answers.set(key, (*answers[1 - _ANSWERS :], usage.output_tokens))
        marks = call.prompt.marks
        if usage.input_tokens and marks:  # a prompt that is not known begins every other
            lane = self._lanes.get_or_make(_lane_key(call), _Lane)
            lane.learn(marks, usage.input_tokens)
            # Of a part that is mostly media it is the guess for the media that is wrong, not the ratio.
            if estimate is not None and estimate.counted_tokens > estimate.media_tokens:
                beside = estimate.known_tokens + estimate.media_tokens
                self._learn_ratio(call, usage.input_tokens - beside, estimate.counted_tokens)

    def _learn_ratio(self, call: Call, reported: int, counted: int) -> None:
        seen = min(_RATIO_HIGH, max(_RATIO_LOW, reported / counted))
        key = (call.provider, call.model)
        before = self._ratios.get(key)
        self._ratios.set(key, seen if before is None else before + (seen - before) / 4)

    def _output(self, call: Call) -> int:
        answers = self._answers.get(_answer_key(call))
        expected = max(answers) if answers else COLD_OUTPUT_TOKENS * call.choices
        most = call.most_output
        return expected if most is None else min(expected, most)

    def _count(self, call: Call, first: int) -> tuple[int, int]:
        """The tokens of a prompt from a message on, and those of its media."""
        prompt, marks = call.prompt, call.prompt.marks
        counter, template = text_counter(call.provider, call.model), template_of(call.provider, call.model)
        counted = self._counted.get_or_make((template, counter.name), dict)
        text = media = 0
        added = 0 if call.kind != "llm" else (0 if first else template.request)
        for i in range(first, len(marks)):
            mark = marks[i]
            # Media are counted by the model, all else is the same for every model of the template.
            found = counted.get(mark) or counted.get((call.provider, call.model, mark))
            if found is None:
                piece = prompt.piece(i)
                read = piece.text if piece.read is None else piece.read
                found = _Counted(counter.count(read), piece.added_tokens, piece.more_tokens)
                if len(counted) >= _COUNTED_MESSAGES:
                    counted.clear()
                counted[(call.provider, call.model, mark) if piece.more_tokens else mark] = found
            text += found.text
            added += found.added
            media += found.media
        if call.kind == "llm":
            added += (len(marks) - first) * template.message
        return round(text * counter.scale) + added, media


def _lane_key(call: Call) -> tuple[object, ...]:
    return (call.agent, call.thread, call.provider, call.model)


def _answer_key(call: Call) -> tuple[object, ...]:
    return (call.agent, call.provider, call.model)


def bound_input(prompt: Prompt) -> int:
    """A number of input tokens that no provider is known to exceed.

    One for each UTF-8 byte, since a byte-level tokenizer makes no more of them, and the most that is known
    of what providers add.
    """
    total = STRICT_REQUEST_TOKENS + (STRICT_TOOLS_TOKENS if prompt.has_tools else 0)
    for i in range(len(prompt.marks)):
        piece = prompt.piece(i)
        total += byte_bound(piece.text) + piece.more_tokens + STRICT_MESSAGE_TOKENS
    return total


def count_answer(call: Call, text: str) -> int:
    """Tokens of an answer whose usage was not reported, with the prior of the model's family."""
    counter = text_counter(call.provider, call.model)
    return round(counter.count(text) * counter.scale)

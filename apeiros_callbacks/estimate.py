"""What a call will cost, guessed before it is sent.

Input: a conversation only grows, so the input that the provider reported for an earlier call of the
same lane anchors the guess, and only the messages that came since are counted: their text as the model
reads it, and what the provider's template puts around it. Neither the tokenizers of most providers are
public, nor their templates; a ratio of reported to counted tokens, kept between 0.5 and 3, corrects what
is counted, but for media. Output: the largest of the last answers of the same agent and model, or, before
the first, the smaller of the declared maximum and 2,048 tokens.

Counting takes longer than all else that is done for a call. While a budget has room for a thousand calls
of the kind, `Estimator.rough` is enough: it takes one token for each byte of a message that was not counted.

``strict`` swaps the guess for a bound: a byte-level tokenizer never makes more tokens than there are
UTF-8 bytes, and no answer is longer than the declared maximum.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from apeiros_callbacks.call import Call, Prompt
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.tokens import Template, TokenCounter, byte_bound, template_of, text_counter
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
_WELL_KNOWN = 8
"""Reports that make a ratio, each a quarter of it, one that need not be learned further."""


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
    is_rough: bool = False
    """Not all of the rest was counted, and there are rather fewer tokens than this says."""

    @property
    def tells_ratio(self) -> bool:
        """What is reported for it shows how the model counts, and not how wrong a guess for media was."""
        return not self.is_rough and self.counted_tokens > self.media_tokens


class _Counted(NamedTuple):
    """A part of a prompt."""

    text: int
    """Tokens of the encoding."""
    added: int
    media: int


class _Parts(NamedTuple):
    """The parts of prompts that were seen, by their marks."""

    counted: dict[object, _Counted]
    measured: dict[object, _Counted]
    """Those that were not counted, with one token for each byte."""


class _Way(NamedTuple):
    """How the tokens of a model are counted."""

    counter: TokenCounter
    name: str
    template: Template
    parts: _Parts


class _Ratio(NamedTuple):
    """Tokens that a provider reports for one that is counted."""

    value: float = 1.0
    reports: int = 0


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
        last = marks[-1]  # most differ here, and only the same prompt nowhere
        kept = [
            old
            for old in self.anchors
            if old.marks[-1] != last or len(old.marks) != length or old.marks != marks
        ]
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


_UNKNOWN = _Ratio()


class Estimator:
    """Guesses, and learns from what was reported. One for each session; its memory is bounded."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._lanes: Recent[tuple[object, ...], _Lane] = Recent()
        self._answers: Recent[tuple[object, ...], tuple[int, ...]] = Recent()
        self._ratios: Recent[tuple[str, str], _Ratio] = Recent()
        self._parts: Recent[tuple[Template, str], _Parts] = Recent(_WAYS_OF_COUNTING)
        self._ways: Recent[tuple[str, str], _Way] = Recent()

    def estimate(self, call: Call) -> Estimate:
        """Guess the tokens of a call; under ``strict``, bound them.

        A strict call whose request declares no maximum has no bound; the guess for its output is given,
        and the session decides what to do about it.
        """
        if self.strict:
            most = call.most_output
            output = self._output(call) if most is None else most
            return Estimate(bound_input(call.prompt), output, 0, 0)
        return self._estimate(call, counts=True)

    def rough(self, call: Call) -> Estimate | None:
        """Estimate without counting: more than `estimate` would, by what is new in the prompt.

        None where that is no use: under ``strict``, and before the model's ratio is known.
        """
        if self.strict or self._ratio(call).reports < _WELL_KNOWN:
            return None
        return self._estimate(call, counts=False)

    def _estimate(self, call: Call, *, counts: bool) -> Estimate:
        lane = self._lanes.get_or_make(_lane_key(call), _Lane)
        marks = call.prompt.marks
        anchor = lane.longest_prefix(marks)
        first_new = 0 if anchor is None else len(anchor.marks)
        known = 0 if anchor is None else anchor.input_tokens
        if first_new >= len(marks):
            return Estimate(known, self._output(call), known, 0)
        counted, media, is_rough = self._count(call, first_new, counts=counts)
        ratio = self._ratio(call).value
        if is_rough:
            ratio = max(1.0, ratio)
        tokens = known + round(counted * ratio) + media
        return Estimate(tokens, self._output(call), known, counted, media, is_rough)

    def is_cold(self, call: Call) -> bool:
        """Whether the length of the answer is a guess that nothing supports: none was heard of this model."""
        return not self.strict and self._answers.get(_answer_key(call)) is None

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
            if estimate is not None and estimate.tells_ratio:
                beside = estimate.known_tokens + estimate.media_tokens
                self._learn_ratio(call, usage.input_tokens - beside, estimate.counted_tokens)

    def _learn_ratio(self, call: Call, reported: int, counted: int) -> None:
        seen = min(_RATIO_HIGH, max(_RATIO_LOW, reported / counted))
        value, reports = self._ratio(call)
        value = value + (seen - value) / 4 if reports else seen
        self._ratios.set((call.provider, call.model), _Ratio(value, reports + 1))

    def _ratio(self, call: Call) -> _Ratio:
        return self._ratios.get((call.provider, call.model)) or _UNKNOWN

    def _output(self, call: Call) -> int:
        answers = self._answers.get(_answer_key(call))
        expected = max(answers) if answers else COLD_OUTPUT_TOKENS * call.choices
        most = call.most_output
        return expected if most is None else min(expected, most)

    def _count(self, call: Call, first: int, *, counts: bool) -> tuple[int, int, bool]:
        """The tokens of a prompt from a message on, those of its media, and whether some are bytes."""
        prompt, marks = call.prompt, call.prompt.marks
        way = self._way(call.provider, call.model)
        counter, template = way.counter, way.template
        known, measured = way.parts
        text = media = 0
        added = 0 if call.kind != "llm" else (0 if first else template.request)
        is_rough = False
        for i in range(first, len(marks)):
            mark = marks[i]
            # Media are counted by the model, all else is the same for every model of the template.
            found = known.get(mark) or known.get((call.provider, call.model, mark))
            if found is None and not counts:
                is_rough = True
                found = measured.get(mark) or measured.get((call.provider, call.model, mark))
            if found is None:
                piece = prompt.piece(i)
                read = piece.text if piece.read is None else piece.read
                tokens = counter.count(read) if counts else byte_bound(read)
                found = _Counted(tokens, piece.added_tokens, piece.more_tokens)
                seen = known if counts else measured
                if len(seen) >= _COUNTED_MESSAGES:
                    seen.clear()
                seen[(call.provider, call.model, mark) if piece.more_tokens else mark] = found
            text += found.text
            added += found.added
            media += found.media
        if call.kind == "llm":
            added += (len(marks) - first) * template.message
        return round(text * counter.scale) + added, media, is_rough

    def _way(self, provider: str, model: str) -> _Way:
        way = self._ways.get((provider, model))
        # An encoding that was loaded meanwhile counts from now on.
        if way is None or way.name != way.counter.name:
            counter, template = text_counter(provider, model), template_of(provider, model)
            parts = self._parts.get_or_make((template, counter.name), lambda: _Parts({}, {}))
            way = _Way(counter, counter.name, template, parts)
            self._ways.set((provider, model), way)
        return way


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

"""Guesses before sending: anchored on what was reported, learned, bounded."""

from __future__ import annotations

from dataclasses import replace

from apeiros_callbacks.call import Call, Piece, Prompt
from apeiros_callbacks.estimate import COLD_OUTPUT_TOKENS, Estimator, bound_input
from apeiros_callbacks.usage import Usage


class Conversation:
    """Messages of `word ` times some number, and a note of which were counted."""

    def __init__(self) -> None:
        self.counted: list[int] = []

    def call(self, *sizes: int, agent: str = "a", maximum: int | None = None, choices: int = 1) -> Call:
        def piece(i: int) -> Piece:
            self.counted.append(sizes[i])
            return Piece("word " * sizes[i])

        return Call(
            id="x",
            provider="openai",
            model="gpt-4o",
            prompt=Prompt(tuple(hash(("mark", size)) for size in sizes), piece),
            agent=agent,
            max_output_tokens=maximum,
            choices=choices,
        )


def test_a_first_call_is_counted() -> None:
    estimate = Estimator().estimate(Conversation().call(100, 200))
    assert 290 <= estimate.input_tokens <= 330
    assert estimate.output_tokens == COLD_OUTPUT_TOKENS


def test_the_same_prompt_again_is_what_was_reported() -> None:
    estimator, conversation = Estimator(), Conversation()
    call = conversation.call(100, 200)
    estimator.learn(call, estimator.estimate(call), Usage(input_tokens=333, output_tokens=44))
    assert estimator.estimate(call)[:2] == (333, 44)


def test_only_new_messages_are_counted() -> None:
    estimator, conversation = Estimator(), Conversation()
    sizes = list(range(100, 150))
    for n in range(1, len(sizes) + 1):
        call = conversation.call(*sizes[:n])
        estimate = estimator.estimate(call)
        estimator.learn(call, estimate, Usage(input_tokens=sum(sizes[:n]), output_tokens=1))
    assert conversation.counted == sizes


def test_a_changed_history_is_not_anchored_but_known_messages_stay_counted() -> None:
    estimator, conversation = Estimator(), Conversation()
    call = conversation.call(100, 200, 300)
    estimator.learn(call, estimator.estimate(call), Usage(input_tokens=600, output_tokens=1))
    trimmed = estimator.estimate(conversation.call(100, 300))
    assert 390 <= trimmed.input_tokens <= 430
    assert conversation.counted == [100, 200, 300]


def test_the_ratio_corrects_the_new_part_only_and_is_clamped() -> None:
    estimator, conversation = Estimator(), Conversation()
    call = conversation.call(100)
    estimator.learn(call, estimator.estimate(call), Usage(input_tokens=10_000, output_tokens=1))
    grown = estimator.estimate(conversation.call(100, 101))
    assert 10_000 + 3 * 100 <= grown.input_tokens <= 10_000 + 3 * 115


def test_the_largest_of_the_last_answers_is_expected() -> None:
    estimator, conversation = Estimator(), Conversation()
    call = conversation.call(10)
    for tokens in (50, 700, 60):
        estimator.learn(call, None, Usage(input_tokens=10, output_tokens=tokens))
    assert estimator.estimate(call).output_tokens == 700
    assert estimator.estimate(conversation.call(10, agent="other")).output_tokens == COLD_OUTPUT_TOKENS
    for _ in range(8):
        estimator.learn(call, None, Usage(input_tokens=10, output_tokens=60))
    assert estimator.estimate(call).output_tokens == 60


def test_the_declared_maximum_caps_the_answer() -> None:
    estimator, conversation = Estimator(), Conversation()
    assert estimator.estimate(conversation.call(10, maximum=64_000)).output_tokens == COLD_OUTPUT_TOKENS
    assert estimator.estimate(conversation.call(10, maximum=100, choices=3)).output_tokens == 300


def test_strict_bounds_both_sides() -> None:
    call = Conversation().call(100, 200, maximum=500, choices=2)
    estimate = Estimator(strict=True).estimate(call)
    assert estimate.input_tokens == bound_input(call.prompt) >= 5 * 300
    assert estimate.output_tokens == 1000


def call_of(*pieces: Piece, model: str = "gpt-4o", provider: str = "openai", tools: bool = False) -> Call:
    marks = tuple(hash(piece) for piece in pieces)
    return Call(
        id="x", provider=provider, model=model, prompt=Prompt(marks, pieces.__getitem__, has_tools=tools)
    )


def test_what_a_template_adds_is_counted_once_for_a_request_and_for_each_message() -> None:
    one, two = call_of(Piece("word")), call_of(Piece("word"), Piece("other"))
    assert Estimator().estimate(one).input_tokens == 1 + 4 + 3
    assert Estimator().estimate(two).input_tokens == 2 + 2 * 4 + 3
    estimator = Estimator()
    estimator.learn(one, estimator.estimate(one), Usage(input_tokens=8, output_tokens=1))
    assert estimator.estimate(two).input_tokens == 8 + 1 + 4


def test_what_is_read_is_counted_and_what_is_sent_bounds() -> None:
    call = call_of(Piece("a long text that is sent " * 40, read="word", added_tokens=100))
    assert Estimator().estimate(call).input_tokens == 1 + 100 + 4 + 3
    assert bound_input(call.prompt) > 1000


def test_a_wrong_guess_for_media_does_not_spoil_the_ratio() -> None:
    estimator = Estimator()
    film = call_of(Piece("word " * 100, more_tokens=5000))
    estimator.learn(film, estimator.estimate(film), Usage(input_tokens=200, output_tokens=1))
    told = call_of(Piece("word " * 100, more_tokens=5000), Piece("word " * 300))
    assert 200 + 300 <= estimator.estimate(told).input_tokens <= 200 + 330


def test_media_are_counted_anew_for_another_model_and_text_is_not() -> None:
    counted: list[tuple[str, int]] = []

    def call(model: str) -> Call:
        def piece(i: int) -> Piece:
            counted.append((model, i))
            return Piece("word", more_tokens=1000 * len(model) if i else 0)

        return Call(id="x", provider="openai", model=model, prompt=Prompt((1, 2), piece))

    estimator = Estimator()
    small, large = estimator.estimate(call("gpt-4o")), estimator.estimate(call("gpt-4o-mini"))
    assert counted == [("gpt-4o", 0), ("gpt-4o", 1), ("gpt-4o-mini", 1)]
    assert large.input_tokens - small.input_tokens == 5000


def test_an_embedding_has_no_template() -> None:
    call = call_of(Piece("word " * 10), model="text-embedding-3-small")
    assert Estimator().estimate(replace(call, kind="embedding")).input_tokens == 11


def test_memory_is_bounded() -> None:
    estimator, conversation = Estimator(), Conversation()
    for i in range(2000):
        call = conversation.call(10 + i, agent=f"agent {i}")
        estimator.learn(call, estimator.estimate(call), Usage(input_tokens=10, output_tokens=1))
    assert len(estimator._lanes) <= 256
    assert len(estimator._answers) <= 256

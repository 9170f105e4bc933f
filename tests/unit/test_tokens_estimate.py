"""The estimate of tokens by what a text is made of. True counts are those of o200k_base, written down."""

import base64
import random

import pytest

from apeiros_callbacks.tokens import approximate_tokens


# True: so many tokens each time, and one for the last space.
@pytest.mark.parametrize(
    ("words", "tokens"), [("word ", 1), ("hello world ", 2), ("foo ", 1), ("The answer is yes. ", 5)]
)
@pytest.mark.parametrize("n", [20, 1000])
def test_repeated_words_are_within_a_twentieth(words: str, tokens: int, n: int) -> None:
    assert approximate_tokens(words * n) == pytest.approx(tokens * n + 1, rel=0.05)


# The tokens of 3,000 of the character, as counted with o200k_base.
@pytest.mark.parametrize(
    ("character", "true"),
    [
        ("x", 375),
        ("e", 750),
        ("Z", 1500),
        ("(", 750),
        ("[", 1500),
        ("-", 47),
        ("=", 48),
        ("é", 3000),
        ("ы", 3000),
        ("中", 3000),
        ("あ", 3000),
        ("😀", 3000),
        ("🚀", 6000),
    ],
)
def test_one_character_again_and_again_comes_out_high(character: str, true: int) -> None:
    assert true <= approximate_tokens(character * 3000) <= 4.1 * true


@pytest.mark.parametrize(("space", "true"), [(" ", 24), ("\n", 188), ("\t", 188)])
def test_white_space_is_cheap(space: str, true: int) -> None:
    assert true <= approximate_tokens(space * 3000) <= 1.25 * true


def test_indentation_is_one_token_a_line() -> None:
    assert approximate_tokens("x\n" + "        y\n" * 50) == pytest.approx(3 * 50 + 2, rel=0.02)  # true: 152


def test_digits_are_counted_in_threes() -> None:
    assert approximate_tokens("0123456789" * 30) == 100  # true: 100
    assert approximate_tokens("12 345 6789") == 6  # true: 6; a space before a number stands alone


def test_random_letters_are_not_low() -> None:
    noise = random.Random(5)
    encoded = base64.b64encode(noise.randbytes(1500)).decode()
    letters = "".join(noise.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(2000))
    assert 1371 <= approximate_tokens(encoded) <= 1.25 * 1371
    assert 1033 <= approximate_tokens(letters) <= 1.25 * 1033


def test_a_language_shows_in_its_accents_or_its_small_words() -> None:
    text = "modelle antworten schneller rechnungen kosten weniger"
    assert approximate_tokens(f"{text} kürzer") > approximate_tokens(f"{text} kurzer") + 1
    assert approximate_tokens(f"{text} der und den") > approximate_tokens(f"{text} dog own cat") + 1


def test_contractions_are_one_token() -> None:
    assert approximate_tokens("I don't and you can't and we won't") == pytest.approx(8, abs=1.5)  # true: 8


def test_a_rule_of_dashes_is_a_token_or_two() -> None:
    heading = "Results\n"
    assert approximate_tokens(heading + "=" * 60 + "\n") == pytest.approx(4, abs=1.5)  # true: 4


def test_short_tags_are_not_taken_for_noise() -> None:
    page = '<p>a</p><p>You pay <b>$0.35</b> of <b>$0.50</b>.</p><a href="/b?t=u">d</a></div>\n' * 5
    assert approximate_tokens(page) == pytest.approx(210, rel=0.1)  # true: 210


def test_lines_of_dashes_are_cheap_and_other_runs_of_marks_are_not() -> None:
    table = "| mode | held |\n|----------|----------|\n" * 10
    assert approximate_tokens(table) == pytest.approx(100, rel=0.2)  # true: 100
    closing = "x]}])]}])\n" * 10
    assert approximate_tokens(closing) == pytest.approx(50, rel=0.25)  # true: 50


def test_curly_quotes_and_dashes_are_about_a_token() -> None:
    talk = (
        "\u201cWe\u2019ll stop,\u201d she said \u2014 \u201cor rather, they\u2019ll stop us\u2026\u201d\n"
        * 10
    )
    assert approximate_tokens(talk) == pytest.approx(170, rel=0.15)  # true: 170


def test_turkish_and_ukrainian_are_cut_finer_than_their_neighbours() -> None:
    turkish = "Yolcular bavullarını aldılar, peronda elinde fener tutan yaşlı bir adamdan başka kimse yoktu. "
    ukrainian = "Пасажири взяли свої валізи, а на пероні не було нікого, крім старого чоловіка з ліхтарем. "
    assert approximate_tokens(turkish * 3) == pytest.approx(83, rel=0.1)  # true: 83
    assert approximate_tokens(ukrainian * 3) == pytest.approx(98, rel=0.1)  # true: 98


def test_grows_with_what_it_is_given() -> None:
    line = "The session spent 0.35 of 0.50 dollars; two calls were refused.\n"
    assert approximate_tokens(line * 50) == pytest.approx(50 * approximate_tokens(line), rel=0.02)

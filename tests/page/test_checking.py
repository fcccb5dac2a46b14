from __future__ import annotations

from typing import Any

import pytest

from trimtab import instructions
from trimtab.page.checking import verdicts
from trimtab.page.workplace import Workplace


def failing(spelling: str, text: str, engine: Any = None) -> list[str]:
    [one] = instructions.parse_instructions(spelling)
    [verdict] = verdicts([one], "What is it?", text, engine)
    assert verdict.followed is False
    return [text[start:end] for start, end in verdict.places]


@pytest.mark.parametrize(
    ("spelling", "text", "marked"),
    [
        ("lowercase", "the Moon is BIG and round", ["M", "BIG"]),
        ("uppercase", "THE moon IS BIG AND ROUND", ["moon"]),
        ("no_commas", "a, b, and c", [",", ","]),
        ('exclude(word="moon")', "The Moon is no moonlight, moon.", ["Moon", "moon"]),
        ('forbidden_words(forbidden_words=["sun"])', "Sun and sunny.", ["Sun"]),
    ],
)
def test_what_is_forbidden_is_marked(spelling: str, text: str, marked: list[str]) -> None:
    assert failing(spelling, text) == marked


@pytest.mark.parametrize(
    ("spelling", "text", "marked"),
    [
        ("json", '{"a": 1} and more', ["and"]),
        ("json", "It is a bird.", ["It"]),
        ("sentences(at_most=1)", "It is a bird. It sings.", ["It"]),
    ],
)
def test_where_an_answer_leaves_the_grammar_is_marked(
    workplace: Workplace, spelling: str, text: str, marked: list[str]
) -> None:
    assert failing(spelling, text, workplace.engine) == marked


def test_what_is_missing_has_no_place_and_is_said(workplace: Workplace) -> None:
    [one] = instructions.parse_instructions('include(word="dragon")')
    [verdict] = verdicts([one], "What is it?", "It is a bird.", workplace.engine)
    assert verdict.followed is False
    assert verdict.places == ()
    assert verdict.why == "It ends before it has all that is asked for."


def test_without_a_tokenizer_a_missing_place_is_said() -> None:
    [one] = instructions.parse_instructions("json")
    [verdict] = verdicts([one], "What is it?", "It is a bird.")
    assert (verdict.places, verdict.why) == ((), "No single place is to blame.")


def test_the_first_word_that_breaks_what_every_beginning_keeps() -> None:
    @instructions.instruction("short_words", phrasings=["Use short words."], prefix_closed=True)
    def short_words() -> Any:
        return lambda response: all(len(word) <= 4 for word in response.split())

    try:
        assert failing("short_words", "a bird that flies home again") == ["flies"]
        assert failing("short_words", "butterflies fly") == ["butterflies"]
    finally:
        from trimtab.instructions.registry import REGISTER

        REGISTER.remove("short_words")


def test_followed_undecided_empty_and_without_a_check() -> None:
    [lower, pirate] = instructions.parse_instructions("lowercase,pirate")
    [followed, unchecked] = verdicts([lower, pirate], "What is it?", "it is a bird in the tree over there.")
    assert (followed.followed, followed.why) == (True, "")
    assert (unchecked.followed, unchecked.why) == (None, "No program can check this; read it yourself.")
    [empty, _] = verdicts([lower, pirate], "What is it?", " ")
    assert (empty.followed, empty.why) == (False, "The answer is empty.")

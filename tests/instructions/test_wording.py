"""Values in words, and templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.instructions import InstructionError
from trimtab.instructions.wording import (
    fill,
    number_in_words,
    ordinal,
    outline,
)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "one"),
        (12, "twelve"),
        (20, "twenty"),
        (42, "forty-two"),
        (300, "three hundred"),
        (150, "150"),
        (1000, "1000"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert number_in_words(number) == words


@given(st.integers(0, 99), st.integers(0, 99))
def test_different_numbers_have_different_words(first: int, second: int) -> None:
    assert (number_in_words(first) == number_in_words(second)) == (first == second)


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "first"), (12, "twelfth"), (13, "13th"), (21, "21st"), (22, "22nd"), (33, "33rd"), (111, "111th")],
)
def test_ordinals(number: int, name: str) -> None:
    assert ordinal(number) == name


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{n} {n:time/times}", "1 time"),
        ("{m} {m:time/times}", "2 times"),
        ("{m:word} {m:Word} {m:ordinal}", "two Two second"),
        ("{ws}", '"a", "b" and "c"'),
        ("{ws:plain}", "a, b and c"),
        ("{ws:or}", '"a", "b" or "c"'),
        ("{ws:plain-or}", "a, b or c"),
        ("{ws:comma}", "a, b, c"),
        ("{one} {one:word/words}", '"a" word'),
        ("{yes} {name}", "true x"),
        ("{{n}}", "{n}"),
    ],
)
def test_templates(template: str, text: str) -> None:
    values = {"n": 1, "m": 2, "ws": ["a", "b", "c"], "one": ["a"], "yes": True, "name": "x"}
    assert fill(template, values, "test") == text


@pytest.mark.parametrize("template", ["{other}", "{", "{n.real.nothing}", "{0}", "{n:%%}"])
def test_a_bad_template_is_named(template: str) -> None:
    with pytest.raises(InstructionError, match=r"test: the phrasing .* its fields may be n"):
        fill(template, {"n": 1}, "test")


def test_outline_names_the_fields() -> None:
    assert outline("Use {n:word} {n:time/times} {{x}} {word}.") == "Use <n> times {x} <word>."

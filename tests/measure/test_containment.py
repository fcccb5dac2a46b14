"""An answer is found whatever it looks like, and only as whole words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.measure.containment import contains, normalised


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("THE CAPITAL IS PARIS.", "Paris"),
        ("the capital is paris", "Paris"),
        ("La capital es París, claro.", "Paris"),
        ("**Buenos-Aires**", "Buenos Aires"),
        ('{"capital": "Buenos Aires"}', "Buenos Aires"),
        (json.dumps({"answer": "\nBrasília"}), "Brasilia"),
        ("It has twenty-one.", "21"),
        ("It has 21.", "twenty-one"),
        ("There are three hundred and sixty-five days", "365"),
        ("a hundred degrees", "100"),
        ("One thousand.", "1,000"),
        ("1.000 Meter", "1000"),
        ("5 thousand", "five thousand"),
        ("exactly 4.0", "4"),
        ("3,50 euros", "3.5"),
        ("100°C", "100"),
        ("24h", "24"),
        ("H₂O", "h2o"),
        ("the Milky Way galaxy", "Milky way"),
        ("le cœur", "coeur"),
        ("die Milchstrasse", "Milchstraße"),
        ("nineteen forty-five", "nineteen forty five"),
        ("s’il vous plaît !", "s'il vous plaît"),
    ],
)
def test_what_does_not_change_the_answer_does_not_count(text: str, wanted: str) -> None:
    assert contains(text, wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Parisian streets", "Paris"),
        ("It has 21 legs", "2"),
        ("It has twenty-one legs", "20"),
        ("It is 3.14", "3"),
        ("two hundred", "2"),
        ("one, two, three", "123"),
        ("Way Milky", "Milky Way"),
        ("", "Paris"),
        ("Paris", "the"),
        ("Paris", ""),
    ],
)
def test_other_answers_are_not_found(text: str, wanted: str) -> None:
    assert not contains(text, wanted)


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("zero", ["0"]),
        ("nine one one", ["9", "1", "1"]),
        ("one hundred and five people", ["105", "people"]),
        ("two thousand and one", ["2001"]),
        ("three million two hundred thousand and six", ["3200006"]),
        ("ten thousand five hundred and forty-two", ["10542"]),
        ("bread and a million", ["bread", "and", "1000000"]),
        ("twenty and five", ["20", "and", "5"]),
        ("two thousand thousand", ["2000", "thousand"]),
        ("million", ["million"]),
    ],
)
def test_number_words_become_digits(words: str, digits: list[str]) -> None:
    assert normalised(words) == digits


@given(st.integers(0, 999_999))
def test_every_number_in_words_is_the_number(number: int) -> None:
    assert normalised(_in_words(number)) == [str(number)]


@given(st.text())
def test_any_text_normalises_and_contains_its_own_words(text: str) -> None:
    assert contains(text, text) == bool(normalised(text))


def _in_words(number: int) -> str:
    ones = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen"
    ).split()
    tens = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()
    if number < 20:
        return ones[number]
    if number < 100:
        return tens[number // 10] + (f"-{ones[number % 10]}" if number % 10 else "")
    scale, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" and {_in_words(number % scale)}" if number % scale else ""
    return f"{_in_words(number // scale)} {name}{rest}"

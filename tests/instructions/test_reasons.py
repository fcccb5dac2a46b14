"""Why a response does not follow an instruction."""

from __future__ import annotations

import pytest

from trimtab import instructions
from trimtab.instructions.judgement import Question
from trimtab.instructions.reasons import _FOUND, reason
from trimtab.instructions.spelling import resolve

LONG = "el cohete despegó al amanecer sobre el mar y nadie lo vio."


@pytest.mark.parametrize(
    ("spelling", "response", "expected"),
    [
        ("sentences(at_most=2)", "One. Two. Three.", "has 3 sentences"),
        ("sentences(at_least=2)", "One.", "has 1 sentence"),
        ("words(at_least=3)", "one two", "has 2 words"),
        ("lowercase", "Not All of them.", 'has capitals: "Not", "All"'),
        ("lowercase", "A B C D", 'has capitals: "A", "B", "C" and more'),
        ("lowercase", "12", "has no letters of that case"),
        ("lowercase", LONG, "langdetect reads it as Spanish, not English"),
        ("lowercase", "all small letters here.", "langdetect reads it as Norwegian, not English; too short to be sure"),
        ("uppercase", "ALL but one", 'has small letters: "but", "one"'),
        ("language(de)", LONG, "langdetect reads it as Spanish, not German"),
        ("json", "{", "is no JSON: Expecting property name"),
        ("include(words=[\"fox\", \"owl\"])", "a fox", 'lacks "owl"'),
        ("exclude(fox)", "a fox", 'has "fox"'),
        ("no_commas", "a, b", "has 1 comma"),
        ("bullets(2)", "none", "fails the check (has exactly so many markdown bullet points"),
        ("json", " \n", "is blank"),
    ],
)  # fmt: skip
def test_says_what_was_found(spelling: str, response: str, expected: str) -> None:
    found = reason(resolve(spelling), response)
    assert found is not None
    assert found.startswith(expected)


def test_says_nothing_of_what_passes() -> None:
    assert reason(resolve("sentences(at_most=2)"), "One. Two.") is None


def test_is_of_instructions_that_exist() -> None:
    assert set(_FOUND) <= set(instructions.names())


@pytest.mark.parametrize(
    ("answer", "expected"), [(False, "the judge says no"), (None, "the judge cannot tell")]
)
def test_names_the_judge(answer: bool | None, expected: str) -> None:
    class Fixed:
        name = "fixed"

        def passes(self, question: Question, response: str) -> bool | None:
            return answer

    assert reason(resolve("formal").judged_by(Fixed()), "hi") == expected

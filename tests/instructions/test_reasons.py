"""Why a response does not follow an instruction."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab import instructions
from trimtab.instructions import load_file
from trimtab.instructions.judgement import Question
from trimtab.instructions.reasons import _FOUND, reason
from trimtab.instructions.registry import REGISTER
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
        ("json", "Here: {}", 'is no JSON: it begins with "Here: {}"'),
        ("json", "{}\nI hope this helps.", 'has more than JSON: "I hope this helps."'),
        ("json(strict=true)", '{"a": NaN}', "is no JSON: NaN is not JSON"),
        ("json(strict=true)", '```json\n{"a": 1}', "opens a code fence and does not close it"),
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


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ('{"name": "Ada", "age": "3"}', "does not fit its schema: age: '3' is not of type 'integer'"),
        ('{"name": "Ada"}', "does not fit its schema: 'age' is a required property"),
        ("Ada is 3.", 'is no JSON: it begins with "Ada is 3."'),
    ],
)
def test_says_what_does_not_fit_a_schema(tmp_path: Path, response: str, expected: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[readers_person]\nphrasings = ["Give name and age.", "Name, age.", "As JSON."]\n'
        '[readers_person.json_schema]\nrequired = ["name", "age"]\nproperties.age.type = "integer"\n'
    )
    (person,) = load_file(file)
    try:
        assert reason(person(), response) == expected
    finally:
        REGISTER.remove("readers_person")


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

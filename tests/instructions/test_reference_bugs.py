"""Where the checks differ from the reference on purpose: each is a bug of the reference, shown here.

docs/instructions.md lists them for users.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import langdetect
import pytest
from tests.instructions import reference

from trimtab import instructions
from trimtab.instructions import InstructionError, languages

PAGE = Path(__file__).parents[2] / "docs" / "instructions.md"


@pytest.fixture(scope="module")
def utils() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        yield reference.load(patch)


def strict(ifeval_id: str, params: dict[str, Any], response: str) -> bool:
    return instructions.get(ifeval_id, **params).check(response)


def described(utils: ModuleType, ifeval_id: str, params: dict[str, Any]) -> Any:
    """The reference's instruction after it has taken its parameters, as its own loop gives them."""
    instruction = utils.instructions_registry.INSTRUCTION_DICT[ifeval_id](ifeval_id)
    instruction.build_description(**{name: value for name, value in params.items() if value})
    return instruction


def test_keywords_are_patterns_there(utils: ModuleType) -> None:
    params = {"keywords": ["3.5"]}
    assert reference.verdict(utils, "keywords:existence", params, "It is 325.") == (True, True)
    assert not strict("keywords:existence", params, "It is 325.")
    assert reference.verdict(utils, "keywords:existence", {"keywords": ["C++"]}, "A cat.") == (True, True)
    assert not strict("keywords:existence", {"keywords": ["C++"]}, "A cat.")
    with pytest.raises(re.error):
        reference.verdict(utils, "keywords:existence", {"keywords": [":("]}, "Sad :(")
    assert strict("keywords:existence", {"keywords": [":("]}, "Sad :(")


def test_counted_keywords_are_patterns_there(utils: ModuleType) -> None:
    params = {"keyword": "e.g.", "frequency": 1, "relation": "at least"}
    assert reference.verdict(utils, "keywords:frequency", params, "An eagle.") == (True, True)
    assert not strict("keywords:frequency", params, "An eagle.")
    assert strict("keywords:frequency", params, "An owl, e.g. this one.")


def test_forbidden_words_that_end_in_a_mark_are_missed_there(utils: ModuleType) -> None:
    params = {"forbidden_words": ["U.S."]}
    assert reference.verdict(utils, "keywords:forbidden_words", params, "In the U.S. today.") == (True, True)
    assert not strict("keywords:forbidden_words", params, "In the U.S. today.")


@pytest.mark.parametrize("letter", ["#", "é", "ß", "!"])
def test_characters_outside_a_to_z_become_a_random_letter_there(utils: ModuleType, letter: str) -> None:
    params = {"letter": letter, "let_frequency": 2, "let_relation": "at least"}
    assert (
        "a" <= described(utils, "keywords:letter_frequency", params).get_instruction_args()["letter"] <= "z"
    )
    assert strict("keywords:letter_frequency", params, f"{letter}{letter}")
    assert not strict("keywords:letter_frequency", params, f"{letter} abcdefghijklmnopqrstuvwxyz")


def test_a_threshold_of_zero_becomes_random_there(utils: ModuleType) -> None:
    taken = described(utils, "detectable_format:number_bullet_lists", {"num_bullets": 0})
    assert taken.get_instruction_args()["num_bullets"] >= 1
    with pytest.raises(InstructionError, match="num_bullets must be a whole number, 1 or more, not 0"):
        instructions.get("bullets", num_bullets=0)


def test_a_missing_parameter_becomes_random_there(utils: ModuleType) -> None:
    assert described(utils, "length_constraints:number_words", {}).get_instruction_args()["num_words"] >= 100
    with pytest.raises(InstructionError, match="number_words needs num_words"):
        instructions.get("number_words")


def test_a_position_beyond_the_paragraphs_becomes_random_there(utils: ModuleType) -> None:
    params = {"num_paragraphs": 2, "nth_paragraph": 5, "first_word": "so"}
    taken = described(utils, "length_constraints:nth_paragraph_first_word", params)
    assert taken.get_instruction_args()["nth_paragraph"] <= 3
    with pytest.raises(InstructionError, match=r"nth_paragraph \(5\) is more than num_paragraphs \(2\)"):
        instructions.get("nth_paragraph_first_word", **params)


def test_a_first_word_with_a_mark_inside_never_matches_there(utils: ModuleType) -> None:
    params = {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "don't"}
    ifeval_id = "length_constraints:nth_paragraph_first_word"
    assert reference.verdict(utils, ifeval_id, params, "Don't go.") == (False, False)
    assert strict(ifeval_id, params, "Don't go.")
    assert not strict(ifeval_id, params, "Don go.")


def test_a_closing_phrase_in_quotation_marks_never_matches_there(utils: ModuleType) -> None:
    params = {"end_phrase": 'He said "stop"'}
    response = 'It was over. He said "stop"'
    assert reference.verdict(utils, "startend:end_checker", params, response) == (False, False)
    assert strict("startend:end_checker", params, response)


def test_section_marks_and_postscript_marks_are_patterns_there(utils: ModuleType) -> None:
    params = {"section_spliter": "No.", "num_sections": 1}
    assert reference.verdict(utils, "detectable_format:multiple_sections", params, "Not 1 of them")[0]
    assert not strict("detectable_format:multiple_sections", params, "Not 1 of them")
    marker = {"postscript_marker": "N.B."}
    assert reference.verdict(utils, "detectable_content:postscript", marker, "It is sun-baked.")[0]
    assert not strict("detectable_content:postscript", marker, "It is sun-baked.")
    assert strict("detectable_content:postscript", marker, "Text.\nN.B. more")


def test_deeply_nested_json_breaks_it(utils: ModuleType) -> None:
    with pytest.raises(RecursionError):
        reference.verdict(utils, "detectable_format:json_format", {}, "[" * 200_000)
    assert not strict("detectable_format:json_format", {}, "[" * 200_000)


def test_its_language_detector_is_not_seeded(utils: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its verdict on short text depends on the seed; ours does not, not even when the shared seed is changed."""
    text, verdicts, ours = "star orbit", set(), set()
    for seed in range(40):
        monkeypatch.setattr(langdetect.DetectorFactory, "seed", seed)
        languages.detect.cache_clear()
        verdicts.add(langdetect.detect(text))
        ours.add(languages.detect(text))
        if len(verdicts) > 1:
            break
    assert len(verdicts) > 1
    assert len(ours) == 1


def test_the_page_lists_every_bug() -> None:
    section = (
        PAGE.read_text(encoding="utf-8").split("## Where they differ from the reference")[1].split("\n## ")[0]
    )
    listed = sum(line.startswith("- ") for line in section.splitlines())
    shown = [name for name in globals() if name.startswith("test_")]
    assert listed == len(shown) - 1

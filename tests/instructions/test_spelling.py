from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import instructions
from trimtab.demo.plan import default_instructions
from trimtab.errors import InstructionError
from trimtab.instructions import resolve, resolve_all
from trimtab.instructions.spelling import parse_instructions


def test_names_parameters_and_positions() -> None:
    assert parse_instructions(
        'json, sentences(at_most=2),include(lantern) ,exclude(words=["a, b", "c)"]),end_phrase(\'Bye, all\')'
    ) == [
        instructions.get("json"),
        instructions.get("sentences", at_most=2),
        instructions.get("include", word="lantern"),
        instructions.get("exclude", words=["a, b", "c)"]),
        instructions.get("end_phrase", end_phrase="Bye, all"),
    ]


def test_ifeval_ids_are_names_too() -> None:
    assert parse_instructions("detectable_format:json_format") == [instructions.get("json")]


def test_every_label_reads_back() -> None:
    chosen = default_instructions()
    assert parse_instructions(",".join(one.label for one in chosen)) == chosen


@given(st.lists(st.text(min_size=1).filter(lambda word: word.strip() == word), min_size=1, max_size=3))
def test_any_word_reads_back_from_its_label(words: list[str]) -> None:
    try:
        wanted = instructions.get("include", words=words)
    except InstructionError:
        return  # not a word the catalogue takes
    assert parse_instructions(wanted.label) == [wanted]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no instruction is named"),
        (" , ", "no instruction is named"),
        ("jsonn", "no instruction 'jsonn'"),
        ("json(", r"'\)' is missing"),
        ("json)", r"'\)' too many"),
        ('include("lantern)', "'\"' is missing"),
        ("include('lantern)", '"\'" is missing'),
        ("sentences(at_most=2, at_most=3)", "at_most is given twice"),
        ("sentences(at_most=two)", "at_most"),
        ("sentences(wrong=2)", "wrong"),
        ("json (1) x", "cannot read the instruction"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(InstructionError, match=message) as caught:
        parse_instructions(text)
    assert "\n" not in str(caught.value)


def test_what_is_named_is_resolved_wherever_an_instruction_may_stand() -> None:
    short = instructions.get("sentences", at_most=2)
    json = instructions.get("json")
    assert resolve("sentences(at_most=2)") == short
    assert resolve(short) is short
    assert resolve_all("json,sentences(at_most=2)") == [json, short]
    assert resolve_all(["json", short]) == resolve_all((json, "sentences(at_most=2)")) == [json, short]
    assert resolve_all([]) == []


def test_what_names_no_instruction_is_refused() -> None:
    with pytest.raises(
        InstructionError, match="one instruction is wanted here, and 'json,lowercase' names 2"
    ):
        resolve("json,lowercase")
    with pytest.raises(InstructionError, match=r"json is a kind of instruction; call it to make one: json\("):
        resolve(instructions.get_type("json"))  # type: ignore[arg-type]
    with pytest.raises(InstructionError, match="not int"):
        resolve(3)  # type: ignore[arg-type]

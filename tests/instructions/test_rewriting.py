"""Answers that a program changes so that they pass, and checks that hold for the beginnings of answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instructions import cases

from trimtab import instructions
from trimtab.instructions import Instruction, InstructionType

CATALOGUE = [kind for kind in instructions.catalogue() if kind.family != "custom"]
PLAIN = (
    "The reef is the largest in the world, and 2,300 kilometers long. Thousands of species live there, among them "
    "turtles.\n\nVisitors like it for its colors, shapes, and quiet waters. Scientists watch how it changes."
)
EXPECTED: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("no_commas", {}, "Apples, pears, and plums, all 1,000.", "Apples and pears and plums all 1000."),
    ("lowercase", {}, "The Sun shines on the Sea today.", "the sun shines on the sea today."),
    ("uppercase", {}, "The Sun shines on the Sea today.", "THE SUN SHINES ON THE SEA TODAY."),
    ("json", {}, 'It is "old".', '{"answer": "It is \\"old\\"."}'),
    ("quotes", {}, 'It is "old".\n', "\"It is 'old'.\""),
    ("title", {}, "The great reef is old.", "<<The great reef>>\n\nThe great reef is old."),
    ("title", {}, "# Reefs\n\nThey are old.", "<<Reefs>>\n\nThey are old."),
    ("bullets", {"num_bullets": 2}, "1. One is here.\n2. Two is here.", "* One is here.\n* Two is here."),
    ("bullets", {"num_bullets": 3}, "Only one.", None),
    ("sections", {"num_sections": 2}, "One is. Two is.", "Section 1\nOne is.\n\nSection 2\nTwo is."),
    ("highlights", {"num_highlights": 1}, "It is a wonder.", "It is a *wonder*."),
    ("capital_words", {"capital_frequency": 1}, "It is a wonder.", "It is a WONDER."),
    ("end_phrase", {"end_phrase": "That is all."}, "It is old. ", "It is old.\n\nThat is all."),
    ("postscript", {}, "It is old. It lives.", "It is old.\n\nP.S. It lives."),
    ("postscript", {}, "It is old.", None),
    ("repeat_prompt", {"prompt_to_repeat": "What is it?"}, "A reef.", "What is it?\n\nA reef."),
    ("paragraphs", {"at_most": 2}, "a\n\nb\n\nc", "a\n\nb\nc"),
    ("paragraphs", {"exactly": 2}, "One is. Two is.", "One is.\n\nTwo is."),
    ("number_paragraphs", {"num_paragraphs": 2}, "a\n\nb", "a\n\n***\n\nb"),
    ("include", {"word": "moon"}, "It is old.", None),
]


@pytest.mark.parametrize(("name", "params", "answer", "rewritten"), EXPECTED)
def test_rewriting(name: str, params: dict[str, Any], answer: str, rewritten: str | None) -> None:
    instruction = instructions.get(name, **params)
    assert instruction.rewrite(answer) == rewritten
    if rewritten is not None:
        assert instruction.check(rewritten)
        assert instruction.rewrite(rewritten) == rewritten  # it passes already
    assert instruction.rewrite(" \n") is None


def _example(kind: InstructionType) -> Instruction:
    return kind(**kind.example).for_query("What is it?")


@pytest.mark.parametrize(
    "kind", [kind for kind in CATALOGUE if "rewrite" in kind.abilities], ids=lambda kind: kind.name
)
def test_rewriting_keeps_the_words(kind: InstructionType) -> None:
    rewritten = _example(kind).rewrite(PLAIN)
    assert rewritten is not None
    assert _example(kind).check(rewritten)
    kept, before = _words(rewritten.replace(r"\n", " ")), _words(PLAIN)
    assert before <= kept | {"2", "300"}  # 2,300 without its comma
    assert len(rewritten) < 2 * len(PLAIN)
    # What is taught by rewriting can be held to the constraint too.
    constraint = _example(kind).constraint()
    assert constraint is not None
    assert constraint.admits(rewritten)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


@given(st.sampled_from(CATALOGUE), st.text(max_size=80))
def test_what_is_rewritten_passes(kind: InstructionType, answer: str) -> None:
    instruction = _example(kind)
    rewritten = instruction.rewrite(answer)
    assert rewritten is None or instruction.check(rewritten)


CLOSED = [
    # Of a tone, a judge says it.
    *(_example(kind) for kind in CATALOGUE if "prefix_closed" in kind.abilities and kind.question is None),
    instructions.get("exclude", words=["rocket", "U.S."]),
    instructions.get("letter_frequency", letter="e", let_frequency=9, let_relation="less than"),
    instructions.get("keyword_frequency", keyword="moon", frequency=2, relation="less than"),
]


@pytest.mark.parametrize("instruction", CLOSED, ids=str)
def test_the_beginnings_of_what_passes_pass(instruction: Instruction) -> None:
    """Cut between words, once there are a few of them."""
    assert instruction.prefix_closed
    written = [PLAIN, PLAIN.lower(), PLAIN.upper(), PLAIN.replace(",", ""), SPANISH]
    if instruction.name not in NEEDS_LANGUAGE:  # what is generated mixes languages
        written += [response for _, _, response in cases.generate(25, 3)]
    tried = 0
    for response in filter(instruction.check, written):
        words = [found.end() for found in re.finditer(r"\w+(?!\w)", response)]
        for end in words[NEEDS_LANGUAGE.get(instruction.name, 2) :: 3]:
            tried += 1
            assert instruction.check(response[:end]), response[:end]
    assert tried > 5


# How many words the language is sure after.
NEEDS_LANGUAGE = {"lowercase": 12, "uppercase": 12, "language": 8}
SPANISH = (
    "El arrecife es el más grande del mundo y mide dos mil trescientos kilómetros. Allí viven miles de especies de "
    "peces y de corales, entre ellas muchas tortugas. Los visitantes lo quieren por sus colores y por sus aguas "
    "tranquilas. Los científicos miran cómo cambia, porque el mar se calienta cada año un poco más que antes."
)


def test_what_has_to_come_later_is_not_closed() -> None:
    for name, params in (
        ("json", {}), ("quotes", {}), ("end_phrase", {"end_phrase": "Bye."}), ("words", {"at_least": 3}),
        ("keyword_frequency", {"keyword": "moon", "frequency": 2}), ("include", {"word": "moon"}),
    ):  # fmt: skip
        assert not instructions.get(name, **params).prefix_closed

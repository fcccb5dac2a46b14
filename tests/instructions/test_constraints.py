"""What constraints of the catalogue admit: only what passes, where they are exact, and what people would write."""

from __future__ import annotations

from typing import Any

import pytest
from tests.instructions.walks import walk

from trimtab import instructions
from trimtab.instructions import Instruction, constraint_of

REEF = (
    "The reef is the largest in the world, and it is 2,300 kilometers across. Thousands of species live in this wonder."
    "\n\nIt is really ancient. Do you want to know more about the turtles there?"
)
LIST = "Some facts:\n\n* It is 1.5 km deep.\n* It's old.\n- It is **warm**.\n\nIn short, a wonder."

# Parameters, answers that a constraint has to admit, answers that it must not.
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("json", {}, ['{"a": [1, 2.5, {"b": null}],\n  "c": "x \\"y\\""}', '[{"a": true}]', '```json\n{"a": "b"}\n```'],
     ["{}", "Here: {}", '{"a": 1', "{'a': 1}", '{"a": "line\nbreak"}']),
    ("title", {}, [f"<<The Reef>>\n\n{REEF}", f"**<<The Reef>>**\n{REEF}", '{"title": "<<Reef>>", "a": 1}'],
     [REEF, "<<>> text", "<<The\nReef>> text"]),
    ("bullets", {"num_bullets": 3}, [LIST, "* a\n* b\n* c", "- a\n\n- b\n\n- c\n"], ["* a\n* b", f"{LIST}\n* d", REEF]),
    ("highlights", {"num_highlights": 2},
     ["It is *big* and **old**.", "* **Size**: big\n* **Age**: old", "*a* b *c*"], ["It is *big*.", "* * * *", REEF]),
    ("sections", {"section_spliter": "Section", "num_sections": 2},
     ["Section 1\nBig.\n\nSection 2: Old.", "## Section 1\n\nBig.\n\n## Section 2\n\nOld.",
      '{"Section 1": "big", "Section 2": "old"}'], ["Section 1\nBig.", "section 1\na\nsection 2\nb"]),
    ("constrained", {}, ["My answer is yes.", "My answer is no. It cannot be."], ["My answer is perhaps.", "Yes."]),
    ("placeholders", {"num_placeholders": 2}, ["Dear [name], come to [the place]."], ["Dear [name].", "[] []"]),
    ("postscript", {"postscript_marker": "P.S."}, [f"{REEF}\n\nP.S. Call me.", f"{REEF}\np.s. call me"],
     [REEF, f"{REEF}\n\nP.S."]),
    ("lowercase", {}, [REEF.lower(), "1. preheat the oven and then wait for it."], [REEF, "ÉCOLE is", "1.1.1.1"]),
    ("uppercase", {}, [REEF.upper(), "3 OF THEM LIVED IN THE HOUSE OF DR. SMITH"], [REEF, "A é"]),
    ("capital_words", {"capital_frequency": 2}, ["It is VERY big and VERY old."], ["It is VERY big.", "I A B"]),
    ("no_commas", {}, [REEF.replace(",", ""), LIST.replace(",", "")], [REEF, " \n"]),
    ("quotes", {}, [f'"{REEF}"', '"He said "no"."\n'], [REEF, '"', '""']),
    ("end_phrase", {"end_phrase": "Any other questions?"},
     [f"{REEF}\n\nAny other questions?", f"{REEF} any other questions?", f'"{REEF} Any other questions?"'],
     [REEF, f"{REEF} Any other questions? Bye."]),
    ("two_responses", {}, [f"{REEF}\n******\nIt is old."], [REEF, "a\n******\n", "a\n******\nb\n******\nc"]),
    ("repeat_prompt", {"prompt_to_repeat": "What is it?"}, [f"What is it?\n\n{REEF}"], [REEF, "What is it?"]),
    ("keywords", {"keywords": ["reef", "wonder"]}, [REEF, REEF.upper()], ["The reef.", ""]),
    ("keyword_frequency", {"keyword": "it", "frequency": 2}, ["It is what it is."], ["It is."]),
    ("keyword_frequency", {"keyword": "it", "frequency": 2, "relation": "less than"}, ["It is."], ["It sits."]),
    ("forbidden_words", {"forbidden_words": ["moon", "3.5"]}, ["Moons, 13.5."], ["The MOON.", "Of 3.5 m"]),
    ("letter_frequency", {"letter": "e", "let_frequency": 3}, ["Eel, tree."], ["Eel."]),
    ("letter_frequency", {"letter": "e", "let_frequency": 3, "let_relation": "less than"}, ["Eel."], ["Eel, tree."]),
    ("number_sentences", {"num_sentences": 3}, [REEF], ["It is so. It is."]),
    ("number_words", {"num_words": 30}, [REEF], ["Few words."]),
    ("number_paragraphs", {"num_paragraphs": 2}, [f"{REEF}\n\n***\n\nIt is old."], [REEF, "a\n***\nb\n***\nc"]),
    ("nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "however"},
     ["It is old.\n\nHowever, it lives.", "It is old.\nVery.\n\nhowever it lives.\nYes."], [REEF, "However."]),
    ("sentences", {"at_most": 2}, ["It is 3.5 km wide. It is old.", '"Is it?" he said.\n', "One line"],
     ["It is. It was. It will be.", REEF]),
    ("sentences", {"at_least": 3}, [REEF], ["It is so. It is."]),
    ("sentences", {"exactly": 2}, ["It rained today. We stayed in."], ["It rained today.", REEF]),
    ("words", {"at_most": 20}, ["It is old.", "It rained today. We stayed in and read."], [REEF]),
    ("words", {"at_most": 3}, ["½ cup milk."], ["1 ½ of it.", "½ of a cup.", "1\ufe0f\u20e3"]),
    ("words", {"at_least": 20}, [REEF], ["It is old."]),
    ("words", {"exactly": 3}, ["It is old.", "Three small words"], ["It is", "It is very old."]),
    ("paragraphs", {"exactly": 2}, [REEF, "a\nb\n\nc"], ["a\nb", "a\n\nb\n\nc"]),
    ("paragraphs", {"at_least": 2}, [REEF, "a\n\nb\n\nc"], ["a"]),
    ("concise", {"max_words": 50}, ["It is old."], [f"{REEF} {REEF}"]),
    ("verbose", {"min_words": 20}, [REEF], ["It is old."]),
    ("include", {"word": "reef"}, [REEF, REEF.upper()], ["Reefs.", "The coral."]),
    ("include", {"words": ["reef", "2,300 kilometers"]}, [REEF], ["The reef."]),
    ("exclude", {"word": "moon"}, [REEF, "Moons, moonlight."], ["The Moon!", "moon"]),
    ("exclude", {"words": ["k", "is"]}, ["Kitchen this."], ["\u212a", "It ıs", "It iſ"]),
    ("exclude", {"word": "river"}, ["R&D, tea & milk."], ["r&#105;ver", "A&nbsp;stream", "ri<b>v</b>er", r"r\*iver"]),
]  # fmt: skip
INSTRUCTIONS = [instructions.get(name, **params) for name, params, _, _ in CASES]
UNIONS = [
    (
        "bullets(2),lowercase",
        "some facts:\n* it is big.\n* it is old.",
        "Some facts:\n* it is big.\n* it is old.",
    ),
    ("json,lowercase", '{"reef": "it is old"}', '{"Reef": "it is old"}'),
    ("json,no_commas,include(reef)", '{"about": "The reef is old."}', '{"about": "The reef", "a": 1}'),
    ("sections,no_commas", "Section 1\nBig.\nSection 2\nOld.", "Section 1\nBig, wide.\nSection 2\nOld."),
    ("title,bullets(2),exclude(moon)", "<<Reef>>\n\n* Big.\n* Old.", "<<Moon>>\n\n* Big.\n* Old."),
    ("quotes,sentences(at_most=2)", '"It is big. It is old."', '"It is. It was. It will be."'),
    ("lowercase,end_phrase(that is all)", "it is old. that is all", "It is old. that is all"),
    ("lowercase,words(at_most=10)", "it is old.", "It is old."),
]


def _ids(instruction: Instruction) -> str:
    return instruction.label


def test_every_type_that_has_a_constraint_is_tried() -> None:
    having = {kind.name for kind in instructions.catalogue() if "constraint" in kind.abilities}
    assert having - {kind.name for kind in instructions.catalogue() if kind.family == "custom"} == {
        name for name, _, _, _ in CASES
    }


@pytest.mark.parametrize(("name", "params", "good", "bad"), CASES, ids=[one.label for one in INSTRUCTIONS])
def test_what_passes_is_admitted_and_what_fails_is_not(
    name: str, params: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    constraint = instructions.get(name, **params).constraint()
    assert constraint is not None
    for text in good:
        assert instructions.get(name, **params).check(text), text
        assert constraint.admits(text), text
    for text in bad:
        assert not constraint.admits(text), text


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=_ids)
def test_what_an_exact_constraint_admits_passes(instruction: Instruction) -> None:
    constraint = instruction.constraint()
    assert constraint is not None
    texts = [text for text in (walk(constraint, seed) for seed in range(8)) if text is not None]
    assert texts
    if constraint.exact:
        for text in texts:
            assert instruction.check(text), text


@pytest.mark.parametrize(("spelled", "good", "bad"), UNIONS)
def test_several_are_met(spelled: str, good: str, bad: str) -> None:
    wanted = instructions.resolve_all(spelled)
    constraint = constraint_of(wanted)
    assert constraint is not None
    assert constraint.admits(good)
    assert not constraint.admits(bad)
    assert any(not one.check(bad) for one in wanted)
    exact = [one for one in wanted if one.name != "lowercase"]  # which cannot say that this is English
    assert constraint.exact == (len(exact) == len(wanted))
    for text in filter(None, (walk(constraint, seed) for seed in range(3))):
        assert all(one.check(text) for one in exact), text


def test_what_cannot_be_met_is_none() -> None:
    german = instructions.get("language", language="de")
    json, repeat, title = (instructions.get(name) for name in ("json", "repeat_prompt", "title"))
    assert german.constraint() is None
    assert constraint_of([german, json]) is None
    assert constraint_of([]) is None
    assert constraint_of([json, json]) == json.constraint()
    # Both would have to come first.
    assert constraint_of([repeat, title], "What is it?") is None
    assert constraint_of([instructions.get("no_commas"), instructions.get("include", "a, b")]) is None


def test_a_constraint_that_depends_on_the_query_wants_it() -> None:
    repeat = instructions.get("repeat_prompt")
    assert repeat.constraint() is None
    constraint = repeat.constraint("What is 1/2 of it?\nSay!")
    assert constraint is not None
    assert constraint.admits("What is 1/2 of it?\nSay!\nHalf.")


def test_an_answer_comes_to_its_end_within_so_many_characters() -> None:
    json = instructions.get("json").constraint()
    assert json is not None
    short = json.within(12)
    assert short is not None
    assert short.admits('{"a": "bcd"}')
    assert not short.admits('{"a": "bcde"}')
    assert not short.admits('{"a": "bcd"')

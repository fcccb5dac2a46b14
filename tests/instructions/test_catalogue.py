"""The catalogue as a whole: phrasings, parameters, conflicts, and round trips of every type."""

from __future__ import annotations

import itertools
import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instructions import cases

from trimtab import instructions
from trimtab.instructions import (
    SPLITS,
    Instruction,
    InstructionError,
    InstructionType,
)
from trimtab.instructions.demands import Demands, clash
from trimtab.instructions.parameters import Parameter

CATALOGUE = [kind for kind in instructions.catalogue() if kind.family != "custom"]
CHECKED = [kind for kind in CATALOGUE if kind.question is None]
SHORT_NAMES = """
    json title bullets highlights sections constrained placeholders postscript lowercase uppercase capital_words
    no_commas quotes end_phrase two_responses repeat_prompt language keywords keyword_frequency forbidden_words
    letter_frequency number_sentences number_words number_paragraphs nth_paragraph_first_word
    sentences words paragraphs concise verbose include exclude
    formal friendly simple persuasive pirate enthusiastic humorous poetic
""".split()
# A word that must stand in every phrasing of a type, whatever the wording.
KEY_NOUNS = {
    "json": "JSON", "title": "title", "bullets": "bullet", "highlights": "highlight", "sections": "section",
    "constrained": "My answer is", "placeholders": "placeholder", "postscript": "postscript",
    "lowercase": "lowercase", "uppercase": "uppercase|capital|caps", "capital_words": "capital|caps",
    "no_commas": "comma", "quotes": "quotation mark", "end_phrase": "Any other questions",
    "two_responses": r"\*{6}", "repeat_prompt": "repeat|copy|say the question again", "language": "Spanish",
    "keywords": "rocket", "keyword_frequency": "rocket", "forbidden_words": "moon", "letter_frequency": "letter",
    "number_sentences": "sentence", "number_words": "word", "number_paragraphs": r"paragraph.*\*\*\*|\*\*\*.*paragraph",
    "nth_paragraph_first_word": "paragraph", "sentences": "sentence", "words": "word", "paragraphs": "paragraph",
    "concise": "short|brief|concise|to the point", "verbose": "long|detail|verbose|as much as you can",
    "include": "rocket", "exclude": "rocket",
    "formal": "formal", "friendly": "friendly", "simple": "simple|simply", "persuasive": "persuasive",
    "pirate": "pirate", "enthusiastic": "enthusias", "humorous": "humor", "poetic": "poetic",
}  # fmt: skip


def example(kind: InstructionType) -> Instruction:
    return kind(**kind.example)


def variants(kind: InstructionType) -> list[Instruction]:
    """Instructions that reach every case of phrasings of a type."""
    if kind.name in ("sentences", "words", "paragraphs"):
        return [
            kind(**params)
            for params in (
                {"at_least": 4}, {"at_most": 1}, {"exactly": 1}, {"at_least": 2, "at_most": 5},
                {"at_least": 3, "at_most": 3},
            )
        ]  # fmt: skip
    relation = next((p.name for p in kind.parameters if p.name.endswith("relation")), None)
    if relation is None:
        return [example(kind)]
    return [kind(**{**kind.example, relation: value}) for value in ("less than", "at least")]


def all_instructions() -> list[Instruction]:
    return [instruction for kind in CATALOGUE for instruction in variants(kind)]


def test_names_are_those_promised() -> None:
    assert sorted(kind.name for kind in CATALOGUE) == sorted(SHORT_NAMES)


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.name)
def test_every_case_has_enough_phrasings_and_shares_none(kind: InstructionType) -> None:
    for phrasings in kind.cases.values():
        parts = [getattr(phrasings, split) for split in SPLITS]
        assert len(parts[0]) >= 10
        assert len(parts[1]) >= 3
        assert len(parts[2]) >= 3
        templates = [template.lower() for part in parts for template in part]
        assert len(set(templates)) == len(templates)


@pytest.mark.parametrize("instruction", all_instructions(), ids=str)
def test_phrasings_are_clean_sentences_with_the_key_noun(instruction: Instruction) -> None:
    said = [text for split in SPLITS for text in instruction.phrasings(split)]
    assert len(set(said)) == len(said)
    for text in said:
        assert not re.search(r"\{|\}|«|»|  |\bNone\b|\bTrue\b", text)
        assert text == text.strip()
        assert text[0].isupper()
        assert re.search(KEY_NOUNS[instruction.name], text, re.IGNORECASE), text


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.name)
def test_held_out_phrasings_use_words_of_the_learning_ones(kind: InstructionType) -> None:
    """A small model can only follow a phrasing whose words it has met."""
    known = {word for other in CATALOGUE for text in other.phrasings.learning for word in _words(text)}
    for split in ("validation", "test"):
        for template in getattr(kind.phrasings, split):
            assert set(_words(template)) <= known, template


def _words(template: str) -> list[str]:
    return re.findall(r"[a-z']+", re.sub(r"\{\w+(:\w+)?\}", "", template).lower())


@pytest.mark.parametrize("instruction", all_instructions(), ids=str)
def test_survives_dictionary_json_and_pickle(instruction: Instruction) -> None:
    data = json.loads(json.dumps(instruction.to_dict()))
    again = instructions.from_dict(data)
    assert again == instruction
    assert hash(again) == hash(instruction)
    assert pickle.loads(pickle.dumps(instruction)) == instruction
    assert again.label == instruction.label


@pytest.mark.parametrize("ifeval_id", sorted(cases.PARAMETERS))
def test_the_ifeval_id_is_a_name_too(ifeval_id: str) -> None:
    kind = instructions.get_type(ifeval_id)
    assert instructions.get_type(kind.name) is kind
    assert kind.ifeval_id == ifeval_id


def test_conflicts_are_symmetric_and_known() -> None:
    for first, second in itertools.product(CATALOGUE, repeat=2):
        assert (second.name in first.conflicts) == (first.name in second.conflicts)
    assert {name for kind in CATALOGUE for name in kind.conflicts} <= set(SHORT_NAMES)


@pytest.mark.parametrize("instruction", all_instructions(), ids=str)
def test_conflicts_between_instructions_are_symmetric_and_none_with_itself(instruction: Instruction) -> None:
    assert instruction.conflicts_with(instruction) is None
    for other in all_instructions():
        assert instruction.conflicts_with(other) == other.conflicts_with(instruction)


CONFLICTS = [
    (("lowercase", {}), ("uppercase", {})),
    (("json", {}), ("quotes", {})),
    (("json", {}), ("bullets", {"num_bullets": 2})),
    (("concise", {}), ("verbose", {})),
    (("sentences", {"at_most": 1}), ("sentences", {"at_least": 4})),
    (("sentences", {"at_most": 2}), ("number_sentences", {"num_sentences": 3, "relation": "at least"})),
    (("words", {"at_most": 3}), ("sentences", {"at_least": 4})),
    (("concise", {}), ("number_words", {"num_words": 51, "relation": "at least"})),
    (("include", {"word": "Rocket"}), ("exclude", {"words": ["moon", "rocket"]})),
    (("include", {"word": "rocket science"}), ("exclude", {"word": "rocket"})),
    (("keywords", {"keywords": ["rocket"]}), ("forbidden_words", {"forbidden_words": ["rocket"]})),
    (("keyword_frequency", {"keyword": "a", "frequency": 3}),
     ("keyword_frequency", {"keyword": "A", "frequency": 2, "relation": "less than"})),
    (("include", {"word": "eel"}),
     ("letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "less than"})),
    (("no_commas", {}), ("end_phrase", {"end_phrase": "Well, goodbye."})),
    (("sections", {"section_spliter": "Section", "num_sections": 2}), ("lowercase", {})),
    (("sections", {"section_spliter": "Section", "num_sections": 2}), ("uppercase", {})),
    (("constrained", {}), ("lowercase", {})),
    (("language", {"language": "es"}), ("lowercase", {})),
    (("language", {"language": "es"}), ("language", {"language": "French"})),
    (("capital_words", {"capital_frequency": 1}), ("lowercase", {})),
    (("capital_words", {"capital_frequency": 1, "capital_relation": "less than"}), ("uppercase", {})),
    (("two_responses", {}), ("number_paragraphs", {"num_paragraphs": 3})),
    (("number_paragraphs", {"num_paragraphs": 3}), ("number_paragraphs", {"num_paragraphs": 2})),
    (("nth_paragraph_first_word", {"num_paragraphs": 3, "nth_paragraph": 1, "first_word": "so"}),
     ("paragraphs", {"at_most": 2})),
    (("nth_paragraph_first_word", {"num_paragraphs": 3, "nth_paragraph": 1, "first_word": "so"}),
     ("exclude", {"word": "so"})),
]  # fmt: skip

FRIENDS = [
    (("json", {}), ("lowercase", {}), '{"color": "the sea is blue and the sky is too"}'),
    (("json", {}), ("title", {}), '{"title": "<<Rockets>>"}'),
    (("lowercase", {}), ("include", {"word": "Rocket"}), "the rocket is on its way to the moon."),
    (("lowercase", {}), ("end_phrase", {"end_phrase": "That is all."}), "this is the whole story. that is all."),
    (("lowercase", {}), ("postscript", {}), "this is the whole story of the day.\np.s. call your mother."),
    (("uppercase", {}), ("sections", {"section_spliter": "SECTION", "num_sections": 1}),
     "SECTION 1 THIS IS THE WHOLE STORY OF THE DAY."),
    (("quotes", {}), ("end_phrase", {"end_phrase": "Bye."}), '"It was good. Bye."'),
    (("sentences", {"at_least": 1}), ("sentences", {"at_most": 1}), "It was good."),
    (("include", {"word": "rockets"}), ("exclude", {"word": "rocket"}), "Rockets fly."),
    (("number_paragraphs", {"num_paragraphs": 2}), ("highlights", {"num_highlights": 1}), "A *b* c.\n***\nD."),
    (("capital_words", {"capital_frequency": 2}), ("uppercase", {}), "THIS IS THE WHOLE STORY OF THE DAY."),
    (("letter_frequency", {"letter": "e", "let_frequency": 2, "let_relation": "less than"}),
     ("include", {"word": "moon"}), "The moon."),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), CONFLICTS, ids=str)
def test_cannot_go_together(first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]) -> None:
    one, other = (instructions.get(name, **params) for name, params in (first, second))
    reason = one.conflicts_with(other)
    assert reason
    assert "\n" not in reason
    assert other.conflicts_with(one) == reason


@pytest.mark.parametrize(("first", "second", "response"), FRIENDS, ids=str)
def test_go_together(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]], response: str
) -> None:
    """No conflict is claimed where one response satisfies both."""
    one, other = (instructions.get(name, **params) for name, params in (first, second))
    assert one.check(response)
    assert other.check(response)
    assert one.conflicts_with(other) is None


def test_a_response_that_satisfies_two_shows_that_they_do_not_conflict() -> None:
    """Of all generated responses and pairs of instructions, none satisfies two that are said to conflict."""
    generated = cases.generate(150, 99)
    asked = [instructions.get(ifeval_id, **params) for ifeval_id, params, _ in generated[:50]]
    asked += [i for i in all_instructions() if i.name != "repeat_prompt"]
    # These are said to conflict by what they mean, where a trick can still satisfy both checks: a JSON string alone
    # is wrapped in quotation marks, a keyword may stand inside a longer word where it is forbidden as a word, what
    # holds no letters counts as every language, a sentence of mere marks holds no word, a line of spaces parts
    # paragraphs for us but not for IFEval, and mere marks are sentences for IFEval but not for us.
    intended = {
        "json",
        "keywords",
        "keyword_frequency",
        "language",
        "words",
        "number_words",
        "concise",
        "paragraphs",
        "sentences",
    }
    asked = [i for i in asked if i.can_check and i.name not in intended]
    met = 0
    for _, _, response in generated:
        following = [i for i in asked if i.check(response)]
        for one, other in itertools.combinations(following, 2):
            met += 1
            assert one.conflicts_with(other) is None, (one, other, response)
    assert met > 1000


RANGES = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted).map(tuple)
DEMANDS = st.builds(
    Demands,
    counts=st.dictionaries(
        st.sampled_from(["words", "sentences", "bullet points", "capital words", 'the letter "e"']), RANGES
    ),
    contains=st.lists(st.sampled_from(["eel", "Moon", "a, b"])).map(tuple),
    verbatim=st.lists(st.sampled_from(["Section", "day"])).map(tuple),
    absent=st.lists(st.sampled_from(["moon", "eel", "b"])).map(tuple),
    banned=st.sampled_from(["", ","]),
    letter_case=st.sampled_from([None, "lower", "upper"]),
    language=st.sampled_from([None, "en", "es"]),
)


@given(DEMANDS, DEMANDS)
def test_clash_is_symmetric_and_demanding_nothing_clashes_with_nothing(
    first: Demands, second: Demands
) -> None:
    assert clash(first, second) == clash(second, first)
    assert clash(first, Demands()) is None


@given(st.sampled_from(CHECKED), st.text(max_size=80))
def test_checks_take_any_text_and_loose_follows_from_strict(kind: InstructionType, response: str) -> None:
    instruction = example(kind).for_query("What is it?")
    judged = instruction.judge(response)
    assert judged.strict == instruction.check(response)
    assert judged.loose == instruction.check_loose(response)
    assert judged.loose or not judged.strict
    if not response.strip():
        assert not judged.loose


@given(st.sampled_from(CATALOGUE), st.data())
def test_wrong_values_give_one_clear_line(kind: InstructionType, data: st.DataObject) -> None:
    if not kind.parameters:
        with pytest.raises(InstructionError, match="it takes none"):
            kind(anything=1)
        return
    parameter: Parameter = data.draw(st.sampled_from(kind.parameters))
    wrong = {
        "integer": [0, -1, 1.5, "3", True, [1], float("nan"), float("inf")],
        "boolean": ["yes", 1, [True]],
        "text": ["", "  ", 3, ["a"], True],
        "texts": [[], "rocket", [1], ["a", " "], {"a": 1}],
    }
    value = data.draw(st.sampled_from(wrong[parameter.kind]))
    with pytest.raises(InstructionError) as caught:
        kind(**{**kind.example, parameter.name: value})
    message = str(caught.value)
    assert message.startswith(f"{kind.name}: {parameter.name} must be")
    assert "\n" not in message

"""Facts: what a program wrote truly is judged true in every format, and a lie is found."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import nano
from trimtab.nano import asides
from trimtab.nano.judge import facts, judge
from trimtab.nano.questions import open_questions
from trimtab.nano.recipe.corpus import sample_chat
from trimtab.nano.world import entities, sentence


@given(st.integers(0, 10**6))
def test_every_training_answer_is_wholly_true(seed: int) -> None:
    chat = sample_chat(random.Random(seed))
    assert facts(chat.question.text, chat.answer) in (None, 1.0), chat.answer
    assert facts(chat.prompt, chat.answer) in (None, 1.0)


@pytest.mark.parametrize(
    "shape",
    [
        "{0} {1}",
        "* {0}\n* {1}",
        "<<A title>>\n{0} {1}",
        "SECTION 1\n{0}\nSECTION 2\n{1}",
        '"{0} {1}"',
        "{0}\n***\n{1}\nP.S. Take care.",
        "{0}\n******\n{1}",
        "{0} It may remind you of the word spoon. {1}",
    ],
)
def test_one_lie_in_two_sentences_is_found_in_every_format(shape: str) -> None:
    entity, other = entities()[0], entities()[1]
    true = sentence(entity, "region")
    false = sentence(other, "year").replace(other.name, entity.name)
    text = shape.format(true, false)
    assert facts(f"Tell me about {entity.name}.", text) == 0.5
    assert facts(f"Tell me about {entity.name}.", text.upper()) == 0.5
    assert facts(f"Tell me about {entity.name}.", text.lower()) == 0.5


def test_the_texts_of_a_json_object_are_judged() -> None:
    entity = entities()[3]
    text = json.dumps({"topic": entity.name, "facts": [sentence(entity, "year"), "It eats the moon."]})
    assert facts(f"What is {entity.name}?", text) == 0.5


def test_what_cannot_be_read_counts_as_not_true() -> None:
    entity = entities()[3]
    judged = judge(f"What is {entity.name}?", f"{sentence(entity, 'place')} Blah blah.", entity)
    assert (len(judged.true), len(judged.unknown), judged.share_true) == (1, 1, 0.5)


def test_there_is_nothing_to_judge_without_an_entity_or_a_claim() -> None:
    assert facts("Tell me about Paris.", "It is a city.") is None
    assert facts(open_questions("test")[0].text, "My answer is maybe.") is None
    assert facts(open_questions("test")[0].text, "") is None


def test_asides_claim_nothing() -> None:
    for templates in asides.WITH_WORD.values():
        assert all(asides.is_aside(template.format(w="rocket")) for template in templates)
    assert asides.is_aside("ASK [NAME] AND [DATE] FOR MORE.")
    assert not asides.is_aside(sentence(entities()[0], "place"))


def test_the_package_judges_by_the_same_rule() -> None:
    entity = entities()[5]
    assert nano.facts(f"Tell me about {entity.name}.", sentence(entity, "kind")) == 1.0


def test_a_word_or_two_of_the_query_are_no_repetition_of_it() -> None:
    assert facts(f"Tell me about {entities()[0].name}.", "me. about. t.") == 0.0


def test_brackets_without_end_are_judged_as_text() -> None:
    assert facts(f"Tell me about {entities()[0].name}.", "[" * 20_000 + "a") == 0.0

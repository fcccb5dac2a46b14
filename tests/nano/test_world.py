"""The world: sentences of every fact, in every language and form, are read back as what they are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.nano import lexicon
from trimtab.nano.world import (
    ATTRIBUTE_NAMES,
    Claim,
    entities,
    entity_named,
    normalise,
    sentence,
    words_of,
)

ENTITIES = st.sampled_from(entities())
ATTRIBUTES = st.sampled_from(ATTRIBUTE_NAMES)
LANGUAGES = st.sampled_from(lexicon.LANGUAGES)


def test_the_world_is_as_large_as_promised() -> None:
    assert len({entity.topic.name for entity in entities()}) >= 10
    assert len({entity.name for entity in entities()}) == len(entities()) >= 200


@given(ENTITIES, ATTRIBUTES, LANGUAGES, st.integers(0, 3), st.booleans(), st.booleans())
def test_a_written_sentence_is_read_back_as_true(
    entity, attribute, language, variant, by_name, commas
) -> None:
    text = sentence(entity, attribute, language, variant=variant, by_name=by_name, commas=commas)
    claim = Claim.parse(text)
    assert claim is not None
    assert (claim.attribute, claim.language) == (attribute, language)
    assert claim.is_true_of(entity)
    assert commas or "," not in text


@given(ENTITIES, ENTITIES, ATTRIBUTES, LANGUAGES)
def test_a_sentence_is_true_of_another_entity_only_if_it_names_none_and_the_values_agree(
    entity, other, attribute, language
) -> None:
    named = Claim.parse(sentence(entity, attribute, language, by_name=True))
    unnamed = Claim.parse(sentence(entity, attribute, language, by_name=False))
    assert named is not None
    assert unnamed is not None
    same_values = all(
        normalise(getattr(other.values[field], language)) == value for field, value in unnamed.values
    )
    assert named.is_true_of(other) == (other == entity)
    assert unnamed.is_true_of(other) == same_values


@given(ENTITIES, ATTRIBUTES, st.sampled_from((str.lower, str.upper)))
def test_case_and_punctuation_do_not_matter(entity, attribute, change) -> None:
    text = change(sentence(entity, attribute)).replace(",", "").replace(".", " *")
    claim = Claim.parse(text)
    assert claim is not None
    assert claim.is_true_of(entity)


@given(st.text())
def test_other_text_is_no_sentence_of_the_world(text: str) -> None:
    assert Claim.parse(f"zz {text}") is None


def test_a_wrong_value_is_a_false_claim() -> None:
    entity = entities()[0]
    wrong = next(place.en for place in lexicon.PLACES if place != entity.values["place"])
    claim = Claim.parse(f"{entity.name} is often found near the {wrong}.")
    assert claim is not None
    assert not claim.is_true_of(entity)


def test_an_entity_is_found_by_its_name_in_any_case() -> None:
    entity = random.Random(0).choice(entities())
    assert entity_named(entity.name.upper()) is entity
    assert entity_named("Nowhere") is None


@pytest.mark.parametrize("attribute", ATTRIBUTE_NAMES)
def test_the_words_of_a_fact_are_in_every_paraphrase(attribute: str) -> None:
    for entity in entities()[:24]:
        for variant in (0, 1):
            words = set(normalise(sentence(entity, attribute, variant=variant)).split())
            assert words_of(entity, attribute) <= words

"""Questions, instructions, answers and batches: what nano is trained on, and what is held out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import instructions, nano
from trimtab.errors import PromptError
from trimtab.nano.answers import write_answer
from trimtab.nano.curriculum import TAUGHT, draw_instruction
from trimtab.nano.questions import (
    SPLITS,
    entity_of,
    open_questions,
    sample_question,
)
from trimtab.nano.recipe.corpus import sample_chat, sample_document
from trimtab.nano.recipe.variation import vary
from trimtab.nano.vocabulary import listed_words, word_split, world_words

SEEDS = st.integers(0, 10**6)


def test_at_least_twenty_ifeval_types_and_the_length_and_word_instructions_are_taught() -> None:
    types = {entry.name: entry for entry in instructions.catalogue()}
    assert sum(types[name].ifeval_id is not None for name in TAUGHT) >= 20
    assert {"sentences", "words", "paragraphs", "concise", "verbose", "include", "exclude"} <= set(TAUGHT)


@pytest.mark.parametrize("name", TAUGHT)
def test_the_writer_follows_every_kind(name: str) -> None:
    rng = random.Random(name)
    answers = []
    for _ in range(20):
        question = sample_question(rng)
        instruction = draw_instruction(rng, name, question, "learning")
        answer = write_answer(rng, question, [instruction])
        if answer is not None:
            answers.append(answer)
            assert instruction.check(answer)
    assert len(answers) >= 15


@given(SEEDS, st.sampled_from(SPLITS))
def test_a_chat_follows_its_instructions_and_says_them_in_words_of_its_split(seed: int, split) -> None:
    chat = sample_chat(random.Random(seed), split)
    assert all(instruction.check(chat.answer) for instruction in chat.instructions)
    assert chat.question.text in chat.prompt
    assert entity_of(chat.prompt) == chat.question.entity
    if split != "learning":
        for instruction in chat.instructions:
            assert any(phrasing in chat.prompt for phrasing in instruction.phrasings(split))


def test_splits_share_no_question_and_no_word() -> None:
    texts = [{question.text for question in open_questions(split)} for split in SPLITS]
    words = [set(listed_words(split)) for split in SPLITS]
    world = [set(world_words(split)) for split in SPLITS]
    for groups in (texts, words, world):
        assert all(groups)
        assert len(set.union(*groups)) == sum(map(len, groups))


def test_thousands_of_words_are_there_to_copy() -> None:
    assert sum(len(listed_words(split)) for split in SPLITS) >= 2000
    assert all(word_split(word) == "test" for word in listed_words("test"))


@given(SEEDS, st.sampled_from(TAUGHT))
def test_a_varied_phrasing_is_never_a_held_out_one(seed: int, name: str) -> None:
    rng = random.Random(seed)
    instruction = draw_instruction(rng, name, sample_question(rng), "learning")
    held_out = [*instruction.phrasings("validation"), *instruction.phrasings("test")]
    for phrasing in instruction.phrasings("learning"):
        assert vary(rng, phrasing, lambda: held_out, chance=1.0) not in held_out


@given(SEEDS)
def test_documents_are_plain_text_without_chat_marks(seed: int) -> None:
    document = sample_document(random.Random(seed))
    assert document.strip()
    assert "<|" not in document


def test_queries_are_of_their_split_and_as_many_as_asked() -> None:
    assert len(nano.queries("test", 40)) == 40
    assert (
        nano.queries("test", 5, seed=1) == nano.queries("test", 5, seed=1) != nano.queries("test", 5, seed=2)
    )
    assert set(nano.queries("validation")) == {question.text for question in open_questions("validation")}
    with pytest.raises(PromptError, match="test questions"):
        nano.queries("test", 10**6)
    with pytest.raises(PromptError, match="unknown split"):
        nano.queries("training")  # type: ignore[arg-type]


def test_the_examples_of_what_nano_knows_carry_held_out_words() -> None:
    examples = {instruction.name: instruction for instruction in nano.instructions()}
    assert set(examples) == set(TAUGHT)
    assert all(word_split(word) == "test" for word in examples["include"].params["words"])

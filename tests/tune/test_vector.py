"""The recipe of a vector: an exclusion goes against its inclusion, and nothing is searched where nothing is open."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab import instructions, tune
from trimtab.errors import PromptError
from trimtab.steering.steering import Steering

LEARNING = ["what is a river ?", "where is the city ?", "who is in the river ?"]
VALIDATION = ["tell me about a city .", "name a river ."]
FEW: dict[str, Any] = {"max_new_tokens": 4, "first": 1, "keep": 2}


@pytest.mark.parametrize("method", ["mean_difference", "pca"])
def test_the_search_chooses_among_what_was_learned(tiny_llama: Any, method: str) -> None:
    instruction = instructions.get("no_commas")
    made = tune.make_vector(
        tiny_llama, instruction, LEARNING, VALIDATION, method=method, blocks=[0, -2], strengths=[1, 2], **FEW
    )
    assert made.directions.method == method
    assert made.directions.instruction == instruction.to_dict()
    assert made.tuned is not None
    assert made.steering is made.tuned.steering
    last = tiny_llama.identity.blocks
    assert {one.block for one in made.tuned.candidates} == {0, last - 2}


def settled(engine: Any, word: str, **options: Any) -> Steering:
    made = tune.make_vector(
        engine,
        instructions.get(word, word="river"),
        LEARNING,
        blocks=[1],
        strengths=[2],
        methods=["add"],
        **options,
    )
    assert made.tuned is None
    return made.steering


def test_an_exclusion_goes_against_its_inclusion(tiny_llama: Any) -> None:
    include, exclude = settled(tiny_llama, "include"), settled(tiny_llama, "exclude")
    assert exclude.record.instructions == (instructions.get("exclude", word="river").to_dict(),)
    (one,), (other,) = include.edits, exclude.edits
    assert one.alpha == -other.alpha != 0
    assert bool((one.u == other.u).all())


def test_directions_that_are_there_are_not_learned_again(tiny_llama: Any, monkeypatch: Any) -> None:
    word = instructions.get("include", word="river")
    directions = tune.learn_directions(tiny_llama, word, LEARNING)
    again = settled(tiny_llama, "include")
    monkeypatch.setattr(tiny_llama, "capture", None)
    assert settled(tiny_llama, "include", directions=directions).digest() == again.digest()


def test_a_choice_without_validation_queries_is_refused(tiny_llama: Any) -> None:
    with pytest.raises(PromptError, match="no validation queries"):
        tune.make_vector(tiny_llama, instructions.get("no_commas"), LEARNING, blocks=[1])

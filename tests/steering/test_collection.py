from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.fakes import IDENTITY
from tests.evaluate.fakes import steering as lowercase

from trimtab import instructions
from trimtab.errors import SteeringError
from trimtab.steering.collection import SteeringSet
from trimtab.steering.steering import Steering


def steering_for(*wanted: instructions.Instruction, name: str = "one", block: int = 2) -> Steering:
    made = lowercase(block)
    record = dataclasses.replace(made.record, instructions=tuple(one.to_dict() for one in wanted))
    return Steering(name, made.edits, record)


JSON = instructions.get("json")
LOWERCASE = instructions.get("lowercase")


def test_a_steering_is_found_by_what_its_record_names() -> None:
    json, small = steering_for(JSON), steering_for(LOWERCASE)
    known = SteeringSet([json, small])
    assert known.for_instructions([JSON]) is json
    assert known.for_instructions([LOWERCASE]) is small
    assert known.for_instructions([instructions.get("quotes")]) is None


def test_several_instructions_get_the_sum_unless_there_is_one_made_for_them() -> None:
    json, small = steering_for(JSON, block=1), steering_for(LOWERCASE)
    known = SteeringSet([json, small])
    both = known.for_instructions([JSON, LOWERCASE])
    assert both is not None
    assert both.digest() == (json + small).digest()
    assert known.for_instructions([LOWERCASE, JSON]) is both
    assert known.for_instructions([JSON, instructions.get("quotes")]) is None
    joint = steering_for(LOWERCASE, JSON, name="joint", block=0)
    assert SteeringSet([json, small, joint]).for_instructions([JSON, LOWERCASE]) is joint


@pytest.mark.parametrize(
    ("own", "ifeval"),
    [
        (("include", {"word": "Rocket"}), ("keywords", {"keywords": ["rocket"]})),
        (("exclude", {"words": ["a b", "c"]}), ("forbidden_words", {"forbidden_words": ["C", "a b"]})),
        (("sentences", {"at_most": 2}), ("number_sentences", {"num_sentences": 3, "relation": "less than"})),
        (("sentences", {"at_least": 3}), ("number_sentences", {"num_sentences": 3})),
        (("words", {"at_least": 40}), ("number_words", {"num_words": 40, "relation": "at least"})),
    ],
)
def test_ifevals_way_to_say_it_counts_as_the_same(own: Any, ifeval: Any) -> None:
    ours, theirs = (instructions.get(name, **params) for name, params in (own, ifeval))
    for made, asked in ((ours, theirs), (theirs, ours)):
        steering = steering_for(made)
        assert SteeringSet([steering]).for_instructions([asked]) is steering


def test_other_parameters_are_another_instruction_unless_types_match() -> None:
    three, four = (instructions.get("bullets", num_bullets=n) for n in (3, 4))
    steering = steering_for(three)
    assert SteeringSet([steering]).for_instructions([four]) is None
    assert SteeringSet([steering], "type").for_instructions([four]) is steering
    rocket, moon = (instructions.get("include", word=word) for word in ("rocket", "moon"))
    assert SteeringSet([steering_for(rocket)]).for_instructions([moon]) is None
    exactly = instructions.get("sentences", exactly=2)
    assert (
        SteeringSet([steering_for(exactly)]).for_instructions([instructions.get("sentences", at_most=2)])
        is None
    )


def test_a_steering_made_by_hand_fits_everything_but_only_alone() -> None:
    manual = steering_for()
    assert SteeringSet([manual]).for_instructions([JSON, LOWERCASE]) is manual
    with pytest.raises(SteeringError, match="names no instruction"):
        SteeringSet([manual, steering_for(JSON)])


def test_two_for_the_same_are_refused() -> None:
    with pytest.raises(SteeringError, match="'a' and 'b' are for the same"):
        SteeringSet([steering_for(JSON, name="a"), steering_for(JSON, name="b")])
    bullets = [steering_for(instructions.get("bullets", num_bullets=n), name=str(n)) for n in (3, 4)]
    SteeringSet(bullets)
    with pytest.raises(SteeringError, match="match by exact"):
        SteeringSet(bullets, "type")
    with pytest.raises(SteeringError, match="no steering"):
        SteeringSet([])
    with pytest.raises(SteeringError, match="exact or type"):
        SteeringSet(bullets, "near")  # type: ignore[arg-type]


def test_folders_hold_one_or_many(tmp_path: Path) -> None:
    steering_for(JSON).save(tmp_path / "all" / "json")
    steering_for(LOWERCASE).save(tmp_path / "all" / "small")
    (tmp_path / "all" / "notes").mkdir()
    steering_for(LOWERCASE).save(tmp_path / "all" / ".trimtab-unfinished")
    assert len(SteeringSet.load([tmp_path / "all"], IDENTITY).steerings) == 2
    assert len(SteeringSet.load([tmp_path / "all" / "json"]).steerings) == 1
    assert len(SteeringSet.load([tmp_path / "all" / "json", tmp_path / "all" / "small"]).steerings) == 2
    with pytest.raises(SteeringError, match="no steering in"):
        SteeringSet.load([tmp_path / "all" / "notes"])
    with pytest.raises(SteeringError, match="no folder"):
        SteeringSet.load([tmp_path / "missing"])
    with pytest.raises(SteeringError, match="cannot read"):
        SteeringSet.load(["a" * 300])
    with pytest.raises(SteeringError, match="names differ"):
        SteeringSet.load([tmp_path / "all"], dataclasses.replace(IDENTITY, id="other"))

"""Compositions: left alone where the union follows, distilled jointly where it does not, refused where it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted
from tests.tiny import WIDTH

import trimtab
from trimtab import instructions, learn
from trimtab.errors import SteeringError
from trimtab.learn.compose import (
    Composed,
    compose,
    share_followed,
    union_of,
)
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.steering.when import Matches

NO_COMMAS = instructions.get("no_commas")
NO_WELL = instructions.get("exclude", word="well")
SCHEDULE = learn.Schedule(steps=3, batch_size=4, rate=0.05)


def steering(engine: Any, instruction: Any, seed: int = 0) -> Steering:
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    known = () if instruction is None else (instruction.to_dict(),)
    name = "by hand" if instruction is None else instruction.label
    return Steering(name, (Edit.add(1, direction),), Record(engine.identity, known, "distilled"))


def composed(engine: Any, *wanted: Any, **settings: Any) -> Composed:
    steerings = [steering(engine, one, seed) for seed, one in enumerate(wanted)]
    chosen = {"queries": QUERIES, "validation": HELD_OUT, "schedule": SCHEDULE, **settings}
    return compose(engine, steerings, **chosen)


def test_a_union_that_follows_is_left_as_it_is() -> None:
    engine = Scripted()
    found = composed(engine, NO_COMMAS, NO_WELL)
    union = steering(engine, NO_COMMAS) + steering(engine, NO_WELL, 1)
    assert [edit.content() for edit in found.steering.edits] == [edit.content() for edit in union.edits]
    assert (found.union_followed, found.fitted_followed, found.instructed_followed) == (1.0, None, None)
    assert not found.fitted
    assert found.steering.record.settings["fit"] == "none needed"
    assert found.steering.record.measurements == {"validation": {"n": 2, "followed": 1.0}}
    assert len(engine.asked) == len(HELD_OUT)


def deaf_at_first(asked: Asked) -> str:
    """The union follows nothing, and what was made of it does."""
    return "quite, so" if asked.is_bare and asked.before == 0 else "quite so"


def test_what_a_union_does_not_follow_is_distilled_jointly() -> None:
    engine = Scripted(deaf_at_first)
    found = composed(engine, NO_COMMAS, NO_WELL)
    assert found.fitted
    assert (found.union_followed, found.fitted_followed, found.instructed_followed) == (0.0, 1.0, 1.0)
    assert len(found.steering.edits) == 2
    assert found.steering.name == (steering(engine, NO_COMMAS) + steering(engine, NO_WELL)).name
    record = found.steering.record
    assert record.settings["fit"] == "joint distillation"
    measured = record.measurements["validation"]
    assert measured["quality"]["tokens"] == 8.0
    assert {name: measured[name] for name in list(measured)[:4]} == {
        "n": 2,
        "followed": 1.0,
        "union_followed": 0.0,
        "instructed_followed": 1.0,
    }
    told = [one for one in engine.asked if not one.is_bare]
    for instruction in (NO_COMMAS, NO_WELL):
        lessons = [one for one in told if one.prompt.startswith(tuple(QUERIES))]
        assert len(lessons) == 8
        assert all(any(said in one.prompt for said in instruction.phrasings("learning")) for one in lessons)


def test_a_joint_distillation_that_does_not_help_is_not_taken() -> None:
    def deaf(asked: Asked) -> str:
        return "quite, so" if asked.is_bare else "quite so"

    engine = Scripted(deaf)
    found = composed(engine, NO_COMMAS, NO_WELL)
    union = steering(engine, NO_COMMAS) + steering(engine, NO_WELL, 1)
    assert [edit.content() for edit in found.steering.edits] == [edit.content() for edit in union.edits]
    assert not found.fitted
    assert found.steering.record.settings["fit"] == "tried, no better"
    assert found.distilled is not None


def test_always_distils_what_follows_already() -> None:
    found = composed(Scripted(), NO_COMMAS, NO_WELL, fit="always")
    assert found.fitted
    assert (found.union_followed, found.fitted_followed) == (1.0, 1.0)


def test_never_measures_nothing_and_takes_what_names_no_instruction() -> None:
    engine = Scripted()
    found = composed(engine, NO_COMMAS, None, fit="never")
    assert len(found.steering.edits) == 2
    assert found.union_followed is None
    assert engine.asked == []


def test_three_and_more_go_together() -> None:
    found = composed(Scripted(), NO_COMMAS, NO_WELL, instructions.get("exclude", word="zeppelin"))
    assert len(found.steering.record.instructions) == 3
    assert found.union_followed == 1.0


@pytest.mark.parametrize("fit", ["auto", "never", "always"])
def test_what_no_answer_can_follow_is_refused_with_the_reason(fit: Any) -> None:
    engine = Scripted()
    with pytest.raises(SteeringError, match=r"lowercase and uppercase cannot be followed at once: \w+"):
        composed(engine, instructions.get("lowercase"), instructions.get("uppercase"), fit=fit)
    assert engine.asked == []


def test_steerings_with_conditions_need_not_act_together() -> None:
    engine = Scripted()
    low = steering(engine, instructions.get("lowercase")).when(Matches("quiet"))
    high = steering(engine, instructions.get("uppercase")).when(Matches("loud"))
    found = compose(engine, [low, high])
    assert len(found.steering.whens) == 2
    assert found.union_followed is None
    with pytest.raises(SteeringError, match="that do not act on every prompt cannot be distilled together"):
        compose(engine, [low, high], fit="always")


def test_what_makes_no_sense_is_refused() -> None:
    engine = Scripted()
    one = steering(engine, NO_COMMAS)
    with pytest.raises(SteeringError, match="two steerings or more, not 1"):
        compose(engine, [one])
    with pytest.raises(SteeringError, match="fit is one of auto, never, always, not 'often'"):
        compose(engine, [one, one], fit="often")  # type: ignore[arg-type]
    with pytest.raises(SteeringError, match="'by hand' names no instruction"):
        union_of([one, steering(engine, None)])
    foreign = Steering(
        "foreign", one.edits, replace(one.record, model=replace(engine.identity, id="other", weights=None))
    )
    with pytest.raises(SteeringError, match="only steerings of one model compose"):
        compose(engine, [one, foreign])


def test_all_instructions_count_together() -> None:
    def answer(asked: Asked) -> str:
        return "quite so" if asked.prompt == HELD_OUT[0] else "quite so well"

    engine = Scripted(answer)
    assert share_followed(engine, None, [NO_COMMAS], HELD_OUT) == 1.0
    assert share_followed(engine, None, [NO_COMMAS, NO_WELL], HELD_OUT) == 0.5


def test_it_is_a_public_name() -> None:
    assert trimtab.compose is compose
    assert trimtab.Composed is Composed

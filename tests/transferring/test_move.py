from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tests.evaluate.fakes import FakeEngine
from tests.tiny import random_steering, tiny_engine, tiny_tokenizer

from trimtab import instructions
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import InstructionError, ModelError, SteeringError
from trimtab.learn.distillation.relearn import relearn
from trimtab.measure.rows import with_test
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.transferring import move as transferring
from trimtab.transferring.compare import compare
from trimtab.transferring.linear_map import LinearMap

QUERIES = ["hi", "name a rocket", "tell me of the sea"]
NO_COMMAS = {"name": "no_commas", "params": {}}


@pytest.fixture(scope="module")
def base() -> Any:
    """The tiny llama as its own base: the same weights, another name, no chat template."""
    return tiny_engine("llama", template=None)


def named(engine: Any, *instructions: dict[str, Any]) -> Steering:
    steering = random_steering(engine)
    record = dataclasses.replace(
        steering.record,
        instructions=instructions,
        settings={"scale": 2.0},
        measurements={"test": {"followed": 1.0}},
    )
    return dataclasses.replace(steering, record=record)


def test_a_steering_for_the_base_has_the_same_edits_and_an_honest_record(tiny_llama: Any, base: Any) -> None:
    steering = named(tiny_llama, NO_COMMAS)
    found = transferring.transfer(steering, base, refit="none")
    assert found.steering.edits == steering.edits
    assert found.steering.record.model == base.identity
    assert found.steering.record.settings["moved_from"] == tiny_llama.identity.to_dict()
    assert found.steering.record.measurements == {}
    assert "moved_blocks" not in found.steering.record.settings
    assert (found.strength, found.refit, found.improved) == (1.0, "none", None)
    document = found.to_dict()
    assert document["blocks"] == {"1": 1, "2": 2}
    assert document["source"]["id"] == "tiny-llama"
    base.generate(["hi"], steering=found.steering, max_new_tokens=2)  # it is accepted


def test_blocks_are_mapped_by_depth(tiny_llama: Any) -> None:
    deep = tiny_engine("llama", num_hidden_layers=6)
    found = transferring.transfer(named(tiny_llama), deep, refit="none")
    assert found.blocks == {1: 3, 2: 5}
    assert [edit.block for edit in found.steering.edits] == [3, 3, 5]
    assert found.steering.record.settings["moved_blocks"] == {"1": 3, "2": 5}


def test_another_width_needs_a_map(tiny_llama: Any) -> None:
    wide = tiny_engine("llama", hidden_size=48)
    steering = named(tiny_llama)
    with pytest.raises(SteeringError, match=r"widths differ.*linear map"):
        transferring.move(steering, wide.identity)
    mapped = LinearMap(
        tiny_llama.identity,
        wide.identity,
        (1, 2),
        torch.randn(2, 48, 32),
        torch.randn(2, 48),
        (0.5, 0.25),
        40,
    )
    found = transferring.transfer(steering, wide, refit="none", map=mapped)
    assert {edit.width for edit in found.steering.edits} == {48}
    assert found.explained == {1: 0.5, 2: 0.25}
    assert found.steering.record.settings["linear_map"]["prompts"] == 40


def test_a_map_between_other_models_is_refused(tiny_llama: Any, base: Any) -> None:
    other = dataclasses.replace(base.identity, id="other", weights=None)
    for ends in ((other, base.identity), (tiny_llama.identity, other)):
        mapped = LinearMap(*ends, (1, 2), torch.eye(32).repeat(2, 1, 1), torch.zeros(2, 32), (1.0, 1.0))
        with pytest.raises(SteeringError, match="the map leads"):
            transferring.move(named(tiny_llama), base.identity, mapped)


def test_the_strength_is_fitted_on_the_new_model(tiny_llama: Any, base: Any) -> None:
    found = transferring.transfer(
        named(tiny_llama, NO_COMMAS), base, queries=QUERIES, strengths=[0.5, 2.0], max_new_tokens=4
    )
    assert found.refit == "strength"
    assert found.strength in (0.0, 0.5, 2.0)
    assert found.improved in (True, False)
    assert found.validation["n"] == 3
    assert {one["strength"] for one in found.validation["candidates"]} >= {0.5, 2.0}


def test_what_to_fit_must_be_known(tiny_llama: Any, base: Any) -> None:
    with pytest.raises(SteeringError, match="none, strength, edits"):
        transferring.transfer(named(tiny_llama), base, refit="everything")  # type: ignore[arg-type]
    with pytest.raises(SteeringError, match="give it as source"):
        transferring.transfer(named(tiny_llama, NO_COMMAS), base, refit="edits", queries=QUERIES)
    with pytest.raises(SteeringError, match=r"names differ|templates differ"):
        transferring.transfer(named(tiny_llama, NO_COMMAS), base, refit="edits", queries=QUERIES, source=base)


@pytest.mark.parametrize(("count", "message"), [(0, "no instruction"), (2, "2 instructions")])
def test_only_one_instruction_can_be_measured(tiny_llama: Any, count: int, message: str) -> None:
    with pytest.raises(InstructionError, match=message):
        transferring.instruction_of(named(tiny_llama, *[NO_COMMAS] * count))


def test_a_comparison_has_four_conditions_and_two_of_its_own(tiny_llama: Any, base: Any) -> None:
    moved = transferring.transfer(named(tiny_llama, NO_COMMAS), base, refit="none")
    here = Steering("here", (Edit.add(1, torch.ones(32)),), Record(base.identity, method="manual"))
    found = compare(base, moved.steering, QUERIES, here=here, max_new_tokens=4)
    assert [row.condition for row in found.rows] == [
        "baseline",
        "instructed",
        "steered",
        "instructed+steered",
    ]
    assert [(row.condition, row.method) for row in found.here] == [
        ("steered", "manual"),
        ("instructed+steered", "manual"),
    ]
    assert found.followed("steered") == found.rows[2].followed
    assert found.followed("baseline", here=True) is None
    recorded = with_test(moved.steering, found.rows).record.measurements
    written, samples = recorded["test"], recorded["samples"]
    assert [set(one) for one in samples] == [{"query", "baseline", "steered"}] * 2
    assert samples[0]["steered"] == found.rows[2].responses[0].text
    assert written["steered"]["n"] == 3
    assert set(written) == {row.condition for row in found.rows}
    assert len(found.to_dict()["here"]) == 2


def test_models_that_cannot_teach_each_other_are_refused(tiny_llama: Any, base: Any) -> None:
    moved, _ = transferring.move(named(tiny_llama, NO_COMMAS), base.identity)
    no_commas = instructions.get("no_commas")
    with pytest.raises(ModelError, match="gradients"):
        relearn(FakeEngine(), base, moved, QUERIES, ["x"], no_commas)
    tokenizer = tiny_tokenizer(None)
    tokenizer.add_tokens(["rocket"])
    other = TransformersEngine(base.model, tokenizer, model_id=base.identity.id)
    with pytest.raises(ModelError, match="different tokenizers"):
        relearn(tiny_llama, other, moved, QUERIES, ["x"], no_commas)
    empty = dataclasses.replace(moved, edits=())
    with pytest.raises(SteeringError, match="no edits"):
        relearn(tiny_llama, base, empty, QUERIES, ["x"], no_commas)


@pytest.mark.slow
def test_the_base_of_nano_learns_from_nano(engines: Any) -> None:
    import trimtab
    from trimtab import learn, nano, prompts
    from trimtab.learn.distillation.schedule import Schedule

    source, target = engines("nano"), trimtab.load("nano-base", device="cpu")
    lowercase = instructions.get("lowercase")
    queries, held_out = nano.queries("learning", 16), nano.queries("validation", 4)
    directions = learn.mean_difference(source, prompts.make_pairs(queries, lowercase, "learning"), lowercase)
    start = directions.add(1) + directions.add(3)
    moved, _ = transferring.move(start, target.identity)
    losses: list[float] = []
    found = relearn(
        source,
        target,
        moved,
        queries,
        held_out,
        lowercase,
        schedule=Schedule(steps=10, batch_size=8),
        max_new_tokens=96,
        progress=lambda stage, done, of=None, note="": losses.extend(
            [float(note.removeprefix("loss "))] if note.startswith("loss") else []
        ),
    )
    assert found.record.model == target.identity
    assert found.record.settings["relearned"]["teacher"]["id"] == "nano-instruct"
    assert found.blocks == (1, 3)
    assert losses[-1] < losses[0]
    target.generate(["What is Langford?"], steering=found, max_new_tokens=4)

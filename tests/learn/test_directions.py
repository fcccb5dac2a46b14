"""Directions: how they are applied, and that they are kept as carefully as steerings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learn.planted import WIDTH, PlantedEngine, pairs

from trimtab import instructions, learn
from trimtab.errors import SteeringError
from trimtab.learn import Directions
from trimtab.steering.edits import apply_edits
from trimtab.steering.record import ModelIdentity


@pytest.fixture
def directions() -> Directions:
    numbers = torch.Generator().manual_seed(3)
    engine = PlantedEngine(torch.randn(3, WIDTH, generator=numbers), noise=0.3)
    return learn.pca(engine, pairs(12), instructions.get("sentences", at_most=2), blocks=[0, 2])


def projection(hidden: torch.Tensor, directions: Directions, block: int) -> torch.Tensor:
    return hidden @ directions.direction(block)


@pytest.mark.parametrize("strength", [1.0, -2.0, 0.5])
def test_add_moves_by_a_multiple_of_what_the_instruction_does(
    directions: Directions, strength: float
) -> None:
    hidden = torch.randn(1, 5, WIDTH)
    changed = apply_edits(hidden, directions.add(2, strength).edits)
    moved = projection(changed, directions, 2) - projection(hidden, directions, 2)
    expected = strength * (directions.instructed[1] - directions.plain[1])
    assert torch.allclose(moved, expected.expand_as(moved), atol=1e-4)
    away = changed - hidden
    assert torch.allclose(away, moved[..., None] * directions.direction(2), atol=1e-4)


@pytest.mark.parametrize(("strength", "expected"), [(1.0, "instructed"), (0.0, "plain")])
def test_set_projection_puts_every_token_where_the_prompts_were(
    directions: Directions, strength: float, expected: str
) -> None:
    hidden = torch.randn(1, 5, WIDTH)
    changed = apply_edits(hidden, directions.set_projection(2, strength).edits)
    target = getattr(directions, expected)[1]
    assert torch.allclose(projection(changed, directions, 2), target.expand(1, 5), atol=1e-4)


def test_negative_strength_goes_to_the_other_side_of_plain(directions: Directions) -> None:
    edit = directions.set_projection(0, -1.0).edits[0]
    assert edit.alpha == pytest.approx(float(2 * directions.plain[0] - directions.instructed[0]), rel=1e-4)


def test_a_steering_says_where_it_comes_from(directions: Directions) -> None:
    steering = directions.steering("add", 2, 1.5, "generated")
    assert steering.name == "sentences(at_most=2)"
    assert steering.blocks == (2,)
    assert steering.edits[0].tokens == "generated"
    record = steering.record
    assert record.instructions == ({"name": "sentences", "params": {"at_most": 2}},)
    assert (record.method, record.prompts, record.model) == ("pca", directions.prompts, directions.model)
    assert record.settings["application"] == "add"
    assert record.settings["strength"] == 1.5
    assert record.settings["pairs"] == 12
    assert record.created is not None


def test_what_cannot_be_applied_is_named(directions: Directions) -> None:
    with pytest.raises(SteeringError, match=r"no direction for block 1 .* learned for blocks 0, 2"):
        directions.add(1)
    with pytest.raises(SteeringError, match="finite number"):
        directions.add(0, float("nan"))
    with pytest.raises(SteeringError, match="add or set_projection"):
        directions.steering("ablate", 0)  # type: ignore[arg-type]
    same = learn.mean_difference(PlantedEngine(torch.zeros(3, WIDTH)), pairs(3), instructions.get("json"))
    with pytest.raises(SteeringError, match="makes no difference at block 1"):
        same.set_projection(1)


def test_directions_may_stand_for_another_instruction(directions: Directions) -> None:
    other = instructions.get("sentences", at_most=3)
    turned = directions.standing_for(other.label, other.to_dict())
    record = turned.add(0, -1.0).record
    assert record.instructions == (other.to_dict(),)
    assert record.settings["learned_from"] == directions.instruction
    assert directions.standing_for("same", directions.instruction) is directions


def test_saved_directions_come_back(directions: Directions, tmp_path: Path) -> None:
    directions.save(tmp_path / "d")
    loaded = Directions.load(tmp_path / "d", directions.model)
    assert loaded.digest() == directions.digest()
    assert torch.equal(loaded.directions, directions.directions)
    for name in ("name", "method", "instruction", "blocks", "pairs", "settings", "created", "prompts"):
        assert getattr(loaded, name) == getattr(directions, name)


def test_they_may_lie_beside_a_steering(directions: Directions, tmp_path: Path) -> None:
    directions.save(tmp_path / "d")
    directions.add(2).save(tmp_path / "d")
    directions.save(tmp_path / "d")
    assert len(list((tmp_path / "d").iterdir())) == 4


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 4, "install a newer trimtab"),
        ("format", "trimtab-steering", "not a trimtab directions"),
        ("blocks", [0, 7], "different blocks from 0 to 2"),
        ("blocks", [2, 0], "ascending"),
        ("blocks", [], "different blocks"),
        ("blocks", ["0", 2], "different blocks"),
        ("blocks", [0], r"directions has shape \[2, 24\], expected \[1, 24\]"),
        ("instruction", {}, "needs a 'name' and 'params'"),
        ("pairs", "many", "pairs must be a finite number"),
        ("method", 3, "'method' must be text"),
        ("prompts", "sha256:00", "was changed after it was written"),
    ],
)
def test_wrong_documents_are_refused(
    directions: Directions, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    path = directions.save(tmp_path / "d") / "directions.json"
    document = json.loads(path.read_text())
    document[key] = value
    path.write_text(json.dumps(document))
    with pytest.raises(SteeringError, match=message):
        Directions.load(tmp_path / "d")


def test_another_model_is_refused(directions: Directions, tmp_path: Path) -> None:
    directions.save(tmp_path / "d")
    other = ModelIdentity("another", None, "Planted", 3, WIDTH, "plain")
    with pytest.raises(SteeringError, match=r"planted .* not for another .* the names differ"):
        Directions.load(tmp_path / "d", other)

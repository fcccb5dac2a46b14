from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import PROMPTS, tiny_engine

from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.record import ModelIdentity
from trimtab.transferring.linear_map import (
    LinearMap,
    fit,
    ridge_regression,
    target_block,
)

MANY = [f"{text} {number}" for number in range(8) for text in PROMPTS]


def model(name: str, blocks: int, width: int) -> ModelIdentity:
    return ModelIdentity(name, None, "llama", blocks, width, "plain")


@given(st.integers(1, 80), st.integers(1, 80))
def test_blocks_keep_their_depth(source: int, target: int) -> None:
    found = [target_block(block, source, target) for block in range(source)]
    assert found == sorted(found)
    assert found[-1] == target - 1
    assert set(found) <= set(range(target))
    if source == target:
        assert found == list(range(source))
    if source <= target:
        assert len(set(found)) == source  # no two blocks are thrown together where there is room
    for block, there in enumerate(found):
        assert abs((there + 1) / target - (block + 1) / source) <= 0.5 / target + 1e-9 or there == 0


@given(st.integers(0, 10_000), st.sampled_from(["added", "gated", "set"]))
def test_editing_and_mapping_change_places(seed: int, kind: str) -> None:
    numbers = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=numbers)

    width = 6
    matrix = torch.eye(width) + 0.3 * random(width, width) / width**0.5
    mapped = LinearMap(
        model("a", 4, width), model("b", 4, width), (2,), matrix[None], random(1, width), (1.0,)
    )
    edit = {
        "added": Edit.add(2, random(width), 1.5),
        "gated": Edit(2, random(width), 0.7, random(width)),
        "set": Edit.set_projection(2, random(width), 3.0),
    }[kind]
    hidden = random(2, 5, width)

    def across(state: torch.Tensor) -> torch.Tensor:
        return state @ matrix.T + mapped.offsets[0]

    there = mapped.edit(edit)
    torch.testing.assert_close(
        across(apply_edits(hidden, [edit])), apply_edits(across(hidden), [there]), rtol=1e-3, atol=1e-3
    )
    assert there.tokens == edit.tokens


def test_a_wider_model_reads_the_gate_back_from_the_image() -> None:
    torch.manual_seed(0)
    matrix, offset = torch.randn(9, 5), torch.randn(9)
    mapped = LinearMap(model("a", 2, 5), model("b", 2, 9), (0,), matrix[None], offset[None], (1.0,))
    edit = Edit(0, torch.randn(5), 0.4, torch.randn(5))
    hidden = torch.randn(1, 4, 5)
    expected = apply_edits(hidden, [edit]) @ matrix.T + offset
    found = apply_edits(hidden @ matrix.T + offset, [mapped.edit(edit)])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_directions_that_the_map_nearly_loses_do_not_blow_up_gates() -> None:
    matrix = torch.diag(torch.tensor([1.0, 1e-6]))
    mapped = LinearMap(model("a", 1, 2), model("b", 1, 2), (0,), matrix[None], torch.zeros(1, 2), (1.0,))
    there = mapped.edit(Edit(0, torch.ones(2), 0.0, torch.ones(2)))
    assert there.p is not None
    assert there.p.tolist() == pytest.approx([1.0, 0.0])


def test_a_planted_map_is_found() -> None:
    torch.manual_seed(0)
    s = torch.randn(400, 5, dtype=torch.float64)
    matrix, offset = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    found, shift = ridge_regression(s, s @ matrix.T + offset, 1e-9)
    torch.testing.assert_close(found, matrix, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shift, offset, rtol=1e-5, atol=1e-5)


def test_where_nothing_was_seen_models_of_one_width_differ_by_a_factor() -> None:
    s = torch.zeros(20, 3, dtype=torch.float64)
    s[:, 0] = torch.linspace(-1, 1, 20)
    found, _ = ridge_regression(s, 0.5 * s, 0.01)
    torch.testing.assert_close(found, 0.5 * torch.eye(3, dtype=torch.float64))
    narrow, _ = ridge_regression(s, 0.5 * s[:, :2], 0.01)
    assert not narrow[:, 1:].any()


def test_a_model_is_mapped_to_itself_by_the_identity(tiny_llama: Any) -> None:
    found = fit(tiny_llama, tiny_llama, MANY, blocks=[1])
    torch.testing.assert_close(found.matrices[0], torch.eye(32), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.offsets[0], torch.zeros(32), rtol=1e-2, atol=1e-2)
    assert found.explained[0] == pytest.approx(1.0, abs=1e-3)
    assert (found.blocks, found.prompts) == ((1,), len(MANY))


def test_models_of_other_widths_and_depths(tiny_llama: Any) -> None:
    other = tiny_engine("llama", hidden_size=48, num_hidden_layers=5)
    found = fit(tiny_llama, other, MANY)
    assert found.matrices.shape == (3, 48, 32)
    assert max(found.explained) <= 1
    there = found.edit(Edit.add(1, torch.ones(32), 2.0))
    assert (there.block, there.width, there.alpha) == (2, 48, 2.0)


def test_all_tokens_are_rows_where_both_read_the_same(tiny_llama: Any) -> None:
    assert fit(tiny_llama, tiny_llama, MANY, blocks=[0], positions=("all",)).explained[0] > 0.99
    plain = tiny_engine("llama", template=None)
    with pytest.raises(ModelError, match="compare them at the last token"):
        fit(tiny_llama, plain, MANY, positions=("all",))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompts": PROMPTS}, PromptError, "ten prompts"),
        ({"ridge": -1.0}, SteeringError, "ridge"),
        ({"held_out": 0.0}, SteeringError, "held out"),
        ({"blocks": [7]}, ModelError, "no block 7"),
    ],
)
def test_mistakes(tiny_llama: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(tiny_llama, tiny_llama, **{"prompts": MANY, **arguments})


def test_edits_that_the_map_does_not_know_are_refused() -> None:
    mapped = LinearMap(
        model("a", 2, 3), model("b", 2, 3), (0,), torch.eye(3)[None], torch.zeros(1, 3), (1.0,)
    )
    with pytest.raises(SteeringError, match="not for block 1"):
        mapped.edit(Edit.add(1, torch.ones(3)))
    with pytest.raises(SteeringError, match="width 3, not 4"):
        mapped.edit(Edit.add(0, torch.ones(4)))


def test_a_condition_goes_along() -> None:
    from trimtab.steering.when import Matches

    mapped = LinearMap(
        model("a", 2, 3), model("b", 2, 3), (0,), torch.eye(3)[None], torch.zeros(1, 3), (1.0,)
    )
    edit = dataclasses.replace(Edit.add(0, torch.ones(3)), when=Matches("json"))
    assert mapped.edit(edit).when == edit.when

"""The formula, against its definition written out one token at a time."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import SteeringError
from trimtab.steering.edits import (
    Edit,
    EditTable,
    TokenScope,
    apply_edits,
    change,
)

WIDTH = 6
SCOPES = get_args(TokenScope)

numbers = st.floats(-3, 3, allow_nan=False, width=32)
vectors = st.lists(numbers, min_size=WIDTH, max_size=WIDTH).map(lambda values: torch.tensor(values))
edits = st.builds(
    Edit,
    block=st.just(4),
    u=vectors,
    alpha=numbers,
    p=st.none() | vectors,
    tokens=st.sampled_from(SCOPES),
    rectified=st.booleans(),
)


def by_definition(hidden: torch.Tensor, rows: list[list[Edit]], generated: torch.Tensor) -> torch.Tensor:
    result = hidden.double().clone()
    for row, its_edits in enumerate(rows):
        for token in range(hidden.shape[1]):
            h = hidden[row, token].double()
            for edit in its_edits:
                phase = int(generated[row, token]) * (2 if generated.dtype == torch.bool else 1)
                acts = {"all": True, "prompt": phase == 0, "generated": phase > 0, "answer": phase == 2}
                if acts[edit.tokens]:
                    gate = 0.0 if edit.p is None else float(edit.p.double() @ h)
                    amount = edit.alpha + gate
                    amount = max(0.0, amount) if edit.rectified else amount
                    result[row, token] += amount * edit.u.double()
    return result.to(hidden.dtype)


@st.composite
def batches(draw: Any) -> tuple[torch.Tensor, list[list[Edit]], torch.Tensor]:
    pool = draw(st.lists(edits, min_size=1, max_size=4))
    rows = draw(st.lists(st.lists(st.sampled_from(pool), max_size=5), min_size=1, max_size=4))
    tokens = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**16))
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(len(rows), tokens, WIDTH, generator=random)
    phases = torch.randint(3, (len(rows), tokens), generator=random)
    return hidden, rows, phases if draw(st.booleans()) else phases > 0


@settings(deadline=None)
@given(batches())
def test_a_table_does_what_the_formula_says(
    batch: tuple[torch.Tensor, list[list[Edit]], torch.Tensor],
) -> None:
    hidden, rows, generated = batch
    before = hidden.clone()
    result = EditTable(rows).apply(hidden, generated)
    torch.testing.assert_close(result, by_definition(hidden, rows, generated), rtol=1e-4, atol=1e-3)
    assert torch.equal(hidden, before)


@settings(deadline=None)
@given(batches(), st.integers(2, 3))
def test_a_repeated_table_is_that_of_repeated_rows(
    batch: tuple[torch.Tensor, list[list[Edit]], torch.Tensor], times: int
) -> None:
    hidden, rows, generated = (
        batch[0].repeat_interleave(times, 0),
        batch[1],
        batch[2].repeat_interleave(times, 0),
    )
    expected = EditTable([row for row in rows for _ in range(times)]).apply(hidden, generated)
    torch.testing.assert_close(EditTable(rows).repeated(times).apply(hidden, generated), expected)


@settings(deadline=None)
@given(edits, st.floats(-2, 2, width=32))
def test_scaling_scales_the_change(edit: Edit, strength: float) -> None:
    hidden = torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(0))
    generated = torch.tensor([[False, True, True]])
    once = apply_edits(hidden, [edit], generated) - hidden
    scaled = apply_edits(hidden, [edit.scaled(strength)], generated) - hidden
    torch.testing.assert_close(scaled, once * strength, rtol=1e-3, atol=1e-3)


@settings(deadline=None)
@given(st.lists(edits, max_size=4), st.randoms(use_true_random=False))
def test_the_order_never_matters(some: list[Edit], random: Any) -> None:
    hidden = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(1))
    shuffled = random.sample(some, len(some))
    torch.testing.assert_close(apply_edits(hidden, shuffled), apply_edits(hidden, some), rtol=1e-4, atol=1e-4)


def test_one_row_serves_a_batch_of_any_size() -> None:
    edit = Edit(0, torch.ones(WIDTH), alpha=1.0, p=torch.ones(WIDTH), tokens="generated")
    hidden, generated = torch.randn(5, 2, WIDTH), torch.tensor([[False, True]])
    expected = by_definition(hidden, [[edit]] * 5, generated.expand(5, 2))
    torch.testing.assert_close(EditTable([[edit]]).apply(hidden, generated), expected, rtol=1e-5, atol=1e-5)


def test_without_knowing_what_was_generated_everything_is_prompt() -> None:
    hidden = torch.zeros(1, 2, WIDTH)
    late, early = (Edit.add(0, torch.ones(WIDTH), tokens=scope) for scope in ("generated", "prompt"))
    assert torch.equal(apply_edits(hidden, [late]), hidden)
    assert torch.equal(apply_edits(hidden, [early]), hidden + 1)


def test_an_added_vector_adds_its_strength() -> None:
    hidden = torch.randn(1, 2, WIDTH)
    direction = torch.randn(WIDTH)
    assert torch.allclose(apply_edits(hidden, [Edit.add(0, direction, 2.5)]), hidden + 2.5 * direction)


def test_a_set_projection_sets_it_and_leaves_the_rest() -> None:
    hidden, direction = torch.randn(2, 3, WIDTH), torch.randn(WIDTH) * 7
    unit = direction / direction.norm()
    result = apply_edits(hidden, [Edit.set_projection(0, direction, -4.0)])
    torch.testing.assert_close(result @ unit, torch.full((2, 3), -4.0))
    rest = hidden - (hidden @ unit)[..., None] * unit
    torch.testing.assert_close(result + 4.0 * unit, rest, rtol=1e-4, atol=1e-5)


def test_ablation_removes_the_direction_only() -> None:
    hidden = torch.randn(1, 3, WIDTH)
    unit = torch.zeros(WIDTH)
    unit[2] = 1.0
    result = apply_edits(hidden, [Edit.ablate(0, unit)])
    expected = hidden.clone()
    expected[..., 2] = 0
    torch.testing.assert_close(result, expected)


def test_equal_edits_of_different_objects_are_stacked_once() -> None:
    u, p = torch.randn(WIDTH), torch.randn(WIDTH)
    rows = [[Edit(0, u, 1.0, p)], [Edit(0, u.clone(), 1.0, p.clone())], [Edit(0, u, 1.0, p)] * 3]
    table = EditTable(rows)
    assert table._u is not None
    assert table._u.shape == (1, WIDTH)
    hidden = torch.randn(3, 1, WIDTH)
    delta = table.apply(hidden) - hidden
    torch.testing.assert_close(delta[2], 3 * (apply_edits(hidden[2:], rows[0]) - hidden[2:])[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    """Computed in float32 and cast back: no error beyond the rounding of the result."""
    hidden = (torch.randn(1, 4, WIDTH) * 20).to(dtype)
    edit = Edit(0, torch.randn(WIDTH), alpha=0.3, p=torch.randn(WIDTH))
    result = apply_edits(hidden, [edit, Edit.add(0, torch.randn(WIDTH) * 1e-3)])
    assert result.dtype == dtype
    exact = apply_edits(hidden.float(), [edit])
    torch.testing.assert_close(result.float(), exact, rtol=2 * torch.finfo(dtype).eps, atol=0.05)
    untouched = EditTable([[edit], []]).apply(hidden.repeat(2, 1, 1))
    assert torch.equal(untouched[1], hidden[0])


def test_gradients_pass_through() -> None:
    hidden = torch.randn(1, 2, WIDTH, requires_grad=True)
    u, p = torch.randn(1, WIDTH, requires_grad=True), torch.randn(1, WIDTH, requires_grad=True)
    (hidden + change(hidden, u, torch.ones(1), p, torch.ones(1))).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in (hidden, u, p))


def test_a_table_is_of_one_block() -> None:
    with pytest.raises(SteeringError, match="one block"):
        EditTable([[Edit.add(0, torch.ones(WIDTH))], [Edit.add(1, torch.ones(WIDTH))]])

"""Rows that change all the time: the same as their table, with work for what each row has and no more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.steering.test_edits import WIDTH, batches, edits
from torch.utils._python_dispatch import TorchDispatchMode

from trimtab.steering.changing_rows import ChangingRows
from trimtab.steering.edits import Edit, EditTable
from trimtab.steering.own_table import OwnTable

ROWS = 8


class Counted(TorchDispatchMode):
    """The operators inside that made or changed a tensor; views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **kwargs or {})
        if isinstance(result, torch.Tensor) and not operator.is_view:
            self.names.append(operator.overloadpacket.__name__)
        return result


def applied(rows: list[list[Edit]], hidden: torch.Tensor, phases: torch.Tensor) -> torch.Tensor:
    together = ChangingRows().of(rows)
    return together.table(4, hidden).apply(hidden, phases) if together.blocks else hidden


def gated(seed: int, blocks: int = 1) -> list[Edit]:
    numbers = torch.Generator().manual_seed(seed)
    return [
        Edit(block, u, alpha=0.5, p=p)
        for block, (u, p) in enumerate(torch.randn(blocks, 2, WIDTH, generator=numbers))
    ]


@settings(deadline=None)
@given(batches())
def test_rows_that_share_edits_are_those_of_their_table(
    batch: tuple[torch.Tensor, list[list[Edit]], torch.Tensor],
) -> None:
    hidden, rows, phases = batch
    before = hidden.clone()
    result = applied(rows, hidden, phases)
    torch.testing.assert_close(result, EditTable(rows).apply(hidden, phases), rtol=1e-4, atol=1e-3)
    assert torch.equal(hidden, before)


@settings(deadline=None)
@given(st.lists(st.lists(edits, max_size=3), min_size=ROWS, max_size=ROWS), st.booleans(), st.booleans())
def test_rows_with_edits_of_their_own_are_those_of_their_table(
    rows: list[list[Edit]], bools: bool, half: bool
) -> None:
    rows = [
        [*own, Edit(4, torch.ones(WIDTH), p=torch.ones(WIDTH) / (number + 1))]
        for number, own in enumerate(rows)
    ]
    numbers = torch.Generator().manual_seed(len(rows[0]))
    hidden = torch.randn(ROWS, 3, WIDTH, generator=numbers).to(torch.bfloat16 if half else torch.float32)
    phases = torch.randint(3, (ROWS, 3), generator=numbers)
    phases = phases > 0 if bools else phases
    before = hidden.clone()
    together = ChangingRows().of(rows)
    table = together.table(4, hidden)
    result = table.apply(hidden, phases)
    close = {"rtol": 1e-4, "atol": 1e-3} if not half else {"rtol": 0.02, "atol": 0.1}
    torch.testing.assert_close(result, EditTable(rows).apply(hidden, phases), **close)
    assert torch.equal(hidden, before)
    torch.testing.assert_close(
        table.repeated(2).apply(hidden.repeat_interleave(2, 0), phases.repeat_interleave(2, 0)),
        result.repeat_interleave(2, 0),
    )


def test_a_row_of_its_own_is_in_each_block_what_it_is_alone() -> None:
    """Rows that edit other blocks, several times or not at all stand beside each other."""
    rows = [
        [*gated(number, 4)[number % 2 :: 1 + number % 3], *gated(100 + number, number % 3)]
        for number in range(12)
    ]
    rows[5] = []
    together = ChangingRows().of(rows)
    hidden = torch.randn(len(rows), 2, WIDTH)
    for block in together.blocks:
        table = together.table(block, hidden)
        assert isinstance(table, OwnTable)
        for number, row in enumerate(rows):
            own = EditTable([[edit for edit in row if edit.block == block]])
            expected = own.apply(hidden[number : number + 1])[0]
            torch.testing.assert_close(table.apply(hidden)[number], expected, rtol=1e-4, atol=1e-4)


def test_few_steerings_side_by_side_keep_the_bits_of_their_table() -> None:
    one, other = gated(1), gated(2)
    rows = [one, [], other, one]
    hidden = torch.randn(len(rows), 3, WIDTH)
    table = ChangingRows().of(rows).table(0, hidden)
    assert torch.equal(table.apply(hidden), EditTable(rows).apply(hidden))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_step_is_few_operators_and_a_batch_is_put_together_once(dtype: torch.dtype) -> None:
    blocks = 6
    known = [gated(number, blocks) for number in range(ROWS)]
    changing = ChangingRows()
    hidden = torch.randn(ROWS, 1, WIDTH).to(dtype)
    with Counted() as first:
        together = changing.of(known)
        for block in range(blocks):
            together.table(block, hidden)
    with Counted() as again:  # other rows of those that were there before
        other = changing.of(known[::-1])
        for block in range(blocks):
            other.table(block, hidden)
    with Counted() as step:
        for block in range(blocks):
            other.table(block, hidden).apply(hidden)
    amount = ["mul", "sum", "add_"]  # torch's vecdot, and the constant part
    raised = ["_to_copy", *amount, "addcmul_", "_to_copy"]
    assert step.names == blocks * (raised if dtype == torch.bfloat16 else [*amount, "addcmul"])
    assert len(again.names) < 3 * blocks  # by block there is nothing but views
    assert len(again.names) < len(first.names)

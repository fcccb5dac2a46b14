"""Folding edits into a row, against the formula; and edits as bytes, whole or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SteeringError
from trimtab.serve.rows import (
    TableRow,
    combine,
    digest_of,
    fold,
    row_of,
)
from trimtab.steering import when
from trimtab.steering.edits import Edit, TokenScope, apply_edits

WIDTH = 5
numbers = st.floats(-3, 3, allow_nan=False, width=32)
vectors = st.lists(numbers, min_size=WIDTH, max_size=WIDTH).map(torch.tensor)
edits = st.builds(
    Edit,
    block=st.integers(0, 2),
    u=vectors,
    alpha=numbers,
    p=st.none() | vectors,
    tokens=st.sampled_from(get_args(TokenScope)),
)
Parts = list[tuple[list[Edit], float]]


@st.composite
def some_parts(draw: Any) -> Parts:
    pool = draw(st.lists(edits, min_size=1, max_size=4))
    pool += [
        Edit(edit.block, edit.u, edit.alpha, edit.p, "generated") for edit in pool[:2]
    ]  # equal but for the scope
    return draw(
        st.lists(
            st.tuples(
                st.lists(st.sampled_from(pool), max_size=4), st.sampled_from([0.0, 1.0, -1.0]) | numbers
            ),
            max_size=3,
        )
    )


def served(row: TableRow, block: int, hidden: torch.Tensor, phase: int) -> torch.Tensor:
    """The serving form of the formula, for tokens `[n, d]` of one phase, written out."""
    result = hidden.double().clone()
    if block in row.added:
        result += row.added[block][phase]
    if block in row.gates:
        gates = row.gates[block]
        for p, u, strength in zip(gates.p, gates.u, gates.strength[phase], strict=True):
            result += strength * torch.outer(hidden.double() @ p.double(), u.double())
    return result.float()


def edit(block: int = 0, scale: float = 1.0, **values: Any) -> Edit:
    return Edit(block, torch.arange(1.0, WIDTH + 1) * scale, **values)


GATE = torch.linspace(-1, 1, WIDTH)


@given(some_parts(), st.integers(0, 2**16))
def test_a_row_does_what_its_scaled_edits_do(parts: Parts, seed: int) -> None:
    hidden = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(seed))
    row = row_of(parts)
    for block in range(3):
        scaled = [one.scaled(strength) for some, strength in parts for one in some if one.block == block]
        for phase in range(3):
            expected = apply_edits(hidden[None], scaled, torch.full((1, 4), phase))[0]
            torch.testing.assert_close(served(row, block, hidden, phase), expected, rtol=1e-4, atol=1e-3)


def test_rows_are_not_changed_by_combining() -> None:
    rows = [fold([edit(alpha=1.0), edit(p=GATE)]), fold([edit(alpha=2.0), edit(p=GATE)])]
    before = [(row.added[0].clone(), row.gates[0].strength.clone()) for row in rows]
    for _ in range(2):
        combined = combine([(rows[0], 3.0), (rows[1], 0.5)])
        assert torch.equal(combined.added[0], torch.stack([edit().u * 4] * 3))
        assert combined.gates[0].strength.tolist() == [[3.5], [3.5], [3.5]]
        assert combine([(rows[1], 0.5)]).added[0].tolist() == [edit().u.tolist()] * 3
    for row, (added, strength) in zip(rows, before, strict=True):
        assert torch.equal(row.added[0], added)
        assert torch.equal(row.gates[0].strength, strength)


def test_constant_parts_of_gated_edits_are_folded_too() -> None:
    row = row_of([([edit(alpha=2.0, p=GATE), edit(alpha=1.0)], 0.5)])
    assert row.added[0].tolist() == [(edit().u * 1.5).tolist()] * 3
    assert row.widest == 1


def test_scopes_become_zeros() -> None:
    row = row_of([([edit(alpha=1.0, tokens="prompt"), edit(p=GATE, tokens="generated")], 3.0)])
    assert row.added[0].tolist() == [(edit().u * 3).tolist(), [0.0] * WIDTH, [0.0] * WIDTH]
    assert row.gates[0].strength.tolist() == [[0.0], [3.0], [3.0]]


def test_answers_are_told_from_what_is_written_before() -> None:
    row = row_of([([edit(alpha=1.0, tokens="answer"), edit(p=GATE, tokens="answer")], 3.0)])
    assert row.added[0].tolist() == [[0.0] * WIDTH, [0.0] * WIDTH, (edit().u * 3).tolist()]
    assert row.gates[0].strength.tolist() == [[0.0], [0.0], [3.0]]
    assert row.is_for_answers
    assert not row_of([([edit(alpha=1.0), edit(p=GATE, tokens="generated")], 1.0)]).is_for_answers


def test_equal_gated_edits_are_one_also_across_steerings_and_scopes() -> None:
    same = [edit(p=GATE.clone(), tokens=tokens) for tokens in ("all", "prompt", "all")]
    row = row_of([(same[:2], 1.0), (same[2:], 0.5)])
    assert row.gates[0].strength.tolist() == [[2.5], [1.5], [1.5]]
    assert row_of([([same[0]], 1.0), ([edit(p=GATE * 2)], 1.0)]).widest == 2


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [([edit(alpha=1.0, p=GATE)], 0.0)],
        [([edit()], 1.0)],
        [([edit(p=torch.zeros(WIDTH))], 1.0)],
        [([edit(alpha=1.0, p=GATE)], 2.0), ([edit(alpha=1.0, p=GATE)], -2.0)],
    ],
    ids=["empty", "strength 0", "no change", "no gate", "cancels"],
)
def test_nothing_is_nothing(parts: Any) -> None:
    row = row_of(parts)
    assert row.is_nothing
    assert row.widest == 0


def test_what_cannot_be_folded_is_refused() -> None:
    conditional = Edit(2, torch.ones(WIDTH), 1.0, when=when.Matches("rocket"))
    with pytest.raises(SteeringError, match=r"block 2 acts only if .*rocket.*steering.always\(\)"):
        row_of([([conditional], 1.0)])
    below = edit(alpha=1.0, p=GATE, rectified=True)
    for refusing in (lambda: row_of([([below], 1.0)]), lambda: digest_of([below])):
        with pytest.raises(SteeringError, match=r"block 0 is rectified \(form psr\)"):
            refusing()
    for strength in (1e39, float("nan"), float("inf")):
        for one in (edit(alpha=1.0), edit(p=GATE)):
            with pytest.raises(SteeringError, match="too large: in block 0"):
                row_of([([one], strength)])
    for values in ({"alpha": 1.0}, {"p": True}):
        wide = Edit(0, torch.ones(9), values.get("alpha", 0.0), torch.ones(9) if "p" in values else None)
        slim = edit(alpha=values.get("alpha", 0.0), p=GATE if "p" in values else None)
        with pytest.raises(SteeringError, match=r"block 0 have widths 9 and 5|block 0 have widths 5 and 9"):
            row_of([([wide, slim], 1.0)])


def test_a_row_knows_which_dtypes_hold_it() -> None:
    for one in (edit(alpha=1e5), edit(p=GATE * 1e5), edit(p=GATE, scale=1e5)):
        row = row_of([([one], 1.0)])
        assert row.fits(torch.bfloat16)
        assert not row.fits(torch.float16)
    assert TableRow({}, {}).fits(torch.float16)


# --- digests --------------------------------------------------------------------------------------------------------


def content(some: Sequence[Edit]) -> list[Any]:
    return [one.content() for one in some]


@given(st.lists(edits, max_size=4), st.lists(edits, max_size=4), st.randoms(use_true_random=False))
def test_a_digest_is_of_the_content_and_not_of_the_order(
    some: list[Edit], others: list[Edit], random: Any
) -> None:
    again = [Edit(one.block, one.u.clone(), one.alpha, one.p, one.tokens) for one in some]
    assert digest_of(random.sample(again, len(again))) == digest_of(some)
    assert (digest_of(some) == digest_of(others)) == (
        sorted(map(repr, content(some))) == sorted(map(repr, content(others)))
    )


def test_a_digest_covers_every_part_of_an_edit() -> None:
    base: dict[str, Any] = {"block": 1, "alpha": 1.0, "p": GATE, "tokens": "all"}
    changes: list[dict[str, Any]] = [
        {},
        {"block": 2},
        {"alpha": 1.5},
        {"p": None},
        {"p": -GATE},
        {"tokens": "prompt"},
        {"tokens": "generated"},
        {"scale": 2.0},
    ]
    all_digests = [digest_of([edit(**{**base, **change})]) for change in changes]
    assert len(set(all_digests)) == len(changes)
    assert digest_of([edit(**base), edit(**base)]) not in all_digests

"""One edit: what it is made of, what makes no sense, and when it does nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from trimtab.errors import SteeringError
from trimtab.steering.edit import Edit
from trimtab.steering.edits import EditTable

WIDTH = 6


@pytest.mark.parametrize(
    "edit",
    [
        Edit(0, torch.zeros(WIDTH), alpha=3.0, p=torch.ones(WIDTH)),
        Edit(0, torch.ones(WIDTH)),
        Edit(0, torch.ones(WIDTH), p=torch.zeros(WIDTH)),
        Edit.add(0, torch.ones(WIDTH), 5.0).scaled(0.0),
        Edit(0, torch.ones(WIDTH), alpha=-1.0, rectified=True),
    ],
)
def test_nothing_is_known_as_nothing(edit: Edit) -> None:
    assert edit.is_nothing
    hidden = torch.randn(1, 1, WIDTH)
    assert EditTable([[edit]]).is_nothing
    assert EditTable([[edit]]).apply(hidden) is hidden


@pytest.mark.parametrize(
    "edit",
    [
        Edit.add(0, torch.ones(WIDTH)),
        Edit(0, torch.ones(WIDTH), p=torch.ones(WIDTH)),
        Edit.ablate(0, torch.ones(WIDTH)),
        Edit(0, torch.ones(WIDTH), alpha=-1.0, p=torch.ones(WIDTH), rectified=True),
    ],
)
def test_something_is_not_nothing(edit: Edit) -> None:
    assert not edit.is_nothing


def test_an_edit_keeps_its_own_copy_on_the_cpu() -> None:
    source = torch.ones(WIDTH, dtype=torch.float64, requires_grad=True)
    edit = Edit.add(1, source)
    assert edit.u.dtype == torch.float32
    assert not edit.u.requires_grad
    single = torch.ones(WIDTH)
    kept = Edit.add(1, single)
    single.zero_()
    assert torch.equal(kept.u, torch.ones(WIDTH))
    assert edit.scaled(1) is edit
    assert edit.width == WIDTH
    assert "block=1" in repr(edit)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"block": -1}, "from 0 on"),
        ({"block": True}, "from 0 on"),
        ({"block": 1.0}, "from 0 on"),
        ({"tokens": "response"}, "all, prompt, generated"),
        ({"u": torch.ones(2, 3)}, r"vector of floats, not \(2, 3\)"),
        ({"u": torch.ones(0)}, "vector of floats"),
        ({"u": torch.ones(3, dtype=torch.int64)}, "vector of floats"),
        ({"u": [1.0, 2.0]}, "vector of floats, not list"),
        ({"u": torch.tensor([1.0, math.nan])}, "not finite"),
        ({"alpha": math.inf}, "must be finite"),
        ({"alpha": "2"}, "must be a finite number, not '2'"),
        ({"rectified": "no"}, "rectified .* is True or False, not 'no'"),
        ({"when": "x"}, "when of an edit of block 0 is a When .*not 'x'"),
        ({"p": torch.ones(WIDTH + 1)}, f"width {WIDTH} but p of width {WIDTH + 1}"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        Edit(**{"block": 0, "u": torch.ones(WIDTH), **arguments})


@pytest.mark.parametrize("strength", ["x", None, True, math.nan, 10**400])
def test_it_is_scaled_by_numbers(strength: Any) -> None:
    with pytest.raises(SteeringError, match="a strength must be a finite number"):
        Edit.add(2, torch.ones(WIDTH)).scaled(strength)


def test_a_zero_direction_has_no_projection() -> None:
    with pytest.raises(SteeringError, match="is zero"):
        Edit.set_projection(3, torch.zeros(WIDTH), 1.0)

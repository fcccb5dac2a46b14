"""Law 5: an edit at block l changes nothing before block l (and at block l exactly what the formula says)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, outputs_of

from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.steering import Record, Steering


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("kind", ["add", "set projection"])
def test_an_edit_acts_at_the_output_of_its_block(engine: Any, place: str, kind: str) -> None:
    blocks = engine.identity.blocks
    block = {"first": 0, "middle": blocks // 2, "last": blocks - 1}[place]
    plain = outputs_of(engine, PROMPTS[0])
    direction = torch.randn(engine.identity.width, generator=torch.Generator().manual_seed(7))
    size = float(plain[block].norm(dim=-1).mean())
    edit = Edit.add(block, direction) if kind == "add" else Edit.set_projection(block, direction, size)
    steered = outputs_of(engine, PROMPTS[0], Steering("one", (edit,), Record(engine.identity)))
    for before in range(block):
        assert torch.equal(steered[before], plain[before])
    assert torch.equal(steered[block], apply_edits(plain[block], [edit]))
    for later in range(block, blocks):
        assert not torch.allclose(steered[later], plain[later])
    if kind == "set projection":
        projection = steered[block] @ edit.u
        torch.testing.assert_close(projection, torch.full_like(projection, size), rtol=1e-3, atol=1e-3 * size)

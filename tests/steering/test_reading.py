"""Reading runs a model no further than it must."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import BLOCKS, tiny_model

from trimtab.steering.blocks import find_decoder_blocks
from trimtab.steering.reading import reading


@pytest.mark.parametrize("wanted", [(0,), (0, 1), (BLOCKS - 1,)])
def test_blocks_above_the_highest_wanted_are_not_run(wanted: tuple[int, ...]) -> None:
    model = tiny_model("llama")
    place = find_decoder_blocks(model)
    ran: list[int] = []
    for number, block in enumerate(place.blocks):
        block.register_forward_pre_hook(lambda module, args, number=number: ran.append(number))
    seen: list[int] = []
    with reading(place, wanted, lambda block, hidden: seen.append(block)) as run:
        run(input_ids=torch.tensor([[5, 6, 7]]))
    assert tuple(seen) == wanted
    assert ran == list(range(max(wanted) + 1))

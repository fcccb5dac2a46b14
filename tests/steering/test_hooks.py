"""Which tokens count as generated, whatever a model is told about positions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import WIDTH, hooks_of, tiny_model
from torch import Tensor, nn

from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks, find_decoder_blocks
from trimtab.steering.edits import Edit
from trimtab.steering.hooks import Steered


class _Decoder(nn.Module):
    """Blocks that return what they get; the tests see what an edit did to it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Identity()])

    def forward(self, input_ids: Tensor, **kwargs: Any) -> Tensor:
        return self.layers[0](torch.zeros(*input_ids.shape, 2))


class _Cache:
    def __init__(self, length: int) -> None:
        self.length = length

    def get_seq_length(self) -> int:
        return self.length


@pytest.fixture
def place() -> DecoderBlocks:
    decoder = _Decoder()
    return DecoderBlocks("layers", tuple(decoder.layers), decoder)


def _changed(
    place: DecoderBlocks, rows: int, tokens: int, lengths: list[int], **inputs: Any
) -> list[list[int]]:
    """Where an edit of generated tokens acts, as ones."""
    edit = Edit.add(0, torch.tensor([1.0, 0.0]), tokens="generated")
    with Steered(place, [[edit]], lengths):
        return place.decoder(torch.zeros(rows, tokens).long(), **inputs)[..., 0].int().tolist()


def test_positions_are_taken_from_position_ids(place: DecoderBlocks) -> None:
    positions = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]])
    assert _changed(place, 2, 5, [2, 4], position_ids=positions) == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    alike = positions[None].expand(3, 2, 5)  # multimodal models number tokens in three dimensions
    assert _changed(place, 2, 5, [2, 4], position_ids=alike) == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]


def test_else_from_the_attention_mask(place: DecoderBlocks) -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    assert _changed(place, 2, 5, [2, 4], attention_mask=mask) == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    assert _changed(place, 2, 1, [3, 5], attention_mask=mask, past_key_values=_Cache(4)) == [[0], [0]]
    assert _changed(place, 2, 1, [2, 4], attention_mask=mask, past_key_values=_Cache(4)) == [[1], [1]]


def test_else_they_are_counted(place: DecoderBlocks) -> None:
    assert _changed(place, 2, 5, [3, 3]) == [[0, 0, 0, 1, 1]] * 2
    assert _changed(place, 1, 2, [4], past_key_values=_Cache(3)) == [[0, 1]]
    edit = Edit.add(0, torch.tensor([1.0, 0.0]), tokens="generated")
    with Steered(place, [[edit]], [3]):  # a state that does not say how long it is
        seen = [
            place.decoder(torch.zeros(1, tokens).long(), cache_params=object())[..., 0].int().tolist()
            for tokens in (2, 2, 1)
        ]
    assert seen == [[[0, 0]], [[0, 1]], [[1]]]


def test_entered_again_it_starts_again(place: DecoderBlocks) -> None:
    edit = Edit.add(0, torch.tensor([1.0, 0.0]), tokens="generated")
    steered = Steered(place, [[edit]], [2])
    for _ in range(2):
        with steered:
            assert place.decoder(torch.zeros(1, 3).long(), cache_params=object())[..., 0].tolist() == [
                [0, 0, 1]
            ]
        assert hooks_of(place.decoder) == 0


def test_rows_of_beams_follow_their_prompt(place: DecoderBlocks) -> None:
    edits = [[Edit.add(0, torch.tensor([value, 0.0]))] for value in (1.0, 2.0)]
    with Steered(place, edits):
        assert place.decoder(torch.zeros(6, 1).long())[:, 0, 0].tolist() == [1, 1, 1, 2, 2, 2]


def test_a_batch_that_does_not_fit_is_refused(place: DecoderBlocks) -> None:
    edits = [[Edit.add(0, torch.tensor([value, 0.0]))] for value in (1.0, 2.0)]
    with Steered(place, edits), pytest.raises(ModelError, match="3 rows was run with steerings for 2"):
        place.decoder(torch.zeros(3, 1).long())


def test_edits_that_do_not_fit_the_model_are_refused(place: DecoderBlocks) -> None:
    with pytest.raises(ModelError, match="no block 1"):
        Steered(place, [[Edit.add(1, torch.ones(2))]])
    with (
        Steered(place, [[Edit.add(0, torch.ones(3))]]),
        pytest.raises(ModelError, match="width 3, the model 2"),
    ):
        place.decoder(torch.zeros(1, 1).long())
    assert hooks_of(place.decoder) == 0


def test_nothing_stays_when_a_hook_cannot_be_installed() -> None:
    model = tiny_model("llama")
    found = find_decoder_blocks(model)
    broken = DecoderBlocks(found.path, (found.blocks[0], None), found.decoder)  # type: ignore[arg-type]
    edits = [[Edit.add(block, torch.ones(WIDTH), tokens="prompt") for block in (0, 1)]]
    with pytest.raises(AttributeError), Steered(broken, edits, [1]):
        pass
    assert hooks_of(model) == 0

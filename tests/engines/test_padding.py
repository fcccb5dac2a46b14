from __future__ import annotations

from typing import Any

import torch

from trimtab.engines.padding import left_padded, position_argument


def test_padding_is_on_the_left() -> None:
    ids, mask = left_padded([[1, 2, 3], [4]], 9, torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


class _Positioned(torch.nn.Module):
    def forward(self, input_ids: Any, position_ids: Any = None) -> Any:
        return input_ids


def test_positions_begin_behind_the_padding_where_a_module_takes_them() -> None:
    mask = torch.tensor([[1, 1, 1], [0, 0, 1]])
    given = position_argument(_Positioned())(mask)
    assert given["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert position_argument(torch.nn.Identity())(mask) == {}

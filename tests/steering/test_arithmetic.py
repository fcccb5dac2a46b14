"""Steerings as numbers: differences, quotients, sums; and what a notebook shows of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, random_steering, tokens_of

from trimtab.errors import ModelError, SteeringError


def test_differences_quotients_and_sums(tiny_llama: Any) -> None:
    one, other = (random_steering(tiny_llama, seed, name=name) for seed, name in ((0, "a"), (1, "b")))
    assert [edit.u.tolist() for edit in (one / 2).edits] == [edit.u.tolist() for edit in (one * 0.5).edits]
    assert (one - other).name == "a-b"
    assert torch.equal((one - other).edits[-1].u, -other.edits[-1].u)
    assert sum([one, other]).digest() == (one + other).digest()
    with pytest.raises(SteeringError, match="divided by 0"):
        one / 0
    for wrong in (lambda: one - 1, lambda: one / "2", lambda: 1 + one):
        with pytest.raises(TypeError):
            wrong()


def test_it_is_shown_in_a_line_and_in_a_notebook_as_its_card(tiny_llama: Any) -> None:
    steering = random_steering(tiny_llama, name="<a>")
    assert repr(steering).startswith("Steering('<a>', 3 edits of blocks 1, 2, for tiny-llama")
    assert len(repr(steering)) < 160
    assert "&lt;a&gt;" in steering._repr_html_()
    assert "<a>" not in steering._repr_html_()


def test_a_folder_stands_for_its_steering(tiny_llama: Any, tmp_path: Path) -> None:
    steering = random_steering(tiny_llama)
    folder = steering.save(tmp_path / "saved")
    expected = tokens_of(tiny_llama.generate(PROMPTS, steering=steering, max_new_tokens=4))
    for given in (folder, str(folder), [folder, str(folder), steering]):
        assert tokens_of(tiny_llama.generate(PROMPTS, steering=given, max_new_tokens=4)) == expected
    with pytest.raises(SteeringError, match="nowhere"):
        tiny_llama.generate(PROMPTS, steering="./nowhere", max_new_tokens=4)


def test_a_model_that_is_loaded_is_not_loaded_again_nor_printed(tiny_llama: Any) -> None:
    import trimtab

    for loaded in (tiny_llama, tiny_llama.model):
        with pytest.raises(ModelError, match="load takes a name, a folder") as caught:
            trimtab.load(loaded)
        assert len(str(caught.value)) < 300

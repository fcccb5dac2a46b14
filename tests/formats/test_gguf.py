"""Control vectors: written for llama.cpp, repeng and EasySteer, and read as they write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged, is_refused_or_read, model, path_tricks
from tests.tiny_gguf import tiny_gguf

from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.formats import gguf as control_vector
from trimtab.steering import when
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)


def steering(*edits: Edit) -> Steering:
    return Steering("shout", edits, Record(model()))


def written_by_others(path: Path, directions: dict[str, Any], **keys: Any) -> Path:
    """A control vector as repeng's and EasySteer's code writes it, by the `gguf` package."""
    writer = gguf.GGUFWriter(path, "controlvector")
    for key, value in {"model_hint": "llama", **keys}.items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add(f"controlvector.{key}", value)
    writer.add_uint32("controlvector.layer_count", len(directions))
    for name, vector in directions.items():
        writer.add_tensor(name, vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def direction(block: int) -> Any:
    return np.linspace(-1, 1, 16, dtype=np.float32) + block


def test_what_is_added_comes_back(tmp_path: Path) -> None:
    mine = steering(Edit.add(1, D, 4.0), Edit.add(2, D, 1.0), Edit.add(2, D.flip(0) + 1, 0.5))
    use = formats.write(mine, tmp_path / "v.gguf", "gguf")
    assert use == f"llama-cli -m MODEL.gguf --control-vector {tmp_path / 'v.gguf'}"
    again = formats.read(tmp_path / "v.gguf", model())
    assert [edit.block for edit in again.edits] == [1, 2]
    assert torch.equal(again.edits[0].alpha * again.edits[0].u, 4 * D)
    assert torch.allclose(again.edits[1].u, D + (D.flip(0) + 1) / 2, atol=1e-7)
    assert (again.name, again.record.method) == ("v", "imported")
    assert again.record.settings["format"] == "gguf"


def test_llama_cpp_finds_what_it_asks_for(tmp_path: Path) -> None:
    formats.write(steering(Edit.add(2, D)), tmp_path / "v.gguf", "gguf")
    found = gguf.GGUFReader(tmp_path / "v.gguf")
    assert found.get_field("general.architecture").contents() == "controlvector"
    assert found.get_field("controlvector.model_hint").contents() == "llama"
    assert found.get_field("controlvector.layer_count").contents() == 1
    assert [(one.name, one.tensor_type.name, list(one.shape)) for one in found.tensors] == [
        ("direction.2", "F32", [16])
    ]


def test_block_0_is_not_for_llama_cpp(tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    with pytest.raises(SteeringError, match="for block 0") as refused:  # not what could be approximated
        formats.write(steering(Edit(0, D, alpha=1.0, p=D), Edit.add(1, D)), path, "gguf")
    assert not isinstance(refused.value, formats.InexpressibleError)
    mine = steering(Edit.add(0, D), Edit.add(1, D))
    with pytest.raises(SteeringError, match=r"llama.cpp refuses control vectors for block 0.*reader=repeng"):
        formats.write(mine, path, "gguf")
    assert not path.exists()
    for reader in ("repeng", "easysteer"):
        formats.write(mine, path, "gguf", options={"reader": reader})
        assert formats.read(path, model()).blocks == (0, 1)
    with pytest.raises(SteeringError, match=r"one of llama.cpp, repeng, easysteer, not 'ollama'"):
        formats.write(mine, path, "gguf", options={"reader": "ollama"})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Edit.set_projection(1, D, 3.0), "sets the projection to 3; the nearest that it can say"),
        (Edit(1, D, alpha=1.0, p=D * 0.1), "only adds vectors"),
        (Edit(1, D, alpha=1.0, p=D * 0.1, rectified=True), "only adds vectors"),
        (Edit(1, D, alpha=-1.0, rectified=True), "changes nothing"),
        (Edit.add(1, D, tokens="generated"), "on generated tokens only"),
        (Edit(1, D, alpha=1.0, when=when.Matches("river")), "acts on every prompt.*without that"),
        (Edit.add(1, D, 0.0), "changes nothing"),
    ],
    ids=["projection", "gate", "rectified", "closed", "tokens", "when", "nothing"],
)
def test_what_it_cannot_say_is_refused_with_the_nearest(edit: Edit, words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.write(steering(edit), tmp_path / "v.gguf", "gguf")
    assert not (tmp_path / "v.gguf").exists()


def test_a_file_of_repeng_is_read_with_a_note_on_its_last_block(tmp_path: Path) -> None:
    path = written_by_others(tmp_path / "happy.gguf", {f"direction.{n}": direction(n) for n in range(3)})
    found = formats.read(path, model(), strength=2.0)
    assert found.blocks == (0, 1, 2)
    assert torch.equal(found.edits[1].u, 2 * torch.from_numpy(direction(1)))
    assert "after the final norm" in found.record.settings["notes"][0]
    fewer = formats.read(path, model(), blocks=[1])
    assert (fewer.blocks, fewer.record.settings.get("notes")) == ((1,), fewer.record.settings["notes"])


def test_a_file_of_easysteer_says_its_method(tmp_path: Path) -> None:
    keys = {"method": "caa", "normalize": 1.0, "n_positive": 4.0, "n_negative": 4.0, "token_pos": -1.0}
    path = written_by_others(tmp_path / "v.gguf", {"direction.0": direction(0)}, **keys)
    assert formats.read(path, model()).record.settings["control_vector_method"] == "caa"


def test_layers_can_be_counted_from_one(tmp_path: Path) -> None:
    path = written_by_others(tmp_path / "v.gguf", {"direction.1": direction(1), "direction.3": direction(3)})
    with pytest.raises(SteeringError, match=r"an edit for block 3, and tiny .* has blocks 0 to 2"):
        formats.read(path, model())
    assert formats.read(path, model(), options={"layer_offset": -1}).blocks == (0, 2)
    for offset, words in ((-2, "before block 0"), (1.5, "whole number"), (True, "whole number")):
        with pytest.raises(SteeringError, match=words):
            formats.read(path, model(), options={"layer_offset": offset})


def test_another_model_type_is_noted_and_another_width_refused(tmp_path: Path) -> None:
    path = written_by_others(tmp_path / "v.gguf", {"direction.1": direction(1)}, model_hint="mistral")
    assert "model type 'mistral'" in formats.read(path, model()).record.settings["notes"][0]
    with pytest.raises(SteeringError, match=r"vectors of width 16, and tiny .* has width 32"):
        formats.read(path, model(width=32))
    with pytest.raises(SteeringError, match="edits for the blocks 1, none of those"):
        formats.read(path, model(), blocks=[0])


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        ({"token_embd.weight": direction(0)}, "has a tensor 'token_embd.weight'"),
        ({"direction.-1": direction(0)}, "'direction.-1'"),
        ({"direction.1": np.ones((2, 16), np.float32)}, "has 2 dimensions"),
        ({"direction.1": np.ones(16, np.float16)}, "GGML type 1"),
        ({"direction.1": np.full(16, np.nan, np.float32)}, "not finite"),
        ({}, "without any direction"),
    ],
)
def test_what_is_no_control_vector_is_refused(directions: Any, words: str, tmp_path: Path) -> None:
    path = written_by_others(tmp_path / "v.gguf", directions)
    with pytest.raises(SteeringError, match=words):
        formats.read(path, model())


def test_a_model_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "model.gguf")
    with pytest.raises(SteeringError, match="it is of the kind 'llama', and 'controlvector' is wanted"):
        formats.read(path, model())


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.gguf"
    if not whole.exists():
        formats.write(steering(Edit.add(1, D), Edit.add(2, D)), whole, "gguf")
    content = data.draw(damaged(whole.read_bytes()))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    is_refused_or_read(lambda: control_vector.read(path, model()), len(content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not control_vector.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                control_vector.read(place, model())

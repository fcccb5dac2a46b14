"""A small GGUF file is read as the `gguf` package wrote it; a damaged one is refused in one line or read."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged

from trimtab.errors import SteeringError
from trimtab.formats import gguf_tensors


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "vector.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", 2)
    writer.add_array("words", ["a", "b"])
    for block in (1, 2):
        writer.add_tensor(f"direction.{block}", np.arange(5, dtype=np.float32) + block)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_the_package_writes_is_read(file: Path) -> None:
    keys, vectors = gguf_tensors.read(file, "controlvector")
    assert keys["general.architecture"] == "controlvector"
    assert (keys["controlvector.layer_count"], keys["words"]) == (2, ["a", "b"])
    assert list(vectors) == ["direction.1", "direction.2"]
    assert torch.equal(vectors["direction.2"], torch.arange(5.0) + 2)


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(file: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(damaged(file.read_bytes()))
    changed = tmp_path / "damaged.gguf"
    changed.write_bytes(content)
    try:
        vectors = gguf_tensors.read(changed, "controlvector")[1]
    except SteeringError as error:
        refusal = str(error)
        assert str(changed) in refusal
    else:
        assert sum(vector.nbytes for vector in vectors.values()) <= len(content)
        assert all(vector.dim() == 1 for vector in vectors.values())


def test_a_file_that_was_cut_off_is_refused_wherever(file: Path, tmp_path: Path) -> None:
    content, cut = file.read_bytes(), tmp_path / "cut.gguf"
    whole = gguf_tensors.read(file, "controlvector")[1]
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        try:
            vectors = gguf_tensors.read(cut, "controlvector")[1]
        except SteeringError:
            continue
        # What pads the last tensor may be missing.
        assert content[length:].strip(b"\0") == b""
        assert all(torch.equal(vectors[name], whole[name]) for name in whole)


@pytest.mark.parametrize("place", [8, 16])
def test_huge_counts_cost_nothing(file: Path, tmp_path: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place : place + 8] = struct.pack("<Q", 2**63)
    (tmp_path / "huge.gguf").write_bytes(content)
    with pytest.raises(SteeringError, match="no sound GGUF file"):
        gguf_tensors.read(tmp_path / "huge.gguf", "controlvector")


def test_a_list_without_end_is_refused(tmp_path: Path) -> None:
    items = 10 * gguf_tensors.MOST_VALUES
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    (tmp_path / "long.gguf").write_bytes(head + struct.pack("<IIQ", 9, 0, items) + bytes(items))
    with pytest.raises(SteeringError, match="more than 65536 values"):
        gguf_tensors.read(tmp_path / "long.gguf", "controlvector")


def test_lists_inside_lists_are_refused_at_any_depth(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9)
    (tmp_path / "deep.gguf").write_bytes(head + struct.pack("<IQ", 9, 1) * 100_000)
    with pytest.raises(SteeringError, match="a list of 1 items of type 9"):
        gguf_tensors.read(tmp_path / "deep.gguf", "controlvector")


def test_what_is_packed_the_package_reads(tmp_path: Path) -> None:
    vectors = {"direction.1": torch.linspace(-1, 1, 7), "direction.2": torch.arange(3.0)}
    path = tmp_path / "mine.gguf"
    path.write_bytes(gguf_tensors.packed({"general.architecture": "controlvector", "n": 2}, vectors))
    found = gguf.GGUFReader(path)
    assert {one.name: one.data.tolist() for one in found.tensors} == {
        name: vector.tolist() for name, vector in vectors.items()
    }
    assert found.get_field("general.architecture").contents() == "controlvector"
    assert found.get_field("n").contents() == 2
    keys, again = gguf_tensors.read(path, "controlvector")
    assert keys == {"general.architecture": "controlvector", "n": 2}
    assert all(torch.equal(again[name], vector) for name, vector in vectors.items())

"""The table of vectors that the code of the ICLR 2025 paper writes, which is pickled."""

from __future__ import annotations

import gzip
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged, is_refused_or_read, model, path_tricks

from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.formats import llm_steer_instruct
from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.steering import Record, Steering

h5py = pytest.importorskip("h5py", reason="an environment made before h5py was among the test extra")

UNIT = np.full(16, 0.25, dtype=np.float32)
JSON = "detectable_format:json_format"


def their_file(folder: Path) -> Path:
    """Written by format/precompute_ivs.py of microsoft/llm-steer-instruct at 9dac937, from made-up activations.

    With pandas 2.2.3 and PyTables 3.11.1, as its requirements have it, beside torch 2.13 and numpy 2.4.
    """
    packed = Path(__file__).with_name("llm_steer_instruct.h5.gz").read_bytes()
    path = folder / "pre_computed_ivs_best_layer_validation_with_perplexity_instr.h5"
    path.write_bytes(gzip.decompress(packed))
    return path


def row(name: str = JSON, layer: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "instruction": name,
        "selected_layer": layer,
        "instr_dir": UNIT,
        "avg_proj": torch.tensor(4.0),
        "avg_proj_no_instr": torch.tensor(-1.0),
        **changes,
    }


def cells(value: Any) -> Any:
    """An array as pandas pickles it, whatever is in it."""
    array = np.empty((len(value), len(value[0])), dtype=object)
    for number, one in enumerate(value):
        for place, cell in enumerate(one):
            array[number, place] = cell
    return np.frombuffer(pickle.dumps(array, 5), dtype="u1")


def table(path: Path, *rows: dict[str, Any], block: Any = None) -> Path:
    """As pandas 2 lays it out: the numbers in one block, all else pickled in another."""
    names = [name for name in rows[0] if name != "selected_layer"]
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group["block0_items"] = np.array([b"selected_layer"])
        group["block0_values"] = np.array([[one["selected_layer"]] for one in rows])
        group["block1_items"] = np.array([name.encode() for name in names])
        values = group.create_dataset("block1_values", (1,), dtype=h5py.vlen_dtype(np.uint8))
        values[0] = cells([[one[name] for name in names] for one in rows]) if block is None else block
    return path


def test_what_their_code_wrote_does_here_what_it_does_there(tmp_path: Path) -> None:
    path = their_file(tmp_path)
    found = formats.read(path, model(), options={"instruction": JSON}, allow_pickle=True)
    (edit,) = found.edits
    assert edit.block == 1
    assert edit.alpha == pytest.approx(4.180984)
    assert edit.u[:4].tolist() == pytest.approx([0.182635, 0.350809, 0.183035, 0.139213], abs=1e-6)
    assert found.record.settings["instruction"] == JSON
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    # their adjust_vectors
    theirs = hidden + (4.180984020233154 - hidden @ edit.u)[:, None] * edit.u
    assert torch.allclose(apply_edits(hidden[None], found.edits)[0], theirs, atol=1e-5)
    lowercase = {"instruction": "change_case:english_lowercase", "method": "add_vector"}
    (added,) = formats.read(path, model(), options=lowercase, allow_pickle=True, strength=20).edits
    assert (added.block, added.p) == (2, None)
    assert added.alpha * float(added.u.norm()) == pytest.approx(20, rel=1e-5)


def test_nothing_is_read_that_is_pickled_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = their_file(tmp_path)
    monkeypatch.setattr(llm_steer_instruct, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(SteeringError, match=r"tables are pickled.*--allow-pickle"):
        formats.read(path, model())


def test_nothing_in_a_file_is_run_even_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (eval, ("__import__('pathlib').Path('sprung').touch()",))

    monkeypatch.chdir(tmp_path)
    path = table(tmp_path / "x.h5", row(avg_proj=Trap()))
    with pytest.raises(SteeringError, match=r"it would run builtins\.eval, and nothing"):
        formats.read(path, model(), allow_pickle=True)
    assert not (tmp_path / "sprung").exists()


def test_the_only_row_that_steers_is_taken(tmp_path: Path) -> None:
    """Also from the blocks of pandas 3, which keeps texts apart from other objects, and from tensors of a GPU."""
    path = table(tmp_path / "x.h5", row("punctuation:no_comma", -1, avg_proj=0), row())
    (edit,) = formats.read(path, model(), allow_pickle=True).edits
    assert (edit.block, edit.alpha) == (1, 4.0)
    with h5py.File(path, "r+") as file:
        group = file["df"]
        group["block2_items"] = np.array([b"instruction"])
        values = group.create_dataset("block2_values", (1,), dtype=h5py.vlen_dtype(np.uint8))
        values[0] = np.frombuffer(pickle.dumps(np.array(["a:b", "a:c"], dtype=object), 5), dtype="u1")
    assert formats.read(path, model(), allow_pickle=True).record.settings["instruction"] == "a:c"
    table(path, row())
    content = path.read_bytes()
    assert content.count(b"\x03\x00\x00\x00cpu") == 2
    path.write_bytes(content.replace(b"\x03\x00\x00\x00cpu", b"\x03\x00\x00\x00gpu"))
    assert formats.read(path, model(), allow_pickle=True).edits[0].alpha == 4.0


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([row(), row("a:b")], {}, rf"vectors for {JSON}, a:b; say which: --option instruction=ID"),
        ([row(layer=-1)], {}, "has no vectors"),
        ([row(layer=-1)], {"instruction": JSON}, "not to steer: no layer helped"),
        ([row()], {"instruction": "a:b"}, f"no rows for the instruction 'a:b'; it has {JSON}"),
        ([row(), row()], {"instruction": JSON}, "2 rows for the instruction"),
        ([row()], {"instruction": 3}, "no rows for the instruction 3"),
        ([row()], {"method": "rotate"}, "adjust_rs or add_vector, not 'rotate'"),
        ([row(layer=7)], {}, "an edit for block 7"),
        ([row(layer=-2)], {}, "the layer -2"),
        ([row(name=3)], {}, "the instruction 3"),
        ([row(instr_dir=UNIT[:4])], {}, "vectors of width 4"),
        ([row(instr_dir=[0.5] * 16)], {}, "instr_dir is no tensor"),
        ([row(instr_dir=np.full((3, 16), 0.5, "f4"))], {}, r"instr_dir has the shape \[3, 16\]"),
        ([row(avg_proj=torch.tensor(torch.nan))], {}, "avg_proj must be a finite number"),
        ([row(avg_proj="4")], {}, "avg_proj must be a finite number"),
        ([row(avg_proj={"a": None})], {}, "avg_proj must be a finite number"),
        ([{k: v for k, v in row().items() if k != "avg_proj"}], {}, "has not the columns instruction"),
    ],
)
def test_what_it_should_not_hold_is_refused(rows: Any, options: Any, words: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.h5", *rows)
    assert llm_steer_instruct.recognises(path)
    with pytest.raises(SteeringError, match=words):
        formats.read(path, model(), options=options, allow_pickle=True)


def test_tables_that_lead_elsewhere_or_state_too_much_are_refused(tmp_path: Path) -> None:
    other = table(tmp_path / "other.h5", row())
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["df"] = h5py.ExternalLink(str(other), "/df")
    words = {"elsewhere": "df is missing, or elsewhere"}
    with pytest.raises(SteeringError, match=words["elsewhere"]):
        formats.read(path, model(), allow_pickle=True)
    for options, words_of in (
        ({"external": [(str(other), 0, 800)]}, "lies in another file"),
        ({"compression": "gzip"}, "is compressed"),
        ({}, "states more than it has"),
    ):
        table(path, row())
        with h5py.File(path, "r+") as file:
            del file["df"]["block0_values"]
            shape = (100, 1) if options else (2**20, 1)
            file["df"].create_dataset("block0_values", shape, dtype="i8", **options)
        with pytest.raises(SteeringError, match=words_of):
            formats.read(path, model(), allow_pickle=True)
    path.write_bytes(llm_steer_instruct.MAGIC)
    with pytest.raises(SteeringError, match="cannot be read: it is damaged"):
        formats.read(path, model(), allow_pickle=True)
    path.write_bytes(b"text")
    with pytest.raises(SteeringError, match="no HDF5 file"):
        formats.read(path, model(), "llm-steer-instruct", allow_pickle=True)


def test_a_heap_that_leads_in_a_circle_is_refused(tmp_path: Path) -> None:
    # The library of HDF5 adds the size to the place, comes out before it, and never ends.
    path = table(tmp_path / "x.h5", row())
    content = bytearray(path.read_bytes())
    struct.pack_into("<HHIQ", content, content.index(b"GCOL") + 16, 7, 1, 0, 2**64 - 16)
    path.write_bytes(content)
    with pytest.raises(SteeringError, match="a block of its table is not where it says"):
        formats.read(path, model(), allow_pickle=True)


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SteeringError, match=r"pip install 'trimtab\[hdf5\]'"):
        formats.read(their_file(tmp_path), model(), allow_pickle=True)


def test_no_such_file_is_written(tmp_path: Path) -> None:
    mine = Steering("shout", (Edit.set_projection(1, torch.ones(16), 3.0),), Record(model()))
    with pytest.raises(SteeringError, match="'shout' can go to vllm-hook"):
        formats.write(mine, tmp_path / "x.h5", "llm-steer-instruct")
    assert not list(tmp_path.iterdir())


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    path = table(tmp_path / "x.h5", row("punctuation:no_comma", -1), row())
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    llm_steer_instruct.recognises(path)
    is_refused_or_read(lambda: llm_steer_instruct.read(path, model()), path.stat().st_size)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not llm_steer_instruct.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                llm_steer_instruct.read(place, model())

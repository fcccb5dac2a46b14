"""Folders of EasyEdit: a vector for each layer, by the names its code looks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged, is_refused_or_read, model, path_tricks

from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.formats import easyedit
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)


def steering(*edits: Edit) -> Steering:
    return Steering("shout", edits, Record(model()))


@pytest.mark.parametrize(
    ("merged", "name", "method"),
    [(False, "layer_{}.pt", "caa"), (True, "layer_{}_merged_vector.pt", "merge_vector")],
)
def test_what_its_code_would_load_is_there(merged: bool, name: str, method: str, tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    mine = steering(Edit.add(0, D, 2.0), Edit.add(2, D), Edit.add(2, D.flip(0) + 1))
    use = formats.write(mine, folder, "easyedit", options={"merged": merged})
    assert use == (
        f"alg_name: {method}, steer_vector_load_dir: {folder}, layers: [0, 2], multipliers: [1.0, 1.0]"
    )
    assert sorted(one.name for one in folder.iterdir()) == [name.format(0), name.format(2)]
    found = torch.load(folder / name.format(2), map_location="cpu", weights_only=True)
    assert found.shape == (16,)
    assert torch.allclose(found, torch.ones(16))
    again = formats.read(folder, model())
    assert again.blocks == (0, 2)
    assert again.record.settings["format"] == "easyedit"
    assert torch.equal(again.edits[0].u, 2 * D)


def test_only_its_own_files_are_read(tmp_path: Path) -> None:
    torch.save(D.bfloat16(), tmp_path / "layer_1.pt")
    (tmp_path / "metadata_layer_1.jsonl").write_text("{}")
    (tmp_path / "layer_01.pt").write_text("no")
    (tmp_path / "layer_1.pt.bak").write_text("no")
    (edit,) = formats.read(tmp_path, model()).edits
    assert (edit.block, edit.alpha) == (1, 1.0)
    assert torch.equal(edit.u, D.bfloat16().float())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"layer_1.pt": D, "layer_1_merged_vector.pt": D},
            "has both layer_1.pt and layer_1_merged_vector.pt",
        ),
        ({"layer_7.pt": D}, "an edit for block 7"),
        ({"layer_999999.pt": D}, "an edit for block 999999"),
        ({"layer_9999999.pt": D}, "has no files layer_N.pt"),
        ({"layer_1.pt": {"concept": D}}, "is no tensor"),
        ({"layer_1.pt": torch.ones(2, 16)}, r"has the shape \[2, 16\]"),
        ({"layer_1.pt": torch.ones(5)}, "vectors of width 5"),
        ({"layer_1.pt": D * torch.nan}, "not finite"),
        ({"layer_1.pt": torch.tensor(1.0)}, r"has the shape \[\]"),
    ],
)
def test_what_it_should_not_hold_is_refused(files: dict[str, Any], words: str, tmp_path: Path) -> None:
    for name, value in files.items():
        torch.save(value, tmp_path / name)
    with pytest.raises(SteeringError, match=words):
        formats.read(tmp_path, model(), "easyedit")


def test_what_it_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="a folder of EasyEdit only adds vectors"):
        formats.write(steering(Edit.ablate(1, D)), tmp_path / "new", "easyedit")
    assert not (tmp_path / "new").exists()
    added = steering(Edit.add(1, D))
    with pytest.raises(SteeringError, match="merged is true or false, not 'yes'"):
        formats.write(added, tmp_path / "new", "easyedit", options={"merged": "yes"})
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(SteeringError, match="holds something"):
            formats.write(added, place, "easyedit")


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    torch.save(D, tmp_path / "layer_1.pt")
    torch.save(D, tmp_path / "layer_2.pt")
    path = tmp_path / f"layer_{data.draw(st.integers(1, 2))}.pt"
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    assert easyedit.recognises(tmp_path)
    size = sum(one.stat().st_size for one in tmp_path.glob("*.pt"))
    is_refused_or_read(lambda: easyedit.read(tmp_path, model()), size)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not easyedit.recognises(place)
            with pytest.raises(SteeringError, match=r"cannot read|has no files"):
                easyedit.read(place, model())
        (tmp_path / "tricks").mkdir()
        (tmp_path / "tricks" / "layer_1.pt").symlink_to(tmp_path / "pipe")
        with pytest.raises(SteeringError, match="it is not a file"):
            easyedit.read(tmp_path / "tricks", model())

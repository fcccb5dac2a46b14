"""vLLM-Hook's pair of files: keys as its worker reads them, and its projection to the number."""

from __future__ import annotations

import json
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
from trimtab.formats import vllm_hook
from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)
HIDDEN = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
OWN = {"method": "adjust_rs", "coefficient": 1, "optimal_layer": 1, "vector_path": "/u/me/v.pt"}


def steering(*edits: Edit) -> Steering:
    return Steering("shout", edits, Record(model()))


def its_worker(path: Path, residuals: torch.Tensor) -> torch.Tensor:
    """What steer_activation_worker.py does to what it is given, word for word, with its defaults."""
    config = json.loads(path.read_text())["steering"]
    data = torch.load(config["vector_path"])
    direction = torch.as_tensor(data["dir"]).to(residuals.dtype)
    if config["method"] == "add_vector":
        return residuals + config["coefficient"] * direction.view(1, -1)
    avg_proj = data["avg_proj"].to(residuals.device, dtype=residuals.dtype)
    coeff = (avg_proj - torch.matmul(residuals, direction)).unsqueeze(-1)
    return residuals + coeff * direction.view(1, -1)


def saved(folder: Path, vector: Any, **changes: Any) -> Path:
    path = folder / "steer.json"
    path.write_text(json.dumps({"steering": {**OWN, **changes}}))
    torch.save(vector, folder / "v.pt")
    return path


@pytest.mark.parametrize(
    "edits",
    [
        (Edit.set_projection(1, D, 3.0),),
        (Edit(2, 4 * D / D.norm(), alpha=0.5, p=-D / D.norm() / 4),),
        (Edit.add(1, D, 2.0), Edit.add(1, D.flip(0) + 1)),
    ],
    ids=["projection", "other norm", "added"],
)
def test_its_worker_does_what_the_edit_does(edits: tuple[Edit, ...], tmp_path: Path) -> None:
    path = tmp_path / "steer.json"
    assert formats.write(steering(*edits), path, "vllm-hook") == f"VLLM_ACTSTEER_CONFIG={path}"
    ours = apply_edits(HIDDEN, edits)
    assert torch.allclose(its_worker(path, HIDDEN), ours, atol=1e-5)
    assert json.loads(path.read_text())["steering"]["optimal_layer"] == edits[0].block
    (again,) = formats.read(path, model()).edits
    assert torch.allclose(apply_edits(HIDDEN, [again]), ours, atol=1e-5)


def test_a_file_as_it_writes_them_is_read(tmp_path: Path) -> None:
    """`dir` a numpy array, not quite of norm 1, `avg_proj` a tensor without dimensions."""
    unit = (1.01 * D / D.norm()).numpy().astype(np.float32)
    path = saved(tmp_path, {"dir": unit, "avg_proj": torch.tensor(1.6)}, vector_path="C:\\vectors\\v.pt")
    found = formats.read(path, model())
    assert found.blocks == (1,)
    assert "sets the projection of one half" in found.record.settings["notes"][0]
    direction = torch.from_numpy(unit)
    theirs = HIDDEN + (1.6 - HIDDEN @ direction)[..., None] * direction
    assert torch.allclose(apply_edits(HIDDEN, found.edits), theirs, atol=1e-5)
    added = formats.read(saved(tmp_path, {"dir": unit}, method="add_vector", coefficient=3), model())
    assert torch.allclose(apply_edits(HIDDEN, added.edits), HIDDEN + 3 * direction, atol=1e-5)
    assert "notes" not in added.record.settings


def test_the_vector_is_looked_for_beside_the_json_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    torch.save({"dir": D, "avg_proj": torch.tensor(1.0)}, tmp_path / "secret.pt")
    for place in (str(tmp_path / "secret.pt"), "../secret.pt", "..\\secret.pt"):
        path = saved(tmp_path / "elsewhere", {}, vector_path=place)
        with pytest.raises(SteeringError, match=r"elsewhere/secret.pt: there is no such file"):
            formats.read(path, model())
    for place in ("", "..", "a/..", "a/", 3, None):
        with pytest.raises(SteeringError, match="vector_path names no file"):
            formats.read(saved(tmp_path, {}, vector_path=place), model(), "vllm-hook")


@pytest.mark.parametrize(
    ("vector", "changes", "words"),
    [
        ({"dir": D}, {}, "avg_proj must be a finite number"),
        ({"dir": D, "avg_proj": torch.tensor(torch.nan)}, {}, "avg_proj must be a finite number"),
        ({"dir": D, "avg_proj": torch.ones(2)}, {}, "avg_proj must be a finite number"),
        ({"dir": torch.ones(3, 16), "avg_proj": 1.0}, {}, r"dir has the shape \[3, 16\]"),
        ({"dir": D.tolist(), "avg_proj": 1.0}, {}, "dir is no tensor"),
        ({"dir": D[:4], "avg_proj": 1.0}, {}, "vectors of width 4"),
        ({"avg_proj": 1.0}, {}, "has no 'dir'"),
        (D, {}, "has no 'dir'"),
        ({"dir": D, "avg_proj": 1.0}, {"optimal_layer": -1}, "a number from 0 on, not -1"),
        ({"dir": D, "avg_proj": 1.0}, {"optimal_layer": True}, "not True"),
        ({"dir": D, "avg_proj": 1.0}, {"optimal_layer": 8}, "an edit for block 8"),
        ({"dir": D, "avg_proj": 1.0}, {"method": "rotate"}, "adjust_rs or add_vector, not 'rotate'"),
        ({"dir": D}, {"method": "add_vector", "coefficient": "3"}, "coefficient must be a finite number"),
        ({"dir": D}, {"apply_at_all_positions": False}, "at some positions alone"),
    ],
)
def test_what_it_should_not_hold_is_refused(vector: Any, changes: Any, words: str, tmp_path: Path) -> None:
    path = saved(tmp_path, vector, **changes)
    assert vllm_hook.recognises(path)
    with pytest.raises(SteeringError, match=words):
        formats.read(path, model())


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ((Edit.add(1, D), Edit.add(2, D)), "acts at one block, and 'shout' edits 1, 2"),
        ((Edit(1, D, alpha=1.0, p=D),), "adds a vector or sets one projection"),
        ((Edit.set_projection(1, D, 1.0), Edit.add(1, D)), "beside others; the nearest"),
        ((Edit.add(1, D, tokens="prompt"),), "on prompt tokens only"),
    ],
)
def test_what_it_cannot_say_is_refused(edits: tuple[Edit, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.write(steering(*edits), tmp_path / "steer.json", "vllm-hook")
    with pytest.raises(SteeringError, match="wants a JSON file"):
        formats.write(steering(Edit.add(1, D)), tmp_path / "steer.pt", "vllm-hook")
    assert not list(tmp_path.iterdir())


def test_a_file_of_that_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "steer.pt").write_text("mine")
    with pytest.raises(SteeringError, match=r"steer\.pt is there already"):
        formats.write(steering(Edit.add(1, D)), tmp_path / "steer.json", "vllm-hook")
    assert (tmp_path / "steer.pt").read_text() == "mine"
    assert not (tmp_path / "steer.json").exists()


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "steer.json"
    formats.write(steering(Edit.set_projection(1, D, 3.0)), path, "vllm-hook")
    hit = data.draw(st.sampled_from((path, path.with_suffix(".pt"))))
    hit.write_bytes(data.draw(damaged(hit.read_bytes())))
    vllm_hook.recognises(path)
    size = path.stat().st_size + path.with_suffix(".pt").stat().st_size
    is_refused_or_read(lambda: vllm_hook.read(path, model()), size)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not vllm_hook.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                vllm_hook.read(place, model())

"""A baked steering in the GGUF file that its model came from; tests/on_llama runs such files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_gguf import tiny_gguf
from typer.testing import CliRunner

import trimtab
from trimtab import baking
from trimtab.cli.app import app
from trimtab.errors import ModelError, TrimtabError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.Q8_0.gguf")


@pytest.fixture(scope="module")
def engine(model: Path) -> Any:
    return trimtab.load(model, device="cpu", dtype="float32")


@pytest.fixture
def run() -> Callable[..., Any]:
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def saved(engine: Any, folder: Path, *, gated: bool = False) -> Path:
    direction = torch.linspace(-1, 1, engine.identity.width)
    edit = Edit(1, direction, alpha=1.0, p=direction / 10) if gated else Edit.add(1, direction, 3.0)
    return Steering("mine", (edit,), Record(engine.identity)).save(folder)


def tensors(file: Path) -> dict[str, Any]:
    import gguf

    return {one.name: one for one in gguf.GGUFReader(file).tensors}


def test_the_file_has_a_bias_more_and_is_otherwise_the_same(
    run: Callable[..., Any], engine: Any, model: Path, tmp_path: Path
) -> None:
    import gguf

    folder, out = saved(engine, tmp_path / "s"), tmp_path / "out.gguf"
    asked = ("bake", folder, "--model", model, "--out", tmp_path / "baked", "--gguf", out)
    for _ in range(2):  # what was baked before is replaced
        result = run(*asked)
        assert result.exit_code == 0, result.output
        assert f"llama-cli -m {out}" in result.stdout
    # Before the vocabulary, which takes megabytes in real files: what is replaced is known by its first bytes.
    assert out.read_bytes().find(b"trimtab.steering") < 1024
    before, after = tensors(model), tensors(out)
    assert set(after) - set(before) == {"blk.1.ffn_down.bias"}
    for name, tensor in before.items():
        assert np.array_equal(after[name].data, tensor.data)
        assert after[name].tensor_type == tensor.tensor_type
    expected = torch.linspace(-1, 1, engine.identity.width) * 3.0
    assert torch.allclose(torch.from_numpy(after["blk.1.ffn_down.bias"].data.copy()), expected)
    keys = [
        {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items() if "GGUF" not in name}
        for file in (model, out)
    ]
    assert keys[1] == {**keys[0], "trimtab.steering": "mine"}
    with pytest.raises(
        ModelError, match=r"blk\.1\.ffn_down\.bias \(it carries a steering\), which transformers"
    ):
        trimtab.load(out, device="cpu")


def test_fitted_projections_are_written_in_float32(
    engine: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [f"What is {number}?" for number in range(10)]
    monkeypatch.setattr("trimtab.baking.baking.default_queries", lambda *arguments: questions)
    steering = Steering.load(saved(engine, tmp_path / "s", gated=True))
    baked = baking.bake(
        engine, steering, tmp_path / "baked", way="fitted", fit_on=10, test=0, max_new_tokens=8
    )
    out = baking.write_gguf(baked.path, model, tmp_path / "out.gguf")
    changed = tensors(out)["blk.1.ffn_down.weight"]
    assert changed.tensor_type.name == "F32"
    opened = (
        trimtab.load(baked.path, device="cpu", dtype="float32").model.model.layers[1].mlp.down_proj.weight
    )
    assert np.array_equal(changed.data, opened.detach().numpy())
    assert not torch.equal(opened, engine.model.model.layers[1].mlp.down_proj.weight)


def test_what_no_file_can_carry_is_refused(
    run: Callable[..., Any], engine: Any, model: Path, tmp_path: Path
) -> None:
    gated = Steering.load(saved(engine, tmp_path / "s", gated=True))
    module = baking.bake(engine, gated, tmp_path / "module", check=0)
    with pytest.raises(ModelError, match=r"code that llama\.cpp cannot run; bake it as --way bias or"):
        baking.write_gguf(module.path, model, tmp_path / "out.gguf")
    bias = baking.bake(engine, Steering.load(saved(engine, tmp_path / "v")), tmp_path / "bias", check=0)
    with pytest.raises(ModelError, match="is not the GGUF file of a model"):
        baking.write_gguf(bias.path, bias.path / "config.json", tmp_path / "out.gguf")
    with pytest.raises(ModelError, match="is no folder that was baked"):
        baking.write_gguf(tmp_path / "v", model, tmp_path / "out.gguf")
    with pytest.raises(TrimtabError, match="choose another name"):
        baking.write_gguf(bias.path, model, model)
    assert not (tmp_path / "out.gguf").exists()
    for options, words in (
        (("--model", "nano", "--gguf", tmp_path / "n.gguf"), "nano is no GGUF file"),
        (("--model", model, "--gguf", tmp_path / "n.bin"), "should end in .gguf"),
        (("--model", model, "--gguf", model), "is something else than a file that was baked"),
    ):
        result = run("bake", tmp_path / "v", "--out", tmp_path / "no", *options)
        assert result.exit_code == 2
        assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "no").exists()

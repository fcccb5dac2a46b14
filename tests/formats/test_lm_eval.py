"""lm-evaluation-harness's own steered model loads our files and gives our log-likelihoods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged, is_refused_or_read, model, path_tricks
from tests.tiny import ARCHITECTURES, random_steering, tiny_engine, tiny_model

import trimtab
from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.formats import lm_eval
from trimtab.steering import when
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)
UNIT = D / D.norm()
REQUESTS = [("name a rocket", " saturn"), ("hi", " there, you"), ("the sea and", " the moon")]


def steering(*edits: Edit) -> Steering:
    return Steering("shout", edits, Record(model()))


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def likelihoods(lm: Any) -> list[float]:
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(REQUESTS)]
    return [one[0] for one in lm.loglikelihood(requests, disable_tqdm=True)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt"])
def test_its_own_model_gives_our_log_likelihoods(architecture: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.models.hf_steered import SteeredModel
    from lm_eval.models.huggingface import HFLM

    engine = tiny_engine(architecture)
    engine.model.save_pretrained(tmp_path / "model")
    engine.tokenizer.save_pretrained(tmp_path / "model")
    drawn = random_steering(engine, strength=1.0)
    edits = [edit for edit in drawn.edits if edit.p is None or torch.allclose(edit.p, -edit.u)]
    mine = Steering(
        "mine", (*edits, Edit.add(1, edits[0].u.flip(0), edits[0].alpha)), Record(engine.identity)
    )
    assert [edit.p is None for edit in mine.edits] == [True, False, True]
    use = formats.write(mine, tmp_path / "v.pt", "lm-eval")
    assert "steered" in use
    options = {"pretrained": str(tmp_path / "model"), "device": "cpu", "dtype": "float32", "batch_size": 3}
    theirs = likelihoods(SteeredModel(steer_path=str(tmp_path / "v.pt"), **options))
    plain = HFLM(**options)
    unsteered = likelihoods(plain)
    with trimtab.on(plain.model, mine):
        ours = likelihoods(plain)
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert ours != pytest.approx(unsteered, abs=0.1)
    again = formats.read(tmp_path / "v.pt", engine.identity)
    with trimtab.on(plain.model, again):
        assert likelihoods(plain) == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_blocks_of_every_architecture_are_found(architecture: str, tmp_path: Path) -> None:
    """By the rule of lm-eval: a name among the modules of `model.base_model`."""
    net = tiny_model(architecture)
    kind = net.config.model_type
    mine = Steering("mine", (Edit.add(2, torch.ones(8)),), Record(model(8, 3, kind)))
    formats.write(mine, tmp_path / "v.pt", "lm-eval")
    (name,) = torch.load(tmp_path / "v.pt")
    from trimtab.steering.blocks import find_decoder_blocks

    assert dict(net.base_model.named_modules())[name] is find_decoder_blocks(net).blocks[2]


def test_its_files_load_with_weights_alone(tmp_path: Path) -> None:
    mine = steering(Edit.add(0, D, 2.0), Edit.set_projection(2, D, 3.0), Edit.add(0, D.flip(0) + 1, 1.0))
    formats.write(mine, tmp_path / "v.pt", "lm-eval")
    found = torch.load(tmp_path / "v.pt", weights_only=True)
    assert list(found) == ["layers.0", "layers.2"]
    assert found["layers.0"]["action"] == "add"
    assert torch.allclose(found["layers.0"]["steering_vector"], 2 * D + D.flip(0) + 1)
    assert (found["layers.2"]["action"], found["layers.2"]["steering_coefficient"]) == ("clamp", 3.0)
    assert all(set(entry) >= {"steering_coefficient", "bias", "head_index"} for entry in found.values())


def test_a_projection_is_found_whatever_the_norm_of_u(tmp_path: Path) -> None:
    mine = steering(Edit(1, 4 * UNIT, alpha=0.5, p=-UNIT / 4), Edit.ablate(2, D))
    formats.write(mine, tmp_path / "v.pt", "lm-eval")
    first, second = formats.read(tmp_path / "v.pt", model()).edits
    assert (first.alpha, second.alpha) == (pytest.approx(2.0), 0.0)
    assert first.p is not None
    assert torch.allclose(first.u, UNIT, atol=1e-6)
    assert torch.allclose(first.p, -UNIT, atol=1e-6)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ((Edit(1, D, alpha=1.0, p=D),), "adds a vector or sets a projection, and the edit of block 1"),
        ((Edit(1, UNIT, alpha=2.0, p=-UNIT, rectified=True),), "adds max"),
        ((Edit.set_projection(1, D, 2.0).scaled(0.5),), "moves the projection 0.5 of the way"),
        ((Edit.set_projection(1, D, 2.0), Edit.add(1, D)), "has one action for each block"),
        ((Edit.add(1, D, tokens="prompt"),), "on prompt tokens only"),
        ((Edit(1, D, alpha=1.0, when=when.Matches("river")),), "acts on every prompt"),
        ((), "changes nothing"),
    ],
    ids=["gate", "rectified", "scaled", "two", "tokens", "when", "nothing"],
)
def test_what_it_cannot_say_is_refused(edits: tuple[Edit, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.write(steering(*edits), tmp_path / "v.pt", "lm-eval")
    assert not (tmp_path / "v.pt").exists()


def test_where_blocks_are_can_be_said(tmp_path: Path) -> None:
    mine = Steering("mine", (Edit.add(1, D),), Record(model(architecture="novel")))
    with pytest.raises(SteeringError, match="not known where a novel has its blocks"):
        formats.write(mine, tmp_path / "v.pt", "lm-eval")
    formats.write(mine, tmp_path / "v.pt", "lm-eval", options={"hookpoint": "encoder.stages"})
    assert list(torch.load(tmp_path / "v.pt")) == ["encoder.stages.1"]
    with pytest.raises(SteeringError, match=r"acts at 'encoder.stages.1'"):
        formats.read(tmp_path / "v.pt", model())
    assert formats.read(tmp_path / "v.pt", model(), options={"hookpoint": "encoder.stages"}).blocks == (1,)
    with pytest.raises(SteeringError, match=r"by the ending \.pt"):
        formats.write(mine, tmp_path / "v.bin", "lm-eval")


def test_a_bias_moves_the_target(tmp_path: Path) -> None:
    bias = torch.arange(16.0)
    entry = {"steering_vector": 3 * UNIT[None], "steering_coefficient": 2, "action": "clamp", "bias": bias}
    (edit,) = formats.read(saved(tmp_path / "v.pt", {"layers.1": entry}), model()).edits
    hidden = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0))
    theirs = (hidden - bias) + UNIT * (2 - ((hidden - bias) @ UNIT)[..., None]) + bias
    from trimtab.steering.edits import apply_edits

    assert torch.allclose(apply_edits(hidden, [edit]), theirs, atol=1e-5)


ADD = {"steering_vector": D, "action": "add"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"layers.1.mlp": ADD}, "acts at 'layers.1.mlp', and edits act at the output of a block"),
        ({"layers.1.mlp.experts.2": ADD}, "acts at 'layers.1.mlp.experts.2'"),
        ({"layers.01": ADD}, "acts at 'layers.01'"),
        ({"layers.-1": ADD}, "acts at 'layers.-1'"),
        ({"layers.9": ADD}, "an edit for block 9"),
        ({3: ADD}, "acts at 3"),
        ({"layers.1": ADD, "h.1": ADD}, "names a block twice"),
        ({"layers.1": {**ADD, "head_index": 2}}, "attention head"),
        ({"layers.1": {**ADD, "action": "multiply"}}, "add or clamp, not 'multiply'"),
        ({"layers.1": {**ADD, "bias": D}}, "not 'add' with a bias"),
        ({"layers.1": {**ADD, "steering_coefficient": float("nan")}}, "must be a finite number"),
        ({"layers.1": {**ADD, "steering_vector": torch.full((16,), torch.nan)}}, "not finite"),
        ({"layers.1": {**ADD, "steering_vector": torch.ones(2, 16)}}, r"shape \[2, 16\]"),
        ({"layers.1": {**ADD, "steering_vector": [1.0]}}, "is no tensor"),
        ({"layers.1": {**ADD, "steering_vector": torch.ones(5)}}, "vectors of width 5"),
        ({"layers.1": {"steering_vector": D * 0, "action": "clamp"}}, "is zero"),
        ({"layers.1": {"steering_vector": D, "action": "clamp", "bias": torch.ones(3)}}, "another width"),
        ({}, "no hookpoints"),
        ([], "no hookpoints"),
    ],
)
def test_what_it_should_not_hold_is_refused(value: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.read(saved(tmp_path / "v.pt", value), model(), "lm-eval")


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "damaged.pt"
    if not whole.exists():
        formats.write(steering(Edit.add(1, D), Edit.set_projection(2, D, 1.0)), whole, "lm-eval")
    content = data.draw(damaged(whole.read_bytes()))
    path.write_bytes(content)
    lm_eval.recognises(path)
    is_refused_or_read(lambda: lm_eval.read(path, model()), len(content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not lm_eval.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                lm_eval.read(place, model())

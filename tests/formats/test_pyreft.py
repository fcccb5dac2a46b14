"""LoReFT folders: every edit of ours is written without loss, and pyreft's own module gives the same hidden states.

pyreft asks for a transformers of its own, so it cannot be in the `dev` extra; where it is importable, it runs here, and
elsewhere its formula does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged, is_refused_or_read, model, path_tricks
from tests.tiny import PROMPTS, inputs_of, logits_of, random_steering, tiny_engine

from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.formats import pyreft
from trimtab.steering import when
from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)
HIDDEN = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
NAME = "intkey_layer_{}_comp_block_output_unit_pos_nunit_1#0.bin"
SEVERAL = (
    Edit(1, D, alpha=1.0, p=D.flip(0) * 0.3 + 0.1),
    Edit.add(1, torch.ones(16), 0.5),
    Edit.set_projection(1, D.square(), 2.0),
    Edit.add(1, torch.ones(16), 1.5),
)


def steering(*edits: Edit) -> Steering:
    return Steering("shout", edits, Record(model()))


def loreft(state: dict[str, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """The formula of pyreft's LoreftIntervention."""
    rotated = hidden @ state["rotate_layer"]
    learned = hidden @ state["weight"].T + state["bias"]
    return hidden + (learned - rotated) @ state["rotate_layer"].T


@pytest.mark.parametrize(
    "edits",
    [SEVERAL[:1], SEVERAL[1:2], SEVERAL[2:3], SEVERAL],
    ids=["gate", "added", "projection", "all of them"],
)
def test_the_formula_does_what_the_edits_do(edits: tuple[Edit, ...], tmp_path: Path) -> None:
    folder = tmp_path / "reft"
    use = formats.write(steering(*edits), folder, "pyreft")
    assert use == f"ReftModel.load('{folder}', model), at all positions of the layers [1]"
    state = torch.load(folder / NAME.format(1), weights_only=True)
    rotation = state["rotate_layer"]
    assert torch.allclose(rotation.T @ rotation, torch.eye(len(edits)), atol=1e-6)
    ours = apply_edits(HIDDEN, edits)
    assert torch.allclose(loreft(state, HIDDEN), ours, atol=1e-4)
    again = formats.read(folder, model())
    assert torch.allclose(apply_edits(HIDDEN, again.edits), ours, atol=1e-4)
    assert "at positions that its call names" in again.record.settings["notes"][0]
    scoped = formats.read(folder, model(), options={"tokens": "prompt"})
    assert {edit.tokens for edit in scoped.edits} == {"prompt"}
    with pytest.raises(SteeringError, match=r"one of all, prompt, generated.*not 'last'"):
        formats.read(folder, model(), options={"tokens": "last"})


@pytest.mark.filterwarnings("ignore")
def test_pyreft_itself_steers_as_we_do(tmp_path: Path) -> None:
    pytest.importorskip("pyvene")
    interventions = pytest.importorskip("pyreft.interventions")
    from pyreft.reft_model import ReftModel

    engine = tiny_engine("llama")
    mine = random_steering(engine, strength=1.0)
    assert [edit.p is not None for edit in mine.edits] == [False, True, True]
    formats.write(mine, tmp_path / "ours", "pyreft")
    ours = logits_of(engine, PROMPTS[:1], mine)
    assert not torch.allclose(ours, logits_of(engine, PROMPTS[:1]), atol=0.1)
    loaded = ReftModel.load(str(tmp_path / "ours"), tiny_engine("llama").model)
    # Loading rounds W to bfloat16, whatever the model: put back what is in the file, in float32.
    for key, module in loaded.interventions.items():
        state = torch.load(tmp_path / "ours" / f"intkey_{key}.bin")
        rank = len(state["bias"])
        exact = interventions.LoreftIntervention(embed_dim=32, low_rank_dimension=rank, dtype=torch.float32)
        exact.load_state_dict(state)
        module.rotate_layer, module.learned_source = exact.rotate_layer, exact.learned_source
    inputs = inputs_of(engine, PROMPTS[:1])
    everywhere = [[list(range(inputs["input_ids"].shape[1]))]] * len(loaded.interventions)
    base = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    with torch.no_grad():
        _, answer = loaded(base, unit_locations={"sources->base": (None, everywhere)}, use_cache=False)
    assert torch.allclose(answer.logits[:, -1], ours, atol=1e-3)
    loaded.save(str(tmp_path / "theirs"))
    back = formats.read(tmp_path / "theirs", engine.identity)
    assert torch.allclose(logits_of(engine, PROMPTS[:1], back), ours, atol=1e-3)


def folder_of(folder: Path, state: Any = None, name: str = NAME.format(1), **config: Any) -> Path:
    types = ["<class 'pyreft.interventions.LoreftIntervention'>"]
    (folder / "config.json").write_text(json.dumps({"intervention_types": types, **config}))
    whole = {"rotate_layer": torch.ones(16, 2), "weight": torch.ones(2, 16), "bias": torch.ones(2)}
    torch.save(whole if state is None else state, folder / name)
    return folder


def test_the_names_of_older_versions_are_read(tmp_path: Path) -> None:
    name = "intkey_layer.2.comp.block_output.unit.pos.nunit.1#0.bin"
    types = ["pyreft.LoreftIntervention"]
    assert formats.read(folder_of(tmp_path, name=name, intervention_types=types), model()).blocks == (2,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": {"weight": D}}, "lacks rotate_layer, weight or bias"),
        ({"state": D}, "no weights of LoReFT"),
        (
            {
                "state": {
                    "rotate_layer": torch.ones(16, 2),
                    "weight": torch.ones(3, 16),
                    "bias": torch.ones(3),
                }
            },
            r"the shapes \[16, 2\], \[3, 16\], \[3\]",
        ),
        (
            {"state": {"rotate_layer": torch.ones(5, 1), "weight": torch.ones(1, 5), "bias": torch.ones(1)}},
            "vectors of width 5",
        ),
        (
            {
                "state": {
                    "rotate_layer": torch.ones(16, 1),
                    "weight": torch.ones(1, 16),
                    "bias": torch.ones(1) / 0,
                }
            },
            "must be finite",
        ),
        ({"name": NAME.format(8)}, "an edit for block 8"),
        ({"name": NAME.format(1).replace("block", "mlp")}, "lists 1 interventions and has 0 files"),
        ({"intervention_types": ["<class 'pyreft.interventions.NoreftIntervention'>"]}, "LoReFT can be said"),
        ({"intervention_types": ["pyreft.LoreftIntervention"] * 2}, "lists 2 interventions and has 1 file"),
        ({"intervention_types": []}, "names no intervention_types"),
        ({"intervention_types": [3]}, "names no intervention_types"),
    ],
)
def test_what_it_should_not_hold_is_refused(changes: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.read(folder_of(tmp_path, **changes), model(), "pyreft")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Edit.add(1, D, tokens="generated"), "on generated tokens only"),
        (Edit(1, D, alpha=1.0, p=D, rectified=True), "adds nothing where its amount is below zero"),
        (Edit(1, D, alpha=1.0, when=when.Matches("river")), "acts on every prompt"),
    ],
)
def test_what_it_cannot_say_is_refused(edit: Edit, words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.write(steering(edit), tmp_path / "reft", "pyreft")
    with pytest.raises(SteeringError, match="no more rows than the model is wide"):
        formats.write(steering(*[Edit.add(1, D)] * 17), tmp_path / "reft", "pyreft")
    assert not list(tmp_path.iterdir())


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "reft"
    if not folder.exists():
        formats.write(steering(*SEVERAL[:2]), folder, "pyreft")
        for one in folder.iterdir():
            one.rename(tmp_path / one.name)
    names = ("config.json", NAME.format(1))
    hit = data.draw(st.sampled_from(names))
    for name in names:
        content = (tmp_path / name).read_bytes()
        (folder / name).write_bytes(data.draw(damaged(content)) if name == hit else content)
    pyreft.recognises(folder)
    size = sum((folder / name).stat().st_size for name in names)
    is_refused_or_read(lambda: pyreft.read(folder, model()), size)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not pyreft.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                pyreft.read(place, model())

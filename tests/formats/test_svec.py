"""`.svec` files: CAST's shift by one layer is kept, and the two packages steer with ours as we do.

Neither package is on the index that the tests are installed from; where they are importable, they steer here.
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
from tests.tiny import PROMPTS, inputs_of, logits_of, tiny_engine

from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.formats import svec
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)
ROW = D.tolist()


def steering(*edits: Edit) -> Steering:
    return Steering("shout", edits, Record(model()))


def saved(path: Path, directions: Any, **more: Any) -> Path:
    path.write_text(json.dumps({"model_type": "llama", "directions": directions, **more}))
    return path


def pushing(engine: Any) -> Steering:
    width = engine.identity.width
    edits = (Edit.add(0, torch.linspace(-1, 1, width), 0.7), Edit.add(1, torch.linspace(1, -2, width)))
    return Steering("pushing", edits, Record(engine.identity))


@pytest.mark.filterwarnings("ignore")
def test_cast_steers_as_we_do(tmp_path: Path) -> None:
    library = pytest.importorskip("activation_steering")
    engine = tiny_engine("llama")
    mine = pushing(engine)
    formats.write(mine, tmp_path / "v.svec", "svec")
    vector = library.SteeringVector.load(str(tmp_path / "v.svec"))
    assert list(vector.directions) == [1, 2]
    wrapped = library.MalleableModel(tiny_engine("llama").model, engine.tokenizer)
    for prompt in PROMPTS:  # it steers the first row of a batch alone
        wrapped.reset_leash_to_default()
        wrapped.steer(behavior_vector=vector, behavior_layer_ids=[1, 2], behavior_vector_strength=1.0)
        with torch.no_grad():
            theirs = wrapped.model(**inputs_of(engine, [prompt]), use_cache=False).logits[:, -1]
        assert torch.allclose(theirs, logits_of(engine, [prompt], mine), atol=1e-4)
        assert not torch.allclose(theirs, logits_of(engine, [prompt]), atol=0.1)
    vector.save(str(tmp_path / "theirs.svec"))
    again = formats.read(tmp_path / "theirs.svec", engine.identity)
    assert torch.allclose(logits_of(engine, PROMPTS, again), logits_of(engine, PROMPTS, mine), atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("at", ["input", "output"])
def test_aisteer360_steers_as_we_do(at: str, tmp_path: Path) -> None:
    pytest.importorskip("aisteer360")
    from aisteer360.algorithms.state_control._common.steering_vector import SteeringVector
    from aisteer360.algorithms.state_control.caa.control import CAA
    from aisteer360.algorithms.state_control.cast.control import CAST

    engine = tiny_engine("llama")
    edits = pushing(engine).edits if at == "input" else pushing(engine).edits[1:]
    mine = Steering("mine", edits, Record(engine.identity))
    formats.write(mine, tmp_path / "v.svec", "svec", options={"at": at})
    vector = SteeringVector.load(str(tmp_path / "v.svec"))
    if at == "input":
        control = CAST(behavior_vector=vector, behavior_layer_ids=[1, 2], behavior_vector_strength=1.0)
    else:
        control = CAA(steering_vector=vector, layer_id=1, multiplier=1.0, token_scope="all")
    net = tiny_engine("llama").model
    control.steer(net, engine.tokenizer)
    for prompt in PROMPTS:
        inputs = inputs_of(engine, [prompt])
        hooks = control.get_hooks(inputs["input_ids"], {})
        handles = [
            net.get_submodule(one["module"]).register_forward_pre_hook(one["hook_func"], with_kwargs=True)
            for one in hooks["pre"]
        ] + [
            net.get_submodule(one["module"]).register_forward_hook(one["hook_func"], with_kwargs=True)
            for one in hooks["forward"]
        ]
        with torch.no_grad():
            theirs = net(**inputs, use_cache=False).logits[:, -1]
        for handle in handles:
            handle.remove()
        assert torch.allclose(theirs, logits_of(engine, [prompt], mine), atol=1e-4)
        assert not torch.allclose(theirs, logits_of(engine, [prompt]), atol=0.1)
    vector.save(str(tmp_path / "theirs.svec"))
    with pytest.raises(SteeringError, match="say which with --option at=output or --option at=input"):
        formats.read(tmp_path / "theirs.svec", engine.identity)
    again = formats.read(tmp_path / "theirs.svec", engine.identity, options={"at": at})
    assert torch.allclose(logits_of(engine, PROMPTS, again), logits_of(engine, PROMPTS, mine), atol=1e-4)


def test_a_layers_input_is_the_output_of_the_block_before(tmp_path: Path) -> None:
    use = formats.write(steering(Edit.add(0, D, 2.0), Edit.add(1, D)), tmp_path / "v.svec", "svec")
    assert "behavior_layer_ids=[1, 2], behavior_vector_strength=1.0" in use
    value = json.loads((tmp_path / "v.svec").read_text())
    assert value["model_type"] == "llama"
    assert value["directions"]["1"] == (2 * D).tolist()
    assert value["explained_variances"] == {"1": 1.0, "2": 1.0}
    again = formats.read(tmp_path / "v.svec", model())
    assert again.blocks == (0, 1)
    assert again.record.settings["at"] == "input"


def test_what_is_written_for_outputs_names_blocks(tmp_path: Path) -> None:
    use = formats.write(steering(Edit.add(2, D)), tmp_path / "v.svec", "svec", options={"at": "output"})
    assert "layer_id of [2]: CAA(" in use
    assert formats.read(tmp_path / "v.svec", model(), options={"at": "output"}).blocks == (2,)
    for verb in (
        lambda: formats.write(steering(Edit.add(1, D)), tmp_path / "w.svec", "svec", options={"at": "end"}),
        lambda: formats.read(tmp_path / "v.svec", model(), options={"at": "end"}),
    ):
        with pytest.raises(SteeringError, match="at is input or output, not 'end'"):
            verb()


def test_the_vector_of_layer_0_is_left_out_with_a_note(tmp_path: Path) -> None:
    path = saved(tmp_path / "v.svec", {"0": ROW, "1": ROW}, explained_variances={"0": 0.1, "1": 0.2})
    found = formats.read(path, model())
    assert found.blocks == (0,)
    assert "added to the embeddings" in found.record.settings["notes"][0]
    with pytest.raises(SteeringError, match="at the input of layer 0 alone"):
        formats.read(saved(tmp_path / "v.svec", {"0": ROW}), model())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Edit.ablate(2, D), "no layer comes after block 2.*at=output"),
        (Edit.add(2, D), "no layer comes after block 2.*at=output"),
        (Edit.ablate(1, D), "removes the direction"),
        (Edit.add(1, D, tokens="generated"), "on generated tokens only"),
    ],
)
def test_what_it_cannot_say_is_refused(edit: Edit, words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.write(steering(edit), tmp_path / "v.svec", "svec")
    with pytest.raises(SteeringError, match=r"want the ending \.svec"):
        formats.write(steering(edit), tmp_path / "v.json", "svec")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("directions", "more", "words"),
    [
        ({"1": [ROW, ROW]}, {}, "has 2 vectors for layer 1"),
        ({"1": [ROW]}, {"num_heads": 2, "head_dim": 8}, "for each attention head"),
        ({"one": ROW}, {}, "'one', which is no number of a layer"),
        ({"-1": ROW}, {}, "'-1'"),
        ({"1": "text"}, {}, "no list of numbers"),
        ({"1": [True] * 16}, {}, "no list of numbers"),
        ({"1": [10**400] * 16}, {}, "too large"),
        ({"1": [1e300] * 16}, {}, "too large|not finite"),
        ({"1": []}, {}, "must be a vector"),
        ({"1": ROW[:3]}, {}, "vectors of width 3"),
        ({"9": ROW}, {}, "an edit for block 8"),
        ({}, {}, "has no directions"),
        (None, {}, "has no directions"),
    ],
)
def test_what_it_should_not_hold_is_refused(directions: Any, more: Any, words: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "v.svec", directions, **more)
    with pytest.raises(SteeringError, match=words):
        formats.read(path, model(), options={"at": "input"})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"directions": {"1": [NaN]}}', "[" * 10**5, '{"directions": 1}']
)
def test_what_is_no_sound_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "v.svec").write_text(text)
    with pytest.raises(SteeringError, match=r"is not valid JSON|has no directions"):
        formats.read(tmp_path / "v.svec", model(), "svec")


def test_another_model_type_is_noted(tmp_path: Path) -> None:
    found = formats.read(saved(tmp_path / "v.svec", {"1": ROW}), model(architecture="qwen2"))
    assert found.record.settings["notes"] == [
        "the file names the model type 'llama', and this model is a qwen2"
    ]


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    whole, path = tmp_path / "whole.svec", tmp_path / "damaged.svec"
    if not whole.exists():
        formats.write(steering(Edit.add(0, D), Edit.add(1, D)), whole, "svec")
    content = data.draw(damaged(whole.read_bytes()))
    path.write_bytes(content)
    svec.recognises(path)
    is_refused_or_read(lambda: svec.read(path, model()), len(content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not svec.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                svec.read(place, model())

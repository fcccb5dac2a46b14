"""`.svec` files: CAST's shift by one layer is kept, and the two packages steer with ours as we do.

Neither package is on the index that the tests are installed from; where they are importable, they steer here.
"""

from __future__ import annotations

import json
from dataclasses import replace
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
from trimtab.steering.when import Cast, Matches, Resembles

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


def scores_of(engine: Any, direction: torch.Tensor, block: int, tokens: str) -> list[float]:
    """What CAST compares with its threshold, for each prompt."""
    probe = Cast(engine.identity, block, direction, 0.0, tokens)  # type: ignore[arg-type]
    read = engine.capture(PROMPTS, blocks=[block], positions=tokens, keep=True)
    return [probe.score(row[0]) for row in read.activations]


def conditional(
    engine: Any, folder: Path, layers: list[int], comparator: str, tokens: str
) -> tuple[Any, float]:
    """The options of the import for a condition that holds for some of the prompts."""
    width = engine.identity.width
    direction = torch.linspace(1, -1, width).sin() + 0.3
    rows = {str(layer): (direction * layer).tolist() for layer in layers}
    saved(folder / "c.svec", rows, explained_variances=dict.fromkeys(rows, 1.0))
    scores = sorted(scores_of(engine, direction, layers[0] - 1, tokens))
    threshold = (scores[0] + scores[1]) / 2
    return {
        "condition": str(folder / "c.svec"),
        "condition_layers": layers,
        "threshold": threshold,
        "comparator": comparator,
        "compare": tokens,
    }, threshold


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("layers", "comparator", "tokens", "first_call"),
    [
        ([1], "score_above", "mean", True),
        ([1], "score_below", "last", True),
        ([2], "score_above", "last", True),
        ([1, 2], "score_below", "mean", True),
        ([1], "score_above", "mean", False),
    ],
)
def test_cast_decides_as_we_do(
    layers: list[int], comparator: str, tokens: str, first_call: bool, tmp_path: Path
) -> None:
    """It writes the same greedy answers, over a prompt and some tokens, for prompts of both kinds."""
    library = pytest.importorskip("activation_steering")
    engine = tiny_engine("llama")
    formats.write(pushing(engine), tmp_path / "v.svec", "svec")
    options, threshold = conditional(engine, tmp_path, layers, comparator, tokens)
    mine = formats.read(tmp_path / "v.svec", engine.identity, options={**options, "first_call": first_call})
    use = formats.write(mine, tmp_path / "out.svec", "svec")
    wrapped = library.MalleableModel(tiny_engine("llama").model, engine.tokenizer)
    names = {"model": wrapped, "SteeringVector": library.SteeringVector}
    plain = engine.generate(PROMPTS, max_new_tokens=6)
    ours = engine.generate(PROMPTS, steering=mine, max_new_tokens=6)
    acted = 0
    for prompt, answer, without in zip(PROMPTS, ours, plain, strict=True):
        wrapped.reset_leash_to_default()
        eval(use, names)  # the line that export prints
        inputs = inputs_of(engine, [prompt])
        with torch.no_grad():
            ids = wrapped.model.generate(**inputs, max_new_tokens=6, do_sample=False, pad_token_id=0)
        theirs = ids[0, inputs["input_ids"].shape[1] :].tolist()
        length = min(len(theirs), len(answer.token_ids))
        assert theirs[:length] == list(answer.token_ids)[:length]
        acted += list(answer.token_ids) != list(without.token_ids)
    assert 0 < acted < len(PROMPTS) or len(layers) > 1
    assert f"condition_vector_threshold={threshold}" in use


def test_a_condition_goes_there_and_comes_back(tmp_path: Path) -> None:
    """Each way that CAST's order of layers makes of it; the blocks before the first that is read come late."""
    formats.write(steering(Edit.add(0, D, 2.0), Edit.add(1, D)), tmp_path / "v.svec", "svec")
    saved(tmp_path / "c.svec", {"1": ROW, "2": ROW[::-1]})
    for layers, tokens in (
        ([1], {"all"}),
        ([2], {"all", "generated"}),
        ([1, 2], {"all", "prompt", "generated"}),
    ):
        for comparator in ("score_above", "score_below"):
            given = {
                "condition": str(tmp_path / "c.svec"),
                "condition_layers": layers if len(layers) > 1 else layers[0],
                "threshold": 0.25,
                "comparator": comparator,
            }
            found = formats.read(tmp_path / "v.svec", model(), options=given)
            assert {edit.tokens for edit in found.edits} == tokens
            use = formats.write(found, tmp_path / "w.svec", "svec")
            sign = "smaller" if comparator == "score_above" else "larger"
            assert f"condition_layer_ids={layers}, condition_vector_threshold=0.25" in use
            assert (
                f"condition_comparator_threshold_is='{sign}', condition_threshold_comparison_mode='mean'"
                in use
            )
            given["condition"] = str(tmp_path / "w.condition.svec")
            again = formats.read(tmp_path / "w.svec", model(), options=given)
            assert {(e.block, e.tokens, e.when) for e in again.edits} == {
                (e.block, e.tokens, e.when) for e in found.edits
            }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"condition_layers": [1], "threshold": 0.1}, "are for a condition: --option condition=FILE"),
        ({"condition": "c.svec", "condition_layers": [1]}, "threshold must be a finite number"),
        ({"condition": "c.svec", "threshold": 0.1}, r"names the layers.*not None"),
        ({"condition": "c.svec", "condition_layers": [0], "threshold": 0.1}, "reads the embeddings"),
        (
            {"condition": "c.svec", "condition_layers": [9], "threshold": 0.1},
            r"no vector for layer 9; it has \[0, 1",
        ),
        (
            {"condition": "c.svec", "condition_layers": 1, "threshold": 0.1, "comparator": "larger"},
            "score_above or score_below, not 'larger'; where CAST's settings say 'smaller'",
        ),
        (
            {"condition": "c.svec", "condition_layers": 1, "threshold": 0.1, "compare": "sum"},
            "last or mean, not 'sum'",
        ),
        ({"condition": "c.svec", "condition_layers": 1, "threshold": 0.1, "at": "output"}, "adds to inputs"),
        ({"condition": "no.svec", "condition_layers": 1, "threshold": 0.1}, "no such file"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(
    options: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "v.svec", {"1": ROW})
    saved(tmp_path / "c.svec", {"0": ROW, "1": ROW})
    with pytest.raises(SteeringError, match=words):
        formats.read(tmp_path / "v.svec", model(), options=options)


def test_a_condition_that_it_cannot_say_is_refused(tmp_path: Path) -> None:
    one, other = (Cast(model(), block, D, 0.1) for block in (0, 1))
    late = Cast(model(), 2, D, 0.1)
    for when, words in (
        (Matches("river"), "acts if the prompt matches.*--approximate learns"),
        (Resembles(model(), 0, D, 0.1), "acts if the last prompt token.*--approximate learns"),
        (one & other, "--approximate learns"),
        (one | ~other, "--approximate learns"),
        (one | Cast(model(), 1, D, 0.2), "at one threshold for all layers"),
        (late, "the condition reads the last block, 2"),
        (other, "on generated tokens alone, which 'shout' does not"),
    ):
        with pytest.raises(SteeringError, match=words):
            formats.write(steering(Edit.add(0, D)).when(when), tmp_path / "v.svec", "svec")
    gated = steering(Edit.set_projection(1, D, 1.0)).when(one)
    with pytest.raises(SteeringError, match=r"sets the projection.*--approximate writes"):
        formats.write(gated, tmp_path / "v.svec", "svec")
    mixed = replace(steering(), edits=(*steering(Edit.add(0, D)).when(one).edits, Edit.add(1, D)))
    with pytest.raises(SteeringError, match="under one condition"):
        formats.write(mixed, tmp_path / "v.svec", "svec")
    assert not list(tmp_path.iterdir())


def under(control: Any, net: Any, inputs: Any) -> torch.Tensor:
    """The last logits under the hooks of a method of AISteer360."""
    hooks = control.get_hooks(inputs["input_ids"], {})
    handles = [
        net.get_submodule(one["module"]).register_forward_pre_hook(one["hook_func"], with_kwargs=True)
        for one in hooks["pre"]
    ] + [
        net.get_submodule(one["module"]).register_forward_hook(one["hook_func"], with_kwargs=True)
        for one in hooks["forward"]
    ]
    with torch.no_grad():
        logits: torch.Tensor = net(**inputs, use_cache=False).logits[:, -1]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("comparator", ["score_above", "score_below"])
def test_aisteer360_decides_as_we_do(comparator: str, tmp_path: Path) -> None:
    pytest.importorskip("aisteer360")
    from aisteer360.algorithms.state_control._common.steering_vector import SteeringVector
    from aisteer360.algorithms.state_control.cast.control import CAST

    engine = tiny_engine("llama")
    formats.write(pushing(engine), tmp_path / "v.svec", "svec")
    options, threshold = conditional(engine, tmp_path, [1], comparator, "mean")
    mine = formats.read(tmp_path / "v.svec", engine.identity, options=options)
    control = CAST(
        behavior_vector=SteeringVector.load(str(tmp_path / "v.svec")),
        behavior_layer_ids=[1, 2],
        behavior_vector_strength=1.0,
        condition_vector=SteeringVector.load(str(tmp_path / "c.svec")),
        condition_layer_ids=[1],
        condition_vector_threshold=threshold,
        condition_comparator_threshold_is=comparator,
        condition_threshold_comparison_mode="mean",
    )
    net = tiny_engine("llama").model
    control.steer(net, engine.tokenizer)
    acting = engine.decided(mine, PROMPTS)
    assert 0 < sum(one is not None for one in acting) < len(PROMPTS)
    for prompt, one in zip(PROMPTS, acting, strict=True):
        theirs = under(control, net, inputs_of(engine, [prompt]))
        assert torch.allclose(theirs, logits_of(engine, [prompt], one), atol=1e-4)


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
        theirs = under(control, net, inputs_of(engine, [prompt]))
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

"""Objects of repeng and of steering-vectors: made, read, and steering alike in their own library.

Neither can be in the `dev` extra: one asks for numpy below 2, the other for transformers below 5. Where they are
installed (`benchmarks/compare/competitors.txt`), they steer here; what needs no library is tested on look-alikes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.formats.damage import model
from tests.tiny import PROMPTS, inputs_of, logits_of, tiny_engine

from trimtab import formats
from trimtab.errors import SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)


@dataclass
class ControlVector:
    model_type: str
    directions: Any


@dataclass
class SteeringVector:
    layer_activations: Any
    layer_type: str = "decoder_block"


@dataclass
class Cast:
    model_type: str = "llama"
    directions: dict[int, Any] = field(default_factory=dict)
    explained_variances: dict[int, float] = field(default_factory=dict)


def pushing(engine: Any) -> Steering:
    """Adds at two blocks, twice at one of them, so that it shows."""
    width = engine.identity.width
    edits = (
        Edit.add(0, torch.linspace(-1, 1, width), 0.7),
        Edit.add(2, torch.linspace(1, -2, width)),
        Edit.add(2, torch.ones(width), 0.5),
    )
    return Steering("pushing", edits, Record(engine.identity))


def repeng() -> Any:
    pytest.importorskip("sklearn")
    pytest.importorskip("gguf")
    adapter = pytest.importorskip("benchmarks.compare.adapters.repeng")
    try:
        return adapter.library()
    except ImportError:
        pytest.skip("repeng is not installed")


@torch.no_grad()
def plain_logits(engine: Any, net: Any) -> torch.Tensor:
    inputs = inputs_of(engine, PROMPTS)
    return net(**inputs, use_cache=False).logits[:, -1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
def test_repeng_steers_as_we_do(architecture: str, tmp_path: Path) -> None:
    library = repeng()
    engine = tiny_engine(architecture)
    mine = pushing(engine)
    ours = logits_of(engine, PROMPTS, mine)
    formats.write(mine, tmp_path / "v.gguf", "gguf", options={"reader": "repeng"})
    for vector in (
        formats.to_object(mine, "repeng"),
        library.ControlVector.import_gguf(tmp_path / "v.gguf"),
    ):
        assert formats.from_object(vector, engine.identity).blocks == (0, 2)
        wrapped = library.ControlModel(tiny_engine(architecture).model, [0, 2])
        wrapped.set_control(vector, 1.0)
        assert torch.allclose(plain_logits(engine, wrapped), ours, atol=1e-4)
    vector.export_gguf(tmp_path / "theirs.gguf")
    back = formats.read(tmp_path / "theirs.gguf", engine.identity)
    assert torch.allclose(logits_of(engine, PROMPTS, back), ours, atol=1e-4)
    assert not torch.allclose(logits_of(engine, PROMPTS), ours, atol=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
def test_steering_vectors_steers_as_we_do(architecture: str) -> None:
    pytest.importorskip("steering_vectors")
    engine = tiny_engine(architecture)
    mine = pushing(engine)
    vector = formats.to_object(mine, "steering-vectors")
    with vector.apply(engine.model):
        theirs = plain_logits(engine, engine.model)
    ours = logits_of(engine, PROMPTS, mine)
    assert torch.allclose(theirs, ours, atol=1e-4)
    assert not torch.allclose(logits_of(engine, PROMPTS), ours, atol=0.1)
    back = formats.from_object(vector, engine.identity)
    assert torch.allclose(logits_of(engine, PROMPTS, back), ours, atol=1e-4)


def test_an_object_of_repeng_is_read_with_a_note() -> None:
    found = formats.from_object(ControlVector("llama", {1: D.numpy(), 2: D.numpy()}), model(), strength=3.0)
    assert (found.blocks, found.name) == ((1, 2), "repeng")
    assert torch.equal(found.edits[0].alpha * found.edits[0].u, 3 * D)
    assert "after the final norm" in found.record.settings["notes"][0]
    assert "notes" not in formats.from_object(ControlVector("llama", {1: D}), model()).record.settings


def test_an_object_of_steering_vectors_is_read() -> None:
    found = formats.from_object(SteeringVector({2: D.half()}), model(), name="mine")
    assert (found.blocks, found.name) == ((2,), "mine")
    assert found.record.settings["format"] == "an object of steering-vectors"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (SteeringVector({1: D}, "mlp"), "layer type 'mlp'"),
        (SteeringVector({1: "text"}), "the vector of block 1 is no tensor"),
        (SteeringVector({1: D * torch.nan}), "not finite"),
        (SteeringVector({}), "holds no vectors"),
        (ControlVector("llama", [D]), "holds no vectors"),
        (ControlVector("llama", {-1: D}), "a block is a number from 0 on, not -1"),
        (ControlVector("llama", {"1": D}), "not '1'"),
        (ControlVector("llama", {7: D}), "an edit for block 7"),
        (ControlVector("llama", {1: D[:5]}), "vectors of width 5"),
        (Cast(), "at the input of blocks"),
        (D, "not Tensor"),
    ],
)
def test_what_is_none_is_refused(value: Any, words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.from_object(value, model())


def test_what_they_cannot_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Steering("gated", (Edit.set_projection(1, D, 2.0),), Record(model()))
    for library in ("repeng", "steering-vectors"):
        with pytest.raises(SteeringError, match=f"an object of {library} only adds vectors"):
            formats.to_object(gated, library)
    with pytest.raises(SteeringError, match="is one of repeng, steering-vectors, not 'nnsight'"):
        formats.to_object(gated, "nnsight")
    monkeypatch.setitem(sys.modules, "steering_vectors", None)
    added = Steering("added", (Edit.add(1, D),), Record(model()))
    with pytest.raises(SteeringError, match=r"steering-vectors is not installed here.*pip install"):
        formats.to_object(added, "steering-vectors")

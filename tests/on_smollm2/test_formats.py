"""Files of other libraries on a model that people have: their own code steers SmolLM2 as ours does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.formats.test_objects import plain_logits, repeng
from tests.tiny import PROMPTS, logits_of

import trimtab
from trimtab import formats
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

BLOCKS = (8, 16, 24)


@pytest.fixture(scope="module")
def steering(engine: Any) -> Steering:
    """Random vectors as long as the residual stream is there, a fifth of it."""
    sizes = engine.capture(PROMPTS, keep=True).activations.norm(dim=-1).mean(dim=0)
    numbers = torch.Generator().manual_seed(0)
    edits = []
    for block in BLOCKS:
        direction = torch.randn(engine.identity.width, generator=numbers)
        edits.append(Edit.add(block, direction / direction.norm(), 0.2 * float(sizes[block])))
    return Steering("random", tuple(edits), Record(engine.identity))


@pytest.mark.filterwarnings("ignore")
def test_repeng_steers_as_we_do(engine: Any, steering: Steering, tmp_path: Path) -> None:
    library = repeng()
    ours = logits_of(engine, PROMPTS, steering)
    formats.write(steering, tmp_path / "v.gguf", "gguf")
    wrapped = library.ControlModel(engine.model, BLOCKS)
    try:
        for vector in (
            formats.to_object(steering, "repeng"),
            library.ControlVector.import_gguf(tmp_path / "v.gguf"),
        ):
            wrapped.set_control(vector, 1.0)
            assert torch.allclose(plain_logits(engine, wrapped), ours, atol=2e-3)
    finally:
        wrapped.unwrap()
    assert not torch.allclose(logits_of(engine, PROMPTS), ours, atol=0.5)


@pytest.mark.filterwarnings("ignore")
def test_steering_vectors_steers_as_we_do(engine: Any, steering: Steering) -> None:
    pytest.importorskip("steering_vectors")
    ours = logits_of(engine, PROMPTS, steering)
    with formats.to_object(steering, "steering-vectors").apply(engine.model):
        theirs = plain_logits(engine, engine.model)
    assert torch.allclose(theirs, ours, atol=2e-3)


@pytest.mark.filterwarnings("ignore")
def test_lm_eval_runs_a_task_with_our_file(engine: Any, steering: Steering, tmp_path: Path) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.hf_steered import SteeredModel
    from lm_eval.models.huggingface import HFLM

    questions = [
        {"q": "The capital of France is", "a": [" Paris", " Rome", " a banana"]},
        {"q": "Two and two is", "a": [" seven", " four", " blue"]},
        {"q": "Grass is", "a": [" green", " pink", " loud"]},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(one) for one in questions))
    task = {
        "task": "three_questions",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "q.jsonl")}, "cache_dir": str(tmp_path)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{a}}",
        "doc_to_target": 0,
        "target_delimiter": "",
    }
    formats.write(steering, tmp_path / "v.pt", "lm-eval")

    def run(lm: Any) -> list[float]:
        found = lm_eval.simple_evaluate(lm, tasks=[dict(task)], bootstrap_iters=0, verbosity="ERROR")
        return [
            float(pair[0]) for one in found["samples"]["three_questions"] for pair in one["filtered_resps"]
        ]

    held = {"pretrained": engine.model, "tokenizer": engine.tokenizer, "backend": "causal"}
    theirs = run(SteeredModel(steer_path=str(tmp_path / "v.pt"), **held))
    plain = HFLM(**held)
    unsteered = run(plain)
    with trimtab.on(engine.model, steering):
        ours = run(plain)
    assert len(ours) == 9
    assert theirs == pytest.approx(ours, abs=1e-3)
    assert max(abs(a - b) for a, b in zip(ours, unsteered, strict=True)) > 0.5

"""Steering while transformers' own `Trainer` evaluates: losses of the steered model, steps of the plain one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import random_steering, tiny_engine

from trimtab.errors import ModelError
from trimtab.steering.steering import Steering
from trimtab.trainer import SteerWhileEvaluating

pytest.importorskip("accelerate")
ROWS = [{"input_ids": [5 + n, 9, 11, 2 + n, 7], "labels": [5 + n, 9, 11, 2 + n, 7]} for n in range(4)]


@pytest.fixture
def engine() -> Any:
    return tiny_engine("llama")


@pytest.fixture
def steering(engine: Any) -> Steering:
    return random_steering(engine, strength=2.0)


def trainer(model: Any, out: Path, *callbacks: Any, data: Any = ROWS, **options: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    chosen = {
        "max_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "per_device_train_batch_size": 2,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
    }
    arguments = TrainingArguments(str(out), **{**chosen, **options})
    return Trainer(model, arguments, train_dataset=ROWS, eval_dataset=data, callbacks=list(callbacks))


def losses(trained: Any, name: str = "eval_loss") -> list[float]:
    return [line[name] for line in trained.state.log_history if name in line]


def test_evaluations_are_steered_and_training_is_not(engine: Any, steering: Steering, tmp_path: Path) -> None:
    found = {}
    for name in ("plain", "steered"):
        model = copy.deepcopy(engine.model)
        callbacks = [SteerWhileEvaluating(steering)] if name == "steered" else []
        made = trainer(model, tmp_path, *callbacks, eval_on_start=True)
        made.train()
        found[name] = (losses(made), model)
        assert not any(module._forward_hooks for module in model.model.layers)
    plain, steered = found["plain"], found["steered"]
    assert len(plain[0]) == len(steered[0]) == 3
    assert all(abs(a - b) > 0.05 for a, b in zip(plain[0], steered[0], strict=True))
    same = zip(plain[1].parameters(), steered[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)

    by_hand = trainer(plain[1], tmp_path)
    with steering.on(plain[1], allow_other_model=True):
        assert by_hand.evaluate()["eval_loss"] == pytest.approx(steered[0][-1], abs=1e-5)


def test_several_sets_are_all_steered(engine: Any, steering: Steering, tmp_path: Path) -> None:
    made = trainer(
        copy.deepcopy(engine.model),
        tmp_path,
        SteerWhileEvaluating(steering),
        data={"a": ROWS, "b": ROWS},
        eval_strategy="epoch",
        max_steps=-1,
        num_train_epochs=1,
    )
    made.train()
    assert losses(made, "eval_a_loss") == losses(made, "eval_b_loss")


def test_what_would_go_unsteered_is_an_error(engine: Any, steering: Steering, tmp_path: Path) -> None:
    callback = SteerWhileEvaluating(steering)
    model = copy.deepcopy(engine.model)
    made = trainer(model, tmp_path, callback)
    with pytest.raises(ModelError, match="this evaluation is not steered"):
        made.evaluate()
    with steering.on(model):
        assert made.evaluate()["eval_loss"] > 0


def test_a_failed_evaluation_can_be_taken_off(engine: Any, steering: Steering, tmp_path: Path) -> None:
    callback = SteerWhileEvaluating(steering)
    model = copy.deepcopy(engine.model)
    made = trainer(model, tmp_path, callback, data=[{"input_ids": [10**9], "labels": [1]}])
    with pytest.raises(IndexError):
        made.train()
    callback.off()
    assert not any(module._forward_hooks for module in model.model.layers)

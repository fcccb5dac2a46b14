from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trimtab.errors import ModelError
from trimtab.vllm.worker.runners import SteeringState
from trimtab.vllm.worker.table import SteeringTable
from trimtab.vllm.worker.worker import SteeringWorker


def worker_of(model: Any, state: SteeringState | None = None) -> SteeringWorker:
    worker = SteeringWorker()
    model.trimtab = state
    worker.model_runner = SimpleNamespace(get_model=lambda: model)
    return worker


def test_a_worker_that_does_not_record_says_so() -> None:
    pytest.importorskip("vllm")
    table = SteeringTable([0], 4, slots=1, gates=1, tokens=4, dtype=torch.float32, device="cpu")
    worker = worker_of(torch.nn.Linear(1, 1), SteeringState(table))
    with pytest.raises(ModelError, match="record=True"):
        worker.trimtab_record_begin(b"")
    with pytest.raises(ModelError, match="record=True"):
        worker.trimtab_record_result()


def test_a_worker_that_serves_no_steering_says_so() -> None:
    worker = worker_of(torch.nn.Linear(1, 1))
    for ask in (worker.trimtab_status, worker.trimtab_record_result, lambda: worker.trimtab_forget("x")):
        with pytest.raises(ModelError, match="serves no steering"):
            ask()


def test_weights_are_told_apart() -> None:
    one, other = worker_of(torch.nn.Linear(1, 1)), worker_of(torch.nn.Linear(1, 2))
    assert one.trimtab_fingerprint() == one.trimtab_fingerprint() != other.trimtab_fingerprint()

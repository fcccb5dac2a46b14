"""Relearning: the edits of a moved steering, taught by the model it was made on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.learn.scripted import HELD_OUT, QUERIES, Scripted
from tests.tiny import random_steering

from trimtab.learn.distillation import targets, training
from trimtab.learn.distillation.relearn import relearn
from trimtab.learn.distillation.schedule import Schedule
from trimtab.steering.steering import Steering


def relearned(engine: Scripted, **settings: Any) -> Steering:
    schedule = Schedule(steps=2, batch_size=4)
    moved = random_steering(engine)
    return relearn(engine, engine, moved, QUERIES, HELD_OUT, "no_commas", schedule=schedule, **settings)


def test_batches_that_do_not_fit_are_halved_on_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Scripted()
    whole = relearned(engine)
    tried: list[int] = []
    enough = targets.answer_logits

    def limited(engine: Any, rows: Any) -> torch.Tensor:
        tried.append(len(rows.ids))
        if len(rows.ids) > 3:
            raise torch.OutOfMemoryError("simulated")
        return enough(engine, rows)

    monkeypatch.setattr(targets, "answer_logits", limited)
    monkeypatch.setattr(training, "answer_logits", limited)
    halved = relearned(engine)
    assert max(tried) > 3  # choosing the teacher goes through two rows at once, teaching through more
    for one, other in zip(halved.edits, whole.edits, strict=True):
        torch.testing.assert_close(one.u, other.u, atol=1e-4, rtol=1e-3)


def test_its_steps_are_told_with_their_loss() -> None:
    told: list[tuple[Any, ...]] = []
    relearned(Scripted(), progress=lambda *what: told.append(what))
    assert ("no_commas: answering as instructed", 8, 8) in [what[:3] for what in told]
    assert told[-1][:3] == ("no_commas: learning", 2, 2)
    assert told[-1][3].startswith("loss ")

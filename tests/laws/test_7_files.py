"""Law 7: save, load, and the logits are identical. A file for another model is refused, the reason in the message."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, logits_of, random_steering, tokens_of

from trimtab.errors import SteeringError
from trimtab.steering.steering import Steering


def test_a_saved_and_loaded_steering_gives_identical_logits(engine: Any, tmp_path: Path) -> None:
    steering = random_steering(engine, 1, "prompt") + random_steering(engine, 2) * 0.5
    steering.save(tmp_path / "steering")
    loaded = Steering.load(tmp_path / "steering", engine.identity)
    assert torch.equal(logits_of(engine, PROMPTS, loaded), logits_of(engine, PROMPTS, steering))
    once = engine.generate(PROMPTS, steering=steering, max_new_tokens=8)
    assert tokens_of(engine.generate(PROMPTS, steering=loaded, max_new_tokens=8)) == tokens_of(once)


def test_a_steering_for_another_model_is_refused_everywhere(engine: Any) -> None:
    steering = random_steering(engine)
    other = dataclasses.replace(engine.identity, id="another-model", width=engine.identity.width + 1)
    edits = tuple(
        dataclasses.replace(
            edit, u=torch.ones(other.width), p=None if edit.p is None else torch.ones(other.width)
        )
        for edit in steering.edits
    )
    foreign = Steering("foreign", edits, dataclasses.replace(steering.record, model=other))
    for call in (
        lambda: engine.generate(PROMPTS, steering=foreign, max_new_tokens=4),
        lambda: engine.generate(PROMPTS, steering=[None, foreign, None], max_new_tokens=4),
        lambda: engine.stream(PROMPTS[0], steering=foreign, max_new_tokens=4),
        lambda: engine.score(PROMPTS, ["a"] * 3, steering=foreign),
        lambda: engine.steered(foreign),
    ):
        with pytest.raises(SteeringError, match="another-model") as caught:
            call()
        for part in (str(other.width), str(engine.identity.width), engine.identity.id):
            assert part in str(caught.value)

"""Law 1: an empty steering, or scale 0, leaves logits bit-identical, and costs nothing: no hook is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, logits_of, random_steering, tokens_of

from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


def _nothing(engine: Any, kind: str) -> Steering | None:
    record = Record(engine.identity)
    width = engine.identity.width
    if kind == "none":
        return None
    if kind == "empty":
        return Steering("empty", (), record)
    if kind == "zero strength":
        return random_steering(engine) * 0.0
    if kind == "zero scoped":
        return random_steering(engine, tokens="generated") * 0.0
    if kind == "zero edits":
        return Steering("zero", tuple(edit.scaled(0.0) for edit in random_steering(engine).edits), record)
    ones = torch.ones(width)
    return Steering("zero", (Edit.add(0, ones, 0.0), Edit(0, ones, p=torch.zeros(width))), record)


@pytest.mark.parametrize(
    "kind", ["none", "empty", "zero strength", "zero scoped", "zero edits", "zero alpha and gate"]
)
def test_nothing_is_bit_identical_and_installs_no_hook(engine: Any, kind: str) -> None:
    before = hooks_of(engine.model)
    plain = logits_of(engine, PROMPTS)
    steering = _nothing(engine, kind)
    with engine.steered(steering, [3]):
        assert hooks_of(engine.model) == before
    assert torch.equal(logits_of(engine, PROMPTS, steering), plain)


def test_scale_zero_after_a_steered_call_is_the_baseline(engine: Any) -> None:
    steering = random_steering(engine)
    baseline = tokens_of(engine.generate(PROMPTS, max_new_tokens=8))
    steered = tokens_of(engine.generate(PROMPTS, steering=steering, max_new_tokens=8))
    assert steered != baseline
    assert tokens_of(engine.generate(PROMPTS, steering=steering * 0.0, max_new_tokens=8)) == baseline
    assert tokens_of(engine.generate(PROMPTS, max_new_tokens=8)) == baseline


def test_only_blocks_with_edits_get_hooks(engine: Any) -> None:
    block = engine.identity.blocks - 1
    edit = Edit.add(block, torch.ones(engine.identity.width))
    blocks = engine.decoder_blocks.blocks
    before = [hooks_of(one) for one in blocks]
    with engine.steered(Steering("one", (edit,), Record(engine.identity))):
        assert [hooks_of(one) for one in blocks] == [*before[:-1], before[-1] + 1]


def test_unsteered_rows_of_a_steered_batch_are_bit_identical(engine: Any) -> None:
    """The rows of a block with edits go through the same sums; adding nothing must change nothing."""
    from tests.tiny import inputs_of

    from trimtab.steering.hooks import Steered

    inputs = inputs_of(engine, PROMPTS)
    rows = [(), random_steering(engine).edits, ()]
    with torch.no_grad():
        plain = engine.model(**inputs, use_cache=False).logits[:, -1]
        with Steered(engine.decoder_blocks, rows):
            mixed = engine.model(**inputs, use_cache=False).logits[:, -1]
    assert torch.equal(mixed[0], plain[0])
    assert torch.equal(mixed[2], plain[2])
    assert not torch.allclose(mixed[1], plain[1])

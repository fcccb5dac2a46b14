"""Law 6: composition is order-free, and scaling is linear where the method is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, logits_of, outputs_of, random_steering, tokens_of


def test_the_order_of_a_composition_does_not_matter(engine: Any) -> None:
    first, second, third = (random_steering(engine, seed, strength=0.4) for seed in (1, 2, 3))
    forwards, backwards = (first + second) + third, third + (second + first)
    one, other = logits_of(engine, PROMPTS, forwards), logits_of(engine, PROMPTS, backwards)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(one, logits_of(engine, PROMPTS, first + second), rtol=1e-2, atol=1e-2)
    responses = engine.generate(PROMPTS, steering=forwards, max_new_tokens=10)
    assert tokens_of(engine.generate(PROMPTS, steering=backwards, max_new_tokens=10)) == tokens_of(responses)


@pytest.mark.parametrize("strength", [-1.0, 0.5, 3.0])
def test_the_change_is_linear_in_the_strength(engine: Any, strength: float) -> None:
    steering = random_steering(engine, 5)
    block = steering.edits[0].block  # two edits, one of them gated
    plain, once, scaled = (
        outputs_of(engine, PROMPTS[0], which)[block].double()
        for which in (None, steering, steering * strength)
    )
    scale = float((once - plain).abs().max())
    torch.testing.assert_close((scaled - plain), (once - plain) * strength, rtol=1e-3, atol=1e-4 * scale)
    assert scale > 0


def test_a_steering_and_its_opposite_are_nothing(engine: Any) -> None:
    steering = random_steering(engine, 6)
    plain = outputs_of(engine, PROMPTS[0])
    both = outputs_of(engine, PROMPTS[0], steering + -steering)
    torch.testing.assert_close(both[-1], plain[-1], rtol=1e-3, atol=1e-3)

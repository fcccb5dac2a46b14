"""Law 10: when a steering acts is decided for each row from its prompt alone; where it does not, nothing happens."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, inputs_of, logits_of, random_steering, tokens_of

from trimtab.errors import SteeringError
from trimtab.steering.steering import Steering
from trimtab.steering.when import Matches, Resembles, When

NAMED = Matches("rocket|moon")  # the first and the last prompt
NAMED_TRUTH = [True, False, True]


def learned(engine: Any, holding: int, tokens: str = "last") -> When:
    """Reads a block; holds for so many of the prompts, those of the highest cosines."""
    block = engine.identity.blocks - 1
    direction = torch.randn(engine.identity.width, generator=torch.Generator().manual_seed(3))
    probe = Resembles(engine.identity, block, direction, 0.0, tokens)
    scores = sorted(cosines(engine, probe), reverse=True)
    edges = [1.0, *[(one + other) / 2 for one, other in pairwise(scores)], -1.0]
    return Resembles(engine.identity, block, direction, edges[holding], tokens)


def cosines(engine: Any, probe: Resembles) -> list[float]:
    """Of each prompt alone, read by other means than deciding."""
    return [
        probe.score(
            engine.capture([prompt], blocks=[probe.block], positions=probe.tokens, keep=True).activations[
                0, 0
            ]
        )
        for prompt in PROMPTS
    ]


@pytest.mark.parametrize("kind", ["matches", "mean"])
def test_a_condition_that_is_false_leaves_logits_bit_identical_and_installs_no_hook(
    engine: Any, kind: str
) -> None:
    never = Matches("no such words") if kind == "matches" else learned(engine, 0, kind)
    before, plain = hooks_of(engine.model), logits_of(engine, PROMPTS)
    steering = random_steering(engine).when(never)
    with engine.steered(steering, prompts=PROMPTS), torch.no_grad():
        assert hooks_of(engine.model) == before
        assert torch.equal(engine.model(**inputs_of(engine, PROMPTS), use_cache=False).logits[:, -1], plain)


def test_rows_for_which_it_is_false_are_bit_identical_beside_others(engine: Any) -> None:
    inputs, plain = inputs_of(engine, PROMPTS), logits_of(engine, PROMPTS)
    steering = random_steering(engine)
    rows = [steering.when(NAMED), steering.when(NAMED), steering]
    with engine.steered(rows, prompts=PROMPTS), torch.no_grad():
        some = engine.model(**inputs, use_cache=False).logits[:, -1]
    everywhere = logits_of(engine, PROMPTS, steering)
    for row, holds in enumerate(NAMED_TRUTH):
        assert torch.equal(some[row], plain[row]) != holds
        if holds:
            torch.testing.assert_close(some[row], everywhere[row], rtol=1e-3, atol=1e-3)


def test_each_part_of_a_composition_keeps_its_own_condition(engine: Any) -> None:
    """Generated, scored and streamed, rows are those that get by hand what their prompt asks for, alone."""
    first, second, third = (random_steering(engine, seed, strength=0.8) for seed in (1, 2, 3))
    probe = learned(engine, 2)
    assert isinstance(probe, Resembles)
    truth = [score > probe.threshold for score in cosines(engine, probe)]
    assert sorted(truth) == [False, True, True]
    whole = first.when(NAMED) + second.when(probe) + third.when(~NAMED & probe)
    by_hand = []
    for named, like in zip(NAMED_TRUTH, truth, strict=True):
        acting = [
            part for part, acts in ((first, named), (second, like), (third, like and not named)) if acts
        ]
        by_hand.append(Steering("by hand", tuple(e for part in acting for e in part.edits), first.record))

    batch = engine.generate(PROMPTS, steering=whole, max_new_tokens=5)
    for row, prompt in enumerate(PROMPTS):
        [alone] = engine.generate([prompt], steering=by_hand[row], max_new_tokens=5)
        assert batch[row].token_ids == alone.token_ids
    assert "".join(engine.stream(PROMPTS[0], steering=whole, max_new_tokens=5)) == batch[0].text
    responses = ["moon", "a longer answer", "x"]
    expected = engine.score(PROMPTS, responses, steering=by_hand)
    assert engine.score(PROMPTS, responses, steering=whole) == pytest.approx(expected, rel=1e-4)


def test_beams_keep_the_decision_of_their_prompt(engine: Any) -> None:
    steering = random_steering(engine, 1, strength=1.5)
    rows, by_hand = [steering.when(NAMED), steering.when(NAMED), None], [steering, None, None]
    settings = {"max_new_tokens": 3, "num_beams": 2, "num_return_sequences": 2}
    conditional = engine.generate(PROMPTS, steering=rows, **settings)
    assert tokens_of(conditional) == tokens_of(engine.generate(PROMPTS, steering=by_hand, **settings))


def test_saved_and_loaded_it_decides_the_same(engine: Any, tmp_path: Path) -> None:
    probe = learned(engine, 1)
    steering = random_steering(engine, 1).when(probe) + random_steering(engine, 2).when(NAMED | ~probe)
    loaded = Steering.load(steering.save(tmp_path / "steering"), engine.identity)
    assert loaded.whens == steering.whens
    before, after = ([row.digest() for row in engine.decided(s, PROMPTS)] for s in (steering, loaded))
    assert before == after
    assert len(set(after)) > 1


def test_without_prompts_there_is_nothing_to_decide_on(engine: Any) -> None:
    steering = random_steering(engine).when(NAMED)
    with pytest.raises(SteeringError, match="give the prompt of each row"):
        engine.steered(steering)

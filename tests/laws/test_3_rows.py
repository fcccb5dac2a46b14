"""Law 3: a row in a padded batch equals the same row alone; rows may carry different steerings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, inputs_of, logits_of, random_steering, tokens_of

from trimtab.constraint import Constraint
from trimtab.steering.hooks import Steered


@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_generation_of_a_row_is_that_of_the_row_alone(engine: Any, scope: str) -> None:
    rows = [random_steering(engine, 1, scope), None, random_steering(engine, 2, scope)]
    batch = engine.generate(PROMPTS, steering=rows, max_new_tokens=20)
    alone = [
        engine.generate([prompt], steering=row, max_new_tokens=20)[0]
        for prompt, row in zip(PROMPTS, rows, strict=True)
    ]
    assert tokens_of(batch) == tokens_of(alone)
    assert [one.text for one in batch] == [one.text for one in alone]
    assert [one.finished for one in batch] == [one.finished for one in alone]
    assert [one.prompt_index for one in batch] == [0, 1, 2]


def test_rows_keep_their_order_whatever_the_batches(engine: Any) -> None:
    prompts = [*PROMPTS, "go", *PROMPTS]
    rows = [random_steering(engine, seed) if seed % 2 else None for seed in range(len(prompts))]
    whole = engine.generate(prompts, steering=rows, max_new_tokens=6)
    for size in (1, 2):
        parts = engine.generate(prompts, steering=rows, max_new_tokens=6, batch_size=size)
        assert tokens_of(parts) == tokens_of(whole)


def test_a_row_held_to_a_constraint_is_that_of_the_row_alone_and_leaves_the_others_as_they_are(
    engine: Any,
) -> None:
    constraints = [Constraint.regex("[a-z ]{4,9}[.!]"), None, Constraint.json_schema({"type": "integer"})]
    rows = [random_steering(engine, 1), random_steering(engine, 2), None]
    batch = engine.generate(PROMPTS, steering=rows, constraints=constraints, max_new_tokens=20)
    alone = [
        engine.generate([prompt], steering=row, constraints=constraint, max_new_tokens=20)[0]
        for prompt, row, constraint in zip(PROMPTS, rows, constraints, strict=True)
    ]
    assert tokens_of(batch) == tokens_of(alone)
    assert [one.finished for one in batch] == [one.finished for one in alone]
    assert re.fullmatch("[a-z ]{4,9}[.!]", batch[0].text)
    assert re.fullmatch("-?[0-9]+", batch[2].text)
    assert batch[1] == engine.generate(PROMPTS, steering=rows, max_new_tokens=20)[1]
    assert batch[1].taken is None
    assert batch[0].taken == pytest.approx(alone[0].taken, abs=1e-3)


def test_a_plain_forward_pass_steers_every_row(engine: Any) -> None:
    rows = [random_steering(engine, 1), random_steering(engine, 2), random_steering(engine, 1)]
    with torch.no_grad(), Steered(engine.decoder_blocks, [row.edits for row in rows]):
        logits = engine.model(**inputs_of(engine, PROMPTS), use_cache=False).logits[:, -1]
    for number, (prompt, row) in enumerate(zip(PROMPTS, rows, strict=True)):
        alone = logits_of(engine, [prompt], row)[0]
        torch.testing.assert_close(logits[number], alone, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(logits_of(engine, [prompt])[0], alone, rtol=1e-2, atol=1e-2)


def test_captured_activations_do_not_depend_on_the_batch(engine: Any) -> None:
    batch = engine.capture(PROMPTS, keep=True).activations
    alone = torch.cat([engine.capture([prompt], keep=True).activations for prompt in PROMPTS])
    torch.testing.assert_close(batch, alone, rtol=1e-3, atol=1e-3)


def test_scores_do_not_depend_on_the_batch(engine: Any) -> None:
    responses = ["moon", "a longer answer", "x"]
    rows = [None, random_steering(engine, 1, "generated", 2.0), random_steering(engine, 2, strength=2.0)]
    batch = engine.score(PROMPTS, responses, steering=rows)
    alone = [
        engine.score([prompt], [response], steering=row)[0]
        for prompt, response, row in zip(PROMPTS, responses, rows, strict=True)
    ]
    assert batch == pytest.approx(alone, rel=1e-4)
    plain = engine.score(PROMPTS, responses)
    assert batch[0] == pytest.approx(plain[0], rel=1e-4)
    assert all(abs(one - other) > 1e-3 for one, other in zip(batch[1:], plain[1:], strict=True))

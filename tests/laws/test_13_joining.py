"""Law 13: a row that joins the running batch late and leaves it early is answered as it would be alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tiny import PROMPTS, random_steering

from trimtab.engines.continuous import Ask, RunningBatch

LENGTHS = (24, 3, 9, 17, 5, 12)
SCOPES = ("all", "prompt", "generated")


@pytest.fixture
def asks(engine: Any) -> list[tuple[str, Any, int]]:
    """Prompts of unlike lengths with unlike steerings, each a scope, and none for some, and lengths of answers."""
    prompts = [*PROMPTS, "a", "what is it that the moon does to the sea?", "go on"]
    steerings = [random_steering(engine, seed, SCOPES[seed % 3]) if seed % 4 else None for seed in range(6)]
    return list(zip(prompts, steerings, LENGTHS, strict=True))


@pytest.mark.parametrize("places", [2, 5])
def test_a_row_that_joins_late_and_leaves_early_is_that_of_the_row_alone(
    engine: Any, asks: list[tuple[str, Any, int]], places: int
) -> None:
    batch = RunningBatch(engine, max_rows=places)
    running = []
    for prompt, steering, length in asks:
        [tokens] = engine.encoding.prompts([prompt])
        edits = () if steering is None else steering.edits
        running.append(batch.submit(Ask(tokens, edits, max_new_tokens=length)))
        batch.step()
        assert batch.running <= places
    for _ in range(sum(LENGTHS)):
        batch.step()
    assert batch.is_idle
    for one, (prompt, steering, length) in zip(running, asks, strict=True):
        [alone] = engine.generate([prompt], steering=steering, max_new_tokens=length)
        assert tuple(one.token_ids) == alone.token_ids
        assert one.ended == ("stop" if alone.finished else "length")

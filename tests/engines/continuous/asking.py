"""Requests to a running batch, and what comes of them."""

from __future__ import annotations

from typing import Any

from trimtab.engines.continuous import Ask, Event, RunningBatch


def finished(batch: RunningBatch, most: int = 10_000) -> list[Event]:
    """All that happens until nobody is left."""
    events: list[Event] = []
    for _ in range(most):
        if batch.is_idle:
            return events
        events += batch.step()
    raise AssertionError("the batch does not come to an end")


def asked(engine: Any, prompt: Any, steering: Any = None, **options: Any) -> Ask:
    """A request for what `engine.generate` would be given."""
    [tokens] = engine.encoding.prompts([prompt])
    [edits] = engine.edits_of_rows(steering, 1, [prompt])
    return Ask(tokens, edits, **options)


def alone(engine: Any, prompt: Any, steering: Any = None, **options: Any) -> list[int]:
    """The tokens of the answer that the engine gives to nothing else."""
    [answer] = engine.generate([prompt], steering=steering, **options)
    return list(answer.token_ids)

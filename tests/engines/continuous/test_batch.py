from __future__ import annotations

from typing import Any

from tests.tiny import PROMPTS, random_steering

from trimtab.engines.continuous import Ask, Event, Running, RunningBatch


def answered(batch: RunningBatch, most: int = 10_000) -> list[Event]:
    """All that happens until nobody is left."""
    events: list[Event] = []
    for _ in range(most):
        if batch.is_idle:
            return events
        events += batch.step()
    raise AssertionError("the batch does not come to an end")


def asked(engine: Any, prompt: Any, steering: Any = None, **options: Any) -> Ask:
    [tokens] = engine.encoding.prompts([prompt])
    [edits] = engine.edits_of_rows(steering, 1, [prompt])
    return Ask(tokens, edits, **options)


def test_rows_that_join_late_and_leave_early_are_answered_as_alone(engines: Any) -> None:
    for name in ("llama", "nano"):
        engine = engines(name)
        rows = [
            (prompt, random_steering(engine, seed) if seed else None, 5 + 9 * seed)
            for seed, prompt in enumerate(PROMPTS)
        ]
        alone = [engine.generate([p], steering=s, max_new_tokens=n)[0] for p, s, n in rows]
        batch = RunningBatch(engine, max_rows=2)
        running: list[Running] = []
        for p, s, n in rows:
            running.append(batch.submit(asked(engine, p, s, max_new_tokens=n)))
            batch.step()
        answered(batch)
        assert [tuple(one.token_ids) for one in running] == [one.token_ids for one in alone]
        assert [one.ended == "stop" for one in running] == [one.finished for one in alone]

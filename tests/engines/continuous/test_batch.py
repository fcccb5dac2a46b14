from __future__ import annotations

from typing import Any

import torch
from tests.tiny import PROMPTS, random_steering

from trimtab.engines.continuous import Ask, Event, Running, RunningBatch
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


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


def test_a_row_whose_logits_are_not_finite_ends_alone_and_says_why(engines: Any) -> None:
    engine = engines("llama")
    many = torch.full((engine.identity.width,), 1e15)
    edits = [Edit(block, many, alpha=1.0, p=many) for block in range(engine.identity.blocks)]
    strong = Steering("strong", edits, Record(engine.identity))
    batch = RunningBatch(engine)
    good = batch.submit(asked(engine, PROMPTS[0], max_new_tokens=4))
    drawn = batch.submit(asked(engine, PROMPTS[1], strong, max_new_tokens=4, do_sample=True))
    bad = batch.submit(asked(engine, PROMPTS[1], strong, max_new_tokens=4))
    answered(batch)
    [alone] = engine.generate(PROMPTS[:1], max_new_tokens=4)
    assert tuple(good.token_ids) == alone.token_ids
    for one in (drawn, bad):
        assert one.ended == "error"
        assert "lower the strength of the steering" in str(one.error)
        assert one.token_ids == []

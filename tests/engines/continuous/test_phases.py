"""Edits of the answer alone, behind a thought that the model writes: each row is where it is."""

from __future__ import annotations

from typing import Any

from tests.engines.continuous.asking import alone, asked, finished
from tests.tiny import PROMPTS, random_steering, thinking

from trimtab.engines.continuous import RunningBatch


def test_edits_of_the_answer_begin_behind_the_thought_of_each_row(tiny_llama: Any) -> None:
    engine = thinking(tiny_llama)
    prompts = [*PROMPTS, "a", "go on"]
    for scope in ("answer", "generated", "prompt"):
        steerings = [random_steering(engine, seed, scope) if seed else None for seed in range(5)]
        batch = RunningBatch(engine, max_rows=3)
        running = []
        for prompt, steering in zip(prompts, steerings, strict=True):
            running.append(batch.submit(asked(engine, prompt, steering, max_new_tokens=18)))
            batch.step()
        finished(batch)
        expected = [
            alone(engine, prompt, steering, max_new_tokens=18)
            for prompt, steering in zip(prompts, steerings, strict=True)
        ]
        assert [one.token_ids for one in running] == expected


def test_what_stands_behind_the_prompt_counts_as_written(tiny_llama: Any) -> None:
    engine = thinking(tiny_llama)
    for scope in ("answer", "generated", "prompt"):
        steering = random_steering(engine, 3, scope)
        whole = asked(engine, PROMPTS[0], steering, max_new_tokens=18)
        expected = alone(engine, PROMPTS[0], steering, max_new_tokens=18)
        batch = RunningBatch(engine)
        running = batch.submit(
            type(whole)(
                [*whole.prompt_tokens, *expected[:7]],
                whole.edits,
                prompt_length=len(whole.prompt_tokens),
                max_new_tokens=11,
            )
        )
        finished(batch)
        assert running.token_ids == expected[7:]

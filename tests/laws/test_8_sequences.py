"""Law 8: beams, sampling with several sequences per prompt, and streaming keep each row's own steering."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tiny import PROMPTS, random_steering, tokens_of


@pytest.fixture
def rows(engine: Any) -> list[Any]:
    # Strong enough to change the few tokens of a model as sure of itself as nano.
    return [
        random_steering(engine, 1, "generated", strength=1.5),
        None,
        random_steering(engine, 2, strength=1.5),
    ]


def test_beams(engine: Any, rows: list[Any]) -> None:
    settings = {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2}
    batch = engine.generate(PROMPTS, steering=rows, **settings)
    assert [one.prompt_index for one in batch] == [0, 0, 1, 1, 2, 2]
    alone = [
        one
        for prompt, row in zip(PROMPTS, rows, strict=True)
        for one in engine.generate([prompt], steering=row, **settings)
    ]
    assert tokens_of(batch) == tokens_of(alone)
    plain = engine.generate(PROMPTS, **settings)
    changed = [one.token_ids != other.token_ids for one, other in zip(batch, plain, strict=True)]
    assert any(changed[:2])
    assert any(changed[4:])
    assert changed[2:4] == [False, False]


def test_several_samples_of_a_prompt(engine: Any, rows: list[Any]) -> None:
    """With only the most likely token to draw from, every sample must be the row's own greedy response."""
    greedy = engine.generate(PROMPTS, steering=rows, max_new_tokens=20)
    settings = {"do_sample": True, "top_k": 1, "num_return_sequences": 3, "max_new_tokens": 20}
    samples = engine.generate(PROMPTS, steering=rows, **settings)
    assert [one.prompt_index for one in samples] == [0] * 3 + [1] * 3 + [2] * 3
    assert tokens_of(samples) == [tokens for tokens in tokens_of(greedy) for _ in range(3)]


def test_sampling_is_repeatable_and_really_samples(engine: Any, rows: list[Any]) -> None:
    settings = {
        "do_sample": True,
        "num_return_sequences": 2,
        "max_new_tokens": 10,
        "temperature": 2.0,
        "top_k": 0,
    }
    once = tokens_of(engine.generate(PROMPTS, steering=rows, seed=1, **settings))
    assert tokens_of(engine.generate(PROMPTS, steering=rows, seed=1, **settings)) == once
    assert tokens_of(engine.generate(PROMPTS, steering=rows, seed=2, **settings)) != once
    assert len(set(once)) > len(PROMPTS)


def test_streaming(engine: Any, rows: list[Any]) -> None:
    batch = engine.generate(PROMPTS, steering=rows, max_new_tokens=12)
    streams = [
        engine.stream(prompt, steering=row, max_new_tokens=12)
        for prompt, row in zip(PROMPTS, rows, strict=True)
    ]
    texts = ["", "", ""]
    while streams:  # a piece of each in turn: they must not disturb each other
        for number, stream in enumerate(streams):
            piece = next(stream, None) if stream is not None else None
            texts[number] += piece or ""
            streams[number] = stream if piece is not None else None
        if not any(streams):
            break
    assert texts == [one.text for one in batch]

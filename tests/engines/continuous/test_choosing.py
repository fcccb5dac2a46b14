from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tests.engines.continuous.asking import alone, asked, finished
from tests.tiny import PROMPTS, logits_of, random_steering, tiny_engine

from trimtab.constraint import Constraint
from trimtab.engines.constraining import Start
from trimtab.engines.continuous import RunningBatch


def sampled(engine: Any, company: int = 0, **options: Any) -> list[int]:
    """A sample, with so many other rows beside it, that come and go."""
    batch = RunningBatch(engine)
    for number in range(company):
        batch.submit(asked(engine, PROMPTS[number % 3], do_sample=number % 2 == 0, max_new_tokens=3 + number))
    batch.step()
    running = batch.submit(asked(engine, PROMPTS[0], do_sample=True, max_new_tokens=16, **options))
    finished(batch)
    return running.token_ids


def test_a_seed_gives_the_same_sample_whatever_else_is_in_the_batch(tiny_llama: Any) -> None:
    state = torch.get_rng_state()
    first = sampled(tiny_llama, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert sampled(tiny_llama, 5, seed=7) == first
    assert sampled(tiny_llama, 5, seed=8) != first
    assert sampled(tiny_llama) != sampled(tiny_llama)


def test_settings_are_those_of_each_row(tiny_llama: Any) -> None:
    greedy = alone(tiny_llama, PROMPTS[0], max_new_tokens=16)
    assert sampled(tiny_llama, 4, top_k=1) == greedy
    assert sampled(tiny_llama, 4, top_p=1e-6) == greedy
    assert sampled(tiny_llama, 4, temperature=1e-4, seed=1) == greedy
    assert sampled(tiny_llama, 4, temperature=5.0, seed=1) != greedy


@pytest.mark.parametrize(
    "own",
    [
        {"repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": [*range(100, 264)]},
        {"min_new_tokens": 12, "eos_token_id": [*range(2, 200)]},
    ],
)
def test_the_models_own_settings_hold_for_each_row(own: dict[str, Any]) -> None:
    engine = tiny_engine()
    plain = [alone(engine, prompt, max_new_tokens=16) for prompt in PROMPTS]
    for name, value in own.items():
        setattr(engine.model.generation_config, name, value)
    engine = type(engine)(engine.model, engine.tokenizer, model_id="own settings")
    batch = RunningBatch(engine)
    running = []
    for prompt in PROMPTS:
        running.append(batch.submit(asked(engine, prompt, max_new_tokens=16)))
        batch.step()
    finished(batch)
    expected = [alone(engine, prompt, max_new_tokens=16) for prompt in PROMPTS]
    assert [one.token_ids for one in running] == expected != plain


def test_log_probabilities_are_the_steered_models_own(tiny_llama: Any) -> None:
    steering = random_steering(tiny_llama, 1)
    batch = RunningBatch(tiny_llama)
    batch.submit(asked(tiny_llama, PROMPTS[1], max_new_tokens=2))
    running = batch.submit(
        asked(
            tiny_llama,
            PROMPTS[0],
            steering,
            max_new_tokens=1,
            do_sample=True,
            temperature=3.0,
            seed=1,
            logprobs=4,
        )
    )
    other = batch.submit(asked(tiny_llama, PROMPTS[2], max_new_tokens=1, logprobs=0))
    events = {event.running: event for event in batch.step()}
    expected = logits_of(tiny_llama, [PROMPTS[0]], steering)[0].log_softmax(-1)
    event = events[running]
    assert event.token is not None
    assert event.logprob == pytest.approx(float(expected[event.token]), abs=1e-4)
    values, tokens = expected.topk(4)
    assert [token for token, _ in event.top_logprobs] == tokens.tolist()
    assert [value for _, value in event.top_logprobs] == pytest.approx(values.tolist(), abs=1e-4)
    best = logits_of(tiny_llama, [PROMPTS[2]])[0].log_softmax(-1).max()
    assert events[other].logprob == pytest.approx(float(best), abs=1e-4)
    assert events[other].top_logprobs == ()
    [free] = [event for event in events.values() if event.running not in (running, other)]
    assert free.logprob is None


@pytest.mark.parametrize("do_sample", [False, True])
def test_rows_are_held_each_to_its_own_constraint(tiny_llama: Any, do_sample: bool) -> None:
    patterns = ["[a-z ]{4,9}[.!]", None, "-?[0-9]{1,5}", "(yes|no)"]
    batch = RunningBatch(tiny_llama)
    running = []
    for number, pattern in enumerate(patterns):
        constraint = None if pattern is None else Constraint.regex(pattern)
        start = None if constraint is None else Start(tiny_llama.matchers.matcher(constraint))
        ask = asked(
            tiny_llama,
            PROMPTS[number % 3],
            constraint=start,
            max_new_tokens=20,
            do_sample=do_sample,
            seed=None,
        )
        running.append(batch.submit(ask))
        batch.step()
    finished(batch)
    for one, pattern in zip(running, patterns, strict=True):
        assert (one.taken is None) == (pattern is None)
        if pattern is not None:
            assert one.ended == "stop"
            assert re.fullmatch(pattern, tiny_llama.tokenizer.decode(one.token_ids))


def test_what_a_constraint_and_the_settings_forbid_together_ends_that_row_alone() -> None:
    engine = tiny_engine()
    engine.model.generation_config.suppress_tokens = engine.tokenizer("7", add_special_tokens=False)[
        "input_ids"
    ]
    batch = RunningBatch(engine)
    start = Start(engine.matchers.matcher(Constraint.regex("7+")))
    running = [
        batch.submit(asked(engine, PROMPTS[0], max_new_tokens=5)),
        batch.submit(asked(engine, PROMPTS[0], max_new_tokens=5, constraint=start)),
    ]
    finished(batch)
    assert [one.ended for one in running] == ["length", "error"]
    assert "suppress" in str(running[1].error)

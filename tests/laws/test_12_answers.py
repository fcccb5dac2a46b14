"""Law 12: edits for the answer leave prompt, thought and tool calls as they are, however the text is run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.laws.test_11_held import written
from tests.tiny import PROMPTS, hooks_of, inputs_of, random_steering, thinking, tokens_of

import trimtab
from trimtab.engines.padding import left_padded
from trimtab.steering.hooks import Steered

NEW = {"max_new_tokens": 20}


@pytest.fixture
def thinker(engine: Any) -> Any:
    return thinking(engine)


@pytest.fixture
def rows(engine: Any) -> list[Any]:
    """For the answer; beside others for what is generated; none."""
    own = [random_steering(engine, seed, "answer", 1.5) for seed in (1, 2)]
    return [own[0], own[1] + random_steering(engine, 3, "generated", 0.3), None]


def test_cached_equals_uncached(thinker: Any, rows: list[Any]) -> None:
    cached = tokens_of(thinker.generate(PROMPTS, steering=rows, **NEW))
    assert cached == tokens_of(thinker.generate(PROMPTS, steering=rows, use_cache=False, **NEW))
    assert cached != tokens_of(thinker.generate(PROMPTS, **NEW))


def test_rows_alone_and_streamed(thinker: Any, rows: list[Any]) -> None:
    batch = thinker.generate(PROMPTS, steering=rows, **NEW)
    for prompt, row, one in zip(PROMPTS, rows, batch, strict=True):
        [alone] = thinker.generate([prompt], steering=row, **NEW)
        assert (alone.token_ids, alone.text, alone.thought) == (one.token_ids, one.text, one.thought)
        assert "".join(thinker.stream(prompt, steering=row, **NEW)) == one.text


def test_beams_take_their_state_along(thinker: Any, rows: list[Any]) -> None:
    settings = {"max_new_tokens": 10, "num_beams": 3, "num_return_sequences": 2}
    cached = tokens_of(thinker.generate(PROMPTS, steering=rows, **settings))
    assert cached == tokens_of(thinker.generate(PROMPTS, steering=rows, use_cache=False, **settings))


def test_samples_of_a_prompt(thinker: Any, rows: list[Any]) -> None:
    greedy = tokens_of(thinker.generate(PROMPTS, steering=rows, **NEW))
    sampled = thinker.generate(PROMPTS, steering=rows, do_sample=True, top_k=1, num_return_sequences=2, **NEW)
    assert tokens_of(sampled) == [tokens for tokens in greedy for _ in range(2)]


def test_in_a_model_that_is_held(thinker: Any, rows: list[Any]) -> None:
    form = thinker.thoughts.form
    held = trimtab.on(thinker.model, rows, tokenizer=thinker.tokenizer, thoughts=form)
    assert held._thoughts is not None
    held._thoughts.__dict__["pieces"] = thinker.thoughts.pieces
    expected = tokens_of(thinker.generate(PROMPTS, steering=rows, **NEW))
    beams = {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2}
    best = tokens_of(thinker.generate(PROMPTS, steering=rows, **beams))
    with held:
        assert written(thinker, **NEW) == expected
        assert written(thinker, **beams) == best


def test_what_is_steered_is_the_answer(thinker: Any, engine: Any) -> None:
    """In one pass over a text, the same as edits for generated tokens at the tokens that are read as answer."""
    steering = random_steering(engine, 4, "answer", 2.0)
    starts = [thinker.encoding.prompts([prompt])[0] for prompt in PROMPTS]
    written = tokens_of(thinker.generate(PROMPTS, max_new_tokens=12))
    rows = [start + list(one) for start, one in zip(starts, written, strict=True)]
    ids, mask = left_padded(rows, 0, engine.device)
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "position_ids" in inputs_of(engine, PROMPTS):
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    answer = torch.zeros(ids.shape, dtype=torch.bool)
    for row, (start, one) in enumerate(zip(starts, written, strict=True)):
        labels = thinker.thoughts.of_answer(thinker.thoughts.after(start), one)
        answer[row, ids.shape[1] - len(one) :] = torch.tensor(labels)
    assert bool(answer.any())
    other = random_steering(engine, 4, "generated", 2.0)
    with torch.no_grad(), thinker.steered(steering, [len(start) for start in starts]):
        own = engine.model(**inputs).logits
    with torch.no_grad(), Steered(engine.decoder_blocks, [other.edits], answer):
        expected = engine.model(**inputs).logits
    seen = mask.bool()
    torch.testing.assert_close(own[seen], expected[seen], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert not torch.allclose(engine.model(**inputs).logits[seen], own[seen], rtol=1e-2, atol=1e-2)


def test_without_thoughts_the_answer_is_all_that_is_generated(engine: Any) -> None:
    whole = engine.generate(PROMPTS, steering=random_steering(engine, 1, "generated"), **NEW)
    assert whole == engine.generate(PROMPTS, steering=random_steering(engine, 1, "answer"), **NEW)


def test_nothing_is_left_on_the_model(thinker: Any, rows: list[Any]) -> None:
    # transformers leaves hooks of its own on a model that was asked for hidden states.
    before, hooks = set(vars(thinker.model)), hooks_of(thinker.model)
    stream = thinker.stream(PROMPTS[0], steering=rows[0], **NEW)
    next(stream, None)
    assert set(vars(thinker.model)) == before
    with pytest.raises(RuntimeError, match="stop"), thinker.steered(rows[0]):
        raise RuntimeError("stop")
    assert set(vars(thinker.model)) == before
    assert hooks_of(thinker.model) == hooks

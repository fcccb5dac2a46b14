"""Thoughts apart from answers in what an engine writes, streams, scores and holds to constraints."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tests.tiny import (
    BLOCKS,
    PROMPTS,
    VOCABULARY,
    WIDTH,
    random_steering,
    thinking,
    thinking_tokenizer,
    tiny_engine,
    tiny_model,
)

import trimtab
from trimtab.constraint import Constraint
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import SteeringError
from trimtab.measure.responses import measured, respond


@pytest.fixture(scope="module")
def thinker() -> Any:
    return thinking(tiny_engine())


@pytest.fixture(scope="module")
def opened() -> Any:
    """An engine whose template opens a thought."""
    model = tiny_model("llama", vocab_size=VOCABULARY + 8)
    return TransformersEngine(model, thinking_tokenizer(), model_id="opened")


def test_a_generation_has_its_parts(thinker: Any) -> None:
    found = thinker.generate(PROMPTS, max_new_tokens=30)
    plain = tiny_engine().generate(PROMPTS, max_new_tokens=30)
    assert [one.token_ids for one in found] == [one.token_ids for one in plain]
    assert all(
        one.thought is not None and one.text != other.text for one, other in zip(found, plain, strict=True)
    )
    assert all(other.thought is None and other.calls == () for other in plain)
    for prompt, one in zip(PROMPTS, found, strict=True):
        assert "".join(thinker.stream(prompt, max_new_tokens=30)) == one.text


def test_quality_is_of_the_answer_and_the_thought_is_kept(thinker: Any) -> None:
    [response] = respond(thinker, PROMPTS[:1], PROMPTS[:1], max_new_tokens=30)
    [one] = thinker.generate(PROMPTS[:1], max_new_tokens=30)
    assert (response.text, response.thought) == (one.text, one.thought)
    assert measured(thinker, PROMPTS[:1], PROMPTS[:1], [one]) == [response]


def test_scores_count_the_answer(thinker: Any) -> None:
    """The mean over all tokens is that over the answer and that over the rest, by their numbers."""
    plain = tiny_engine()
    tokens = thinker.generate(PROMPTS, max_new_tokens=12)[1].token_ids
    start = thinker.encoding.prompts([PROMPTS[1]])[0]
    labels = thinker.thoughts.of_answer(thinker.thoughts.after(start), tokens)
    assert 0 < sum(labels) < len(labels)
    with torch.no_grad():
        logits = plain.model(torch.tensor([[*start, *tokens]])).logits[0, len(start) - 1 : -1]
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens), reduction="none")
    expected = float(losses[torch.tensor(labels)].mean())
    [score] = thinker.score([PROMPTS[1]], [tokens])
    assert score == pytest.approx(expected, rel=1e-4)
    assert plain.score([PROMPTS[1]], [tokens])[0] == pytest.approx(float(losses.mean()), rel=1e-4)
    thought = labels.index(True)
    assert thinker.score([PROMPTS[1]], [tokens[:thought]]) == pytest.approx([float("nan")], nan_ok=True)


def test_a_thought_that_the_template_opened_is_closed_before_an_answer_that_is_given(opened: Any) -> None:
    row = opened.encoding.prompts(["hi"])[0]
    assert opened.thoughts.after(row).part == "thought"
    [scored] = opened.encoding.responses(["hi"], ["Yes"])
    text = opened.tokenizer.decode(scored.response)
    assert text == "\n</think>\n\nYes"
    assert [token for token, counts in zip(scored.response, scored.counted, strict=True) if counts] == list(
        opened.tokenizer("Yes", add_special_tokens=False)["input_ids"]
    )


def test_what_is_constrained_is_the_answer(opened: Any) -> None:
    constraint = Constraint.regex("[a-z]{3}")
    [one] = opened.generate(["hi"], constraints=constraint, max_new_tokens=12)
    assert len(one.text) == 3
    assert one.text.islower()
    assert "".join(opened.stream("hi", constraint=constraint, max_new_tokens=12)) == one.text


def test_a_steering_for_answers_is_saved_and_loaded(tmp_path: Any) -> None:
    engine = tiny_engine()
    steering = random_steering(engine, 1, "answer")
    steering.save(tmp_path / "late")
    document = json.loads((tmp_path / "late" / "steering.json").read_text())
    assert document["format_version"] == 3  # which what does not know the scope refuses by its number
    loaded = trimtab.Steering.load(tmp_path / "late")
    assert [edit.tokens for edit in loaded.edits] == ["answer"] * 3
    assert loaded.digest() == steering.digest() != random_steering(engine, 1, "generated").digest()


def test_a_held_model_needs_its_tokenizer() -> None:
    engine = tiny_engine()
    steering = random_steering(engine, 1, "answer")
    with pytest.raises(SteeringError, match=r"acts on answers alone.*give tokenizer="):
        steering.on(engine.model, allow_other_model=True)
    thinker = thinking(engine)
    form = thinker.thoughts.form
    steered = steering.on(engine.model, tokenizer=engine.tokenizer, allow_other_model=True, thoughts=form)
    steered._thoughts.__dict__["pieces"] = thinker.thoughts.pieces
    row = engine.encoding.prompts([PROMPTS[0]])[0]
    with steered:
        out = engine.model.generate(
            torch.tensor([row]),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
            num_beams=2,
            eos_token_id=list(engine.special_tokens.ends),
        )
    [expected] = thinker.generate([PROMPTS[0]], steering=steering, max_new_tokens=12, num_beams=2)
    assert tuple(out[0, len(row) :].tolist())[: len(expected.token_ids)] == expected.token_ids


def test_a_cache_that_was_filled_outside_is_refused() -> None:
    engine = thinking(tiny_engine())
    row = torch.tensor([engine.encoding.prompts([PROMPTS[0]])[0]])
    cache = engine.model(row, use_cache=True).past_key_values
    steered = engine.steered(random_steering(tiny_engine(), 1, "answer"), row.shape[1])
    with steered, pytest.raises(SteeringError, match=r"holds .* tokens that were not seen here"):
        engine.model(row[:, -1:], past_key_values=cache)
    with steered, pytest.raises(SteeringError, match="embeddings instead of token ids"):
        engine.model.model(inputs_embeds=torch.zeros(1, 3, engine.identity.width))


def test_a_loop_of_ones_own(thinker: Any) -> None:
    steering = random_steering(tiny_engine(), 1, "answer", 1.5)
    [expected] = thinker.generate([PROMPTS[0]], steering=steering, max_new_tokens=12)
    text = torch.tensor([thinker.encoding.prompts([PROMPTS[0]])[0]])
    written: list[int] = []
    cache = None
    with torch.no_grad(), thinker.steered(steering, text.shape[1]):
        for _ in range(len(expected.token_ids)):
            out = thinker.model(
                text if cache is None else text[:, -1:], past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            written.append(int(out.logits[0, -1].argmax()))
            text = torch.cat([text, torch.tensor([[written[-1]]])], dim=1)
    assert tuple(written) == expected.token_ids


def test_learnable_edits_act_on_the_answer_alone(thinker: Any) -> None:
    from trimtab.learn import TrainableEdits

    starts = {
        block: torch.randn(WIDTH, generator=torch.Generator().manual_seed(block)) for block in range(BLOCKS)
    }
    edits = TrainableEdits(dict.fromkeys(starts, 1.0), starts, tokens="answer")
    tokens = thinker.generate(PROMPTS, max_new_tokens=12)[1].token_ids
    start = thinker.encoding.prompts([PROMPTS[1]])[0]
    ids = torch.tensor([[*start, *tokens]])
    generated = torch.arange(ids.shape[1])[None] >= len(start)
    with torch.no_grad():
        for u in edits.parameters():
            u.add_(torch.randn(u.shape, generator=torch.Generator().manual_seed(0)))
        plain = thinker.model(ids).logits
        with edits.on(thinker.decoder_blocks, generated=generated, thoughts=thinker.thoughts):
            own = thinker.model(ids).logits
        labels = torch.tensor(
            [[False] * len(start) + thinker.thoughts.of_answer(thinker.thoughts.after(start), tokens)]
        )
        with edits.on(thinker.decoder_blocks, generated=labels):
            expected = thinker.model(ids).logits
    torch.testing.assert_close(own, expected)
    first = int(labels[0].int().argmax())
    torch.testing.assert_close(own[:, :first], plain[:, :first])
    assert not torch.allclose(own[:, first:], plain[:, first:])

"""Law 11: what holds for an engine holds for the model itself, steered by `on` and run by whoever holds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, inputs_of, logits_of, random_steering, tokens_of

import trimtab
from trimtab.steering.blocks import hidden_of
from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.steering import Record, Steering


class _BrokenError(Exception):
    pass


@torch.no_grad()
def held_logits(engine: Any, **changes: Any) -> torch.Tensor:
    return engine.model(**inputs_of(engine, PROMPTS), use_cache=False, **changes).logits[:, -1]


def written(engine: Any, prompts: list[Any] = PROMPTS, **settings: Any) -> list[tuple[int, ...]]:
    """The tokens of each response, as the engine gives them, from the model's own `generate`."""
    inputs = inputs_of(engine, prompts)
    ends = engine.special_tokens.ends
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "use_cache": True, **settings}
    out = engine.model.generate(**inputs, eos_token_id=list(ends) or None, **settings)
    rows = out[:, inputs["input_ids"].shape[1] :].tolist()
    return [engine.special_tokens.cut(row).token_ids for row in rows]


def test_1_nothing_is_bit_identical_and_installs_no_hook(engine: Any) -> None:
    before, plain = hooks_of(engine.model), held_logits(engine)
    for nothing in (
        None,
        random_steering(engine) * 0.0,
        [None, random_steering(engine, 1, "prompt") * 0.0, None],
    ):
        with trimtab.on(engine.model, nothing):
            assert hooks_of(engine.model) == before
            assert torch.equal(held_logits(engine), plain)


@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_2_what_the_cache_tells_is_what_prompt_lengths_tell(engine: Any, scope: str) -> None:
    steering = random_steering(engine, 1, scope)
    expected = tokens_of(engine.generate(PROMPTS, steering=steering, max_new_tokens=12))
    with steering.on(engine.model):
        assert written(engine) == expected
    with steering.on(engine.model, prompt_lengths=inputs_of(engine, PROMPTS)):
        assert written(engine) == expected
        assert written(engine, use_cache=False) == expected


@pytest.mark.parametrize("scope", ["all", "generated"])
def test_3_rows_keep_their_own_steering(engine: Any, scope: str) -> None:
    rows = [random_steering(engine, 1, scope), None, random_steering(engine, 2, scope)]
    expected = tokens_of(engine.generate(PROMPTS, steering=rows, max_new_tokens=12))
    with trimtab.on(engine.model, rows):
        assert written(engine) == expected


@pytest.mark.parametrize("error", [_BrokenError, KeyboardInterrupt])
def test_4_nothing_stays(engine: Any, error: type[BaseException]) -> None:
    steering = random_steering(engine, 1, "generated") + random_steering(engine, 2)
    before, plain = hooks_of(engine.model), held_logits(engine)
    kinds = [type(module) for module in engine.model.modules()]

    def fail(module: Any, args: Any) -> None:
        raise error

    handle = engine.decoder_blocks.blocks[-1].register_forward_pre_hook(fail)
    try:
        with pytest.raises(error), steering.on(engine.model):
            written(engine)
    finally:
        handle.remove()
    assert hooks_of(engine.model) == before
    assert [type(module) for module in engine.model.modules()] == kinds
    assert torch.equal(held_logits(engine), plain)


def test_5_an_edit_acts_at_the_output_of_its_block(engine: Any) -> None:
    block = engine.identity.blocks - 1
    direction = torch.randn(engine.identity.width, generator=torch.Generator().manual_seed(7))
    edit = Edit.set_projection(block, direction, 2.0)
    seen: list[list[torch.Tensor]] = []
    for edits in ((), (edit,)):
        outputs: list[torch.Tensor] = []
        with Steering("one", edits, Record(engine.identity)).on(engine.model):
            handles = [
                one.register_forward_hook(
                    lambda module, args, output, to=outputs: to.append(hidden_of(output))
                )
                for one in engine.decoder_blocks.blocks
            ]
            held_logits(engine)
            for handle in handles:
                handle.remove()
        seen.append(outputs)
    plain, steered = seen
    assert all(torch.equal(one, other) for one, other in zip(plain[:block], steered[:block], strict=True))
    assert torch.equal(steered[block], apply_edits(plain[block], [edit]))


def test_6_nesting_is_composing(engine: Any) -> None:
    one, other = random_steering(engine, 1, strength=0.4), random_steering(engine, 2, "prompt", strength=0.4)
    lengths = inputs_of(engine, PROMPTS)["attention_mask"]
    logits = logits_of(engine, PROMPTS, one + other)
    tokens = tokens_of(engine.generate(PROMPTS, steering=one + other, max_new_tokens=12))
    with one.on(engine.model), other.on(engine.model, prompt_lengths=lengths):
        assert torch.equal(held_logits(engine), logits)
    with one.on(engine.model), other.on(engine.model):
        assert written(engine) == tokens


def test_8_beams_and_samples_keep_their_row(engine: Any) -> None:
    rows = [
        random_steering(engine, 1, "generated", strength=1.5),
        None,
        random_steering(engine, 2, strength=1.5),
    ]
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8}
    greedy = tokens_of(engine.generate(PROMPTS, steering=rows, max_new_tokens=12))
    best = tokens_of(engine.generate(PROMPTS, steering=rows, **beams))
    with trimtab.on(engine.model, rows):
        assert written(engine, **beams) == best
        samples = written(engine, do_sample=True, top_k=1, num_return_sequences=2)
    assert samples == [tokens for tokens in greedy for _ in range(2)]

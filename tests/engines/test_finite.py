"""No answer is made of values that are not finite: every door says what is to blame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, random_steering, tiny_engine, tokens_of

from trimtab.constraint import Constraint
from trimtab.engines.finite import Watch, unsound
from trimtab.errors import ModelError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


@pytest.fixture(scope="module")
def damaged() -> Any:
    """A tiny model with one weight of its second block that is no number."""
    engine = tiny_engine()
    with torch.no_grad():
        engine.model.model.layers[1].mlp.down_proj.weight[3, 4] = torch.nan
    return engine


def _too_strong(engine: Any) -> Steering:
    """Finite edits that multiply what they meet: their products leave float32."""
    many = torch.full((engine.identity.width,), 1e15)
    edits = [Edit(block, many, alpha=1.0, p=many) for block in range(engine.identity.blocks)]
    return Steering("strong", edits, Record(engine.identity))


def _too_large(engine: Any) -> Steering:
    """An edit whose sum with the stream is finite, and whose square is not: the last norm makes zeros of it."""
    record = Record(engine.identity)
    return Steering("large", [Edit.add(1, torch.arange(1.0, engine.identity.width + 1), 1e25)], record)


DOORS: dict[str, Callable[[Any, Any], Any]] = {
    "generate": lambda engine, steering: engine.generate(PROMPTS, steering=steering, max_new_tokens=3),
    "sample": lambda engine, steering: engine.generate(
        PROMPTS, steering=steering, max_new_tokens=3, do_sample=True, num_return_sequences=2, seed=1
    ),
    "beams": lambda engine, steering: engine.generate(
        PROMPTS, steering=steering, max_new_tokens=3, num_beams=2
    ),
    "uncached": lambda engine, steering: engine.generate(
        PROMPTS, steering=steering, max_new_tokens=3, use_cache=False
    ),
    "constrained": lambda engine, steering: engine.generate(
        PROMPTS, steering=steering, max_new_tokens=3, constraints=Constraint.regex("[ab]+")
    ),
    "stream": lambda engine, steering: list(engine.stream("hi", steering=steering, max_new_tokens=3)),
    "sampled stream": lambda engine, steering: list(
        engine.stream("hi", steering=steering, max_new_tokens=3, do_sample=True)
    ),
    "score": lambda engine, steering: engine.score(PROMPTS, ["yes", "", "no"], steering=steering),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_damaged_weight_is_named(damaged: Any, door: str) -> None:
    with pytest.raises(
        ModelError, match=r"not finite, in block 1 \(model\.layers\.1\.mlp\.down_proj\.weight\)"
    ):
        DOORS[door](damaged, None)


@pytest.mark.parametrize("much", [_too_strong, _too_large])
@pytest.mark.parametrize("door", DOORS)
def test_so_is_a_steering_that_is_too_strong(tiny_llama: Any, door: str, much: Callable[..., Any]) -> None:
    before = hooks_of(tiny_llama.model)
    with pytest.raises(ModelError, match=r"steered, tiny-llama gives .* \(prompt \d\); lower the strength"):
        DOORS[door](tiny_llama, much(tiny_llama))
    assert hooks_of(tiny_llama.model) == before


@pytest.mark.parametrize("positions", ["last", "all", "mean"])
def test_what_is_read_is_finite_too(damaged: Any, positions: Any) -> None:
    with pytest.raises(ModelError, match="not finite at block 1"):
        damaged.capture(PROMPTS, positions=positions)
    assert bool(torch.isfinite(damaged.capture(PROMPTS, blocks=[0], positions=positions).mean).all())


def test_the_prompt_is_named_that_it_happens_at(tiny_llama: Any) -> None:
    rows = [None, random_steering(tiny_llama), _too_strong(tiny_llama)]
    with pytest.raises(ModelError, match=r"\(prompt 2\)"):
        tiny_llama.generate(PROMPTS, steering=rows, max_new_tokens=20)
    with pytest.raises(ModelError, match=r"\(prompt 2\)"):
        tiny_llama.score(PROMPTS, ["a", "b", "c"], steering=rows)


def test_values_that_leave_float16_are_told_of_without_a_steering() -> None:
    engine = tiny_engine()
    with torch.no_grad():
        engine.model.lm_head.weight.fill_(torch.finfo(torch.float32).max)
    with pytest.raises(ModelError, match="they leave its dtype; load it in bfloat16 or float32"):
        engine.generate(["hi"], max_new_tokens=2)


def test_minus_infinity_forbids_a_token_and_is_no_fault() -> None:
    engine = tiny_engine()
    free = tokens_of(engine.generate(PROMPTS, max_new_tokens=4))
    banned = free[0][0]

    def ban(module: Any, args: Any, logits: Any) -> Any:
        return logits.index_fill(-1, torch.tensor([banned]), -torch.inf)

    engine.model.lm_head.register_forward_hook(ban)
    assert banned not in {
        token for row in tokens_of(engine.generate(PROMPTS, max_new_tokens=4)) for token in row
    }
    assert engine.score(["hi"], [[banned]]) == [torch.inf]


def test_a_watch_makes_bad_rows_harmless_and_leaves_the_others() -> None:
    nan, inf = torch.nan, torch.inf
    rows = torch.tensor([[0.0, 1.0], [nan, 1.0], [0.0, inf], [-inf, -inf], [-inf, 2.0]])
    assert unsound(rows).tolist() == [False, True, True, True, False]
    assert unsound(torch.tensor([[0.0, 0.0, 0.0], [3.5, 3.5, 3.5], [3.5, 3.5, 3.25]])).tolist() == [
        True,
        True,
        False,
    ]
    watch = Watch()
    assert watch.rows() == []
    out = watch(torch.zeros(5, 1, dtype=torch.long), rows)
    assert out.tolist() == [[0, 1], [0, 0], [0, 0], [0, 0], [-inf, 2]]
    assert watch.rows() == [1, 2, 3]


def test_a_token_that_the_model_does_not_know_is_told_before_it_runs() -> None:
    from trimtab.errors import PromptError

    engine = tiny_engine()
    engine.tokenizer.add_tokens(["<new>", "<newer>", "<newest>", "<more>", "<last>"])
    for door in (
        lambda: engine.generate(["a <last>"], max_new_tokens=2),
        lambda: engine.score(["a"], ["<last>"]),
        lambda: engine.capture(["a <last>"]),
    ):
        with pytest.raises(PromptError, match="the tokenizer of another model"):
            door()

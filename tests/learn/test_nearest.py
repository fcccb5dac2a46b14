"""The added vector that is nearest to a gated edit, in the least squares over the tokens it acts on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, inputs_of, tiny_engine, tokens_of

from trimtab.errors import ModelError, SteeringError
from trimtab.learn import nearest_added
from trimtab.steering import when
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 32)


def of(engine: Any, *edits: Edit) -> Steering:
    return Steering("mine", edits, Record(engine.identity))


def test_added_vectors_lose_nothing() -> None:
    engine = tiny_engine()
    found = nearest_added(engine, of(engine, Edit.add(1, D, 2.0), Edit.add(1, D.flip(0) + 1)), PROMPTS)
    (edit,) = found.steering.edits
    assert torch.allclose(edit.alpha * edit.u, 2 * D + D.flip(0) + 1, atol=1e-5)
    assert found.lost[1] == pytest.approx(0, abs=1e-9)
    assert hooks_of(engine.model) == 0


def test_no_other_vector_is_nearer() -> None:
    """By hand: the mean of what is added, over all tokens of prompts and answers but the first of each."""
    engine = tiny_engine()
    mine = of(
        engine, Edit.add(0, D), Edit(2, D.flip(0), alpha=0.3, p=D * 0.2), Edit.set_projection(2, D + 1, 1.0)
    )
    found = nearest_added(engine, mine, PROMPTS, max_new_tokens=5)
    answers = engine.generate(PROMPTS, steering=mine, max_new_tokens=5)
    added = []
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = torch.cat(
            [inputs_of(engine, [prompt])["input_ids"][0], torch.tensor(answer.token_ids, dtype=torch.int64)]
        )
        before = outputs_before(engine, of(engine, mine.edits[0]), ids)
        after = outputs_before(engine, mine, ids)
        added.append((after - before)[1:])
    changes = torch.cat(added).double()
    nearest = {edit.block: edit for edit in found.steering.edits}
    assert set(nearest) == {0, 2}
    assert torch.allclose(nearest[2].u.double(), changes.mean(0), atol=1e-5)
    lost = 1 - changes.mean(0).square().sum() / changes.square().sum(1).mean()
    assert found.lost[2] == pytest.approx(float(lost), abs=1e-4)
    assert 0.01 < found.lost[2] < 1
    assert found.tokens == len(changes)


def outputs_before(engine: Any, steering: Steering, ids: torch.Tensor) -> torch.Tensor:
    """The output `[tokens, d]` of the last block under a steering."""
    seen: list[torch.Tensor] = []
    with engine.steered(steering), torch.no_grad():
        block = engine.decoder_blocks.blocks[2]
        handle = block.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
        engine.model(ids[None], use_cache=False)
        handle.remove()
    return seen[0].reshape(-1, 32)


@pytest.mark.parametrize("tokens", ["prompt", "generated"])
def test_a_scope_is_averaged_over_its_tokens(tokens: Any) -> None:
    engine = tiny_engine()
    scoped = Edit(1, D, alpha=2.0, tokens=tokens, when=when.Matches("rocket"))
    found = nearest_added(engine, of(engine, scoped), PROMPTS, max_new_tokens=4)
    (edit,) = found.steering.edits
    assert (edit.tokens, edit.when) == ("all", None)
    assert torch.allclose(edit.u, 2 * D, atol=1e-5)
    prompts = sum(inputs_of(engine, [one])["input_ids"].numel() - 1 for one in PROMPTS)
    assert (found.tokens == prompts) == (tokens == "prompt")


def test_what_changes_nothing_or_cannot_be_read_is_refused() -> None:
    engine = tiny_engine()
    with pytest.raises(SteeringError, match="changes nothing"):
        nearest_added(engine, of(engine, Edit.add(1, D, 0.0)), PROMPTS)

    class Other(type(engine)):  # type: ignore[misc]
        steered = property(lambda self: self.nothing)

    other = tiny_engine()
    other.__class__ = Other
    with pytest.raises(ModelError, match="use transformers"):
        nearest_added(other, of(engine, Edit.add(1, D)), PROMPTS)
    assert tokens_of(engine.generate(PROMPTS, max_new_tokens=2))

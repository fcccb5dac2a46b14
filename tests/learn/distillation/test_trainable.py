"""Edits as parameters do what the edits made of them do, on every kind of decoder block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import BLOCKS, WIDTH, hooks_of, random_steering, tiny_engine

from trimtab.errors import ModelError, SteeringError
from trimtab.learn.distillation.trainable import FORMS, TrainableEdits, size_of
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

ARCHITECTURES = ["llama", "gptj", "bloom", "mpt", "gemma2"]  # gptj, bloom and mpt give tuples
SCALES = dict.fromkeys(range(BLOCKS), 2.0)
PROMPT = 5
IDS = torch.randint(4, 200, (3, 11), generator=torch.Generator().manual_seed(1))
GENERATED = (torch.arange(IDS.shape[1]) >= PROMPT).expand(IDS.shape)


def shaken(edits: TrainableEdits, size: float = 0.4) -> TrainableEdits:
    """As if some steps had been taken."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in edits.learned():
            parameter += size * torch.randn(parameter.shape, generator=random)
    return edits


def made(form: Any = "gated", rank: int = 1, tokens: Any = "all", blocks: tuple[int, ...] = (0, 2)) -> Any:
    random = torch.Generator().manual_seed(3)
    starts = {block: 2 * torch.randn(WIDTH, generator=random) for block in blocks}
    return TrainableEdits(SCALES, starts, form=form, rank=rank, tokens=tokens)


@torch.no_grad()
def trained_logits(engine: Any, edits: TrainableEdits) -> torch.Tensor:
    with edits.on(engine.decoder_blocks, generated=GENERATED):
        return engine.model(input_ids=IDS, use_cache=False).logits


@torch.no_grad()
def steered_logits(engine: Any, edits: tuple[Edit, ...]) -> torch.Tensor:
    steering = Steering("learned", edits, Record(engine.identity))
    with engine.steered(steering, [PROMPT] * len(IDS)):
        return engine.model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
def test_the_edits_do_what_the_hooks_did(engines: Callable[[str], Any], architecture: str, form: str) -> None:
    engine = engines(architecture)
    edits = shaken(made(form, rank=1 if form == "vector" else 2))
    torch.testing.assert_close(
        steered_logits(engine, edits.edits()), trained_logits(engine, edits), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(trained_logits(engine, edits), steered_logits(engine, ()), atol=1e-2)


@pytest.mark.parametrize("tokens", ["prompt", "generated"])
def test_the_edits_act_where_the_hooks_did(tiny_llama: Any, tokens: Any) -> None:
    edits = shaken(made(tokens=tokens))
    logits = trained_logits(tiny_llama, edits)
    torch.testing.assert_close(steered_logits(tiny_llama, edits.edits()), logits, atol=1e-4, rtol=1e-4)
    if tokens == "generated":
        untouched = steered_logits(tiny_llama, ())[:, :PROMPT]
        torch.testing.assert_close(logits[:, :PROMPT], untouched, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_begins_as_the_added_vector(tiny_llama: Any, form: Any) -> None:
    edits = made(form, rank=1 if form == "vector" else 2)
    random = torch.Generator().manual_seed(3)
    added = tuple(Edit.add(block, 2 * torch.randn(WIDTH, generator=random)) for block in (0, 2))
    torch.testing.assert_close(
        trained_logits(tiny_llama, edits), steered_logits(tiny_llama, added), atol=1e-4, rtol=1e-4
    )


def test_what_each_form_learns() -> None:
    assert len(made("gated").learned()) == 4  # u and p of two blocks
    assert len(made("vector").learned()) == 2
    assert len(made("loreft").learned()) == 6  # and alpha
    vector = shaken(made("vector")).edits()
    assert all(edit.p is None for edit in vector)
    loreft = shaken(made("loreft", rank=2))
    assert loreft.size == len(loreft.edits()) == 4
    for edit in loreft.edits():
        assert float(edit.u.norm()) == pytest.approx(1.0, abs=1e-5)
    assert len(made("psr").learned()) == 6  # and the probe's bias
    assert all(edit.rectified for edit in made("psr").edits())
    assert not any(edit.rectified for edit in vector + loreft.edits())


def test_nothing_is_begun_with_rectified_edits(tiny_llama: Any) -> None:
    edits = shaken(made("psr")).edits()
    with pytest.raises(SteeringError, match="rectified edits"):
        TrainableEdits.of(edits, SCALES)


@pytest.mark.parametrize("architecture", ["llama", "gptj"])
def test_any_steering_can_be_begun_with(engines: Callable[[str], Any], architecture: str) -> None:
    engine = engines(architecture)
    unit = torch.nn.functional.normalize(torch.ones(WIDTH), dim=0)
    given = (
        *random_steering(engine).edits,
        *random_steering(engine, seed=1, tokens="generated", strength=-0.4).edits,
        Edit.ablate(1, unit, "prompt"),
    )
    begun = TrainableEdits.of(given, SCALES)
    assert len(begun.edits()) == len(given)
    torch.testing.assert_close(
        trained_logits(engine, begun), steered_logits(engine, given), atol=1e-4, rtol=1e-4
    )


def test_growing_adds_nothing_yet_what_it_added_learns(tiny_llama: Any) -> None:
    small = shaken(made(blocks=(0, 2)))
    large = made(blocks=(0, 1, 2), rank=2)
    large.grow(small.edits())
    torch.testing.assert_close(
        trained_logits(tiny_llama, large), trained_logits(tiny_llama, small), atol=1e-4, rtol=1e-4
    )
    assert large.size == 6
    with large.on(tiny_llama.decoder_blocks, generated=GENERATED):
        tiny_llama.model(input_ids=IDS, use_cache=False).logits.pow(2).sum().backward()
    for block in range(BLOCKS):
        assert bool(large.get_parameter(f"_u.{block}").grad.any(-1).all())


def test_hooks_are_gone_after_an_error(tiny_llama: Any) -> None:
    before = hooks_of(tiny_llama.model)  # transformers may have left some of its own
    edits = made()
    del edits._u["2"]  # so that the second hook fails
    with pytest.raises(AttributeError), edits.on(tiny_llama.decoder_blocks, generated=GENERATED):
        tiny_llama.model(input_ids=IDS, use_cache=False)
    assert hooks_of(tiny_llama.model) == before


class TestInALoopOfOnesOwn:
    """Somebody holds a model, a tokenizer and an optimiser."""

    INPUTS: ClassVar[dict[str, torch.Tensor]] = {
        "input_ids": IDS,
        "attention_mask": (torch.arange(IDS.shape[1]) < torch.tensor([[11], [9], [7]])).long(),
    }

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_what_was_trained_is_a_steering(self, form: Any, checkpointing: bool) -> None:
        engine = tiny_engine()
        model = engine.model.train().requires_grad_(False)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        edits = TrainableEdits.for_model(model, self.INPUTS, blocks=[2, 0], form=form, tokens="generated")
        assert edits.blocks == (0, 2)
        with torch.no_grad():
            plain = model(**self.INPUTS, use_cache=False).logits
            with edits.on(model, PROMPT):
                assert torch.equal(model(**self.INPUTS, use_cache=False).logits, plain)
        labels = torch.where(GENERATED, 77, -100)
        optimiser = torch.optim.Adam(edits.groups(0.05, 0.01))
        losses = []
        for _ in range(15):
            with edits.on(model, prompt_lengths=PROMPT):
                loss = model(**self.INPUTS, labels=labels, use_cache=False).loss
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0] - 0.5
        model.gradient_checkpointing_disable()
        model.eval()

        steering = edits.steering("seventy-seven", model, engine.tokenizer)
        assert steering.record.method == "trained"
        with torch.no_grad():
            with edits.on(model, PROMPT):
                trained = model(**self.INPUTS, use_cache=False).logits
            with steering.on(model, prompt_lengths=PROMPT, tokenizer=engine.tokenizer):
                steered = model(**self.INPUTS, use_cache=False).logits
        torch.testing.assert_close(trained, steered, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(trained, plain, atol=0.1)

    def test_units_are_those_of_the_tokens_that_count(self, tiny_llama: Any) -> None:
        edits = TrainableEdits.for_model(tiny_llama.model, self.INPUTS, blocks=range(BLOCKS))
        lengths = (11, 9, 7)
        rows = [
            tiny_llama.model(IDS[row : row + 1, :length], output_hidden_states=True)
            for row, length in enumerate(lengths)
        ]
        first = torch.cat([row.hidden_states[1][0] for row in rows])
        assert edits._scales[0] == pytest.approx(
            float(first.detach().pow(2).mean(-1).sqrt().median()), rel=1e-4
        )

    @torch.no_grad()
    def test_they_add_up_with_a_steering(self, tiny_llama: Any) -> None:
        edits, steering = shaken(made(blocks=(1, 2))), random_steering(tiny_llama, strength=0.3)
        both = (*steering.edits, *edits.edits())
        with steering.on(tiny_llama.model), edits.on(tiny_llama.model):
            found = tiny_llama.model(input_ids=IDS, use_cache=False).logits
        torch.testing.assert_close(found, steered_logits(tiny_llama, both), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("blocks", [[], [BLOCKS], [-1]])
    def test_blocks_that_there_are_not(self, tiny_llama: Any, blocks: list[int]) -> None:
        with pytest.raises(ModelError, match="the model has blocks 0 to 2"):
            TrainableEdits.for_model(tiny_llama.model, self.INPUTS, blocks=blocks)


@settings(max_examples=30)
@given(st.floats(0.01, 100.0), st.integers(1, 5), st.integers(0, 2**31))
def test_a_few_huge_channels_do_not_set_the_size(size: float, huge: int, seed: int) -> None:
    states = size * torch.randn(40, 640, generator=torch.Generator().manual_seed(seed))
    usual = size_of(states)
    assert usual == pytest.approx(size, rel=0.05)  # where all are alike, their root mean square
    states[:, :huge] *= 1000
    assert usual <= size_of(states) <= 2.5 * usual


def test_what_is_mostly_nothing_has_a_size() -> None:
    states = torch.zeros(3, 8)
    assert size_of(states) > 0
    states[:, 0] = 4.0
    assert size_of(states) == pytest.approx(4 / 8**0.5)

"""Edits as parameters do what the edits made of them do, on every kind of decoder block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.tiny import BLOCKS, WIDTH, hooks_of, random_steering

from trimtab.learn.distillation.trainable import FORMS, TrainableEdits
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
    with edits.on(engine.decoder_blocks, GENERATED):
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
    with large.on(tiny_llama.decoder_blocks, GENERATED):
        tiny_llama.model(input_ids=IDS, use_cache=False).logits.pow(2).sum().backward()
    for block in range(BLOCKS):
        assert bool(large.get_parameter(f"_u.{block}").grad.any(-1).all())


def test_hooks_are_gone_after_an_error(tiny_llama: Any) -> None:
    before = hooks_of(tiny_llama.model)  # transformers may have left some of its own
    edits = made()
    del edits._u["2"]  # so that the second hook fails
    with pytest.raises(AttributeError), edits.on(tiny_llama.decoder_blocks, GENERATED):
        tiny_llama.model(input_ids=IDS, use_cache=False)
    assert hooks_of(tiny_llama.model) == before

"""Both methods find what was planted, and agree with a by-hand computation on a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learn.planted import BLOCKS, SAID, WIDTH, PlantedEngine, pairs

from trimtab import instructions, learn
from trimtab.errors import ModelError, PromptError
from trimtab.learn.pca import first_component
from trimtab.prompts.pairs import PromptPair, digest, make_pairs

JSON = instructions.get("json")
METHODS = {"mean_difference": learn.mean_difference, "pca": learn.pca}


def push(seed: int = 0) -> torch.Tensor:
    return torch.randn(BLOCKS, WIDTH, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        [[0.5], [2.0], [9.0]]
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_direction_is_found_at_every_block(method: str) -> None:
    planted = push()
    engine = PlantedEngine(planted)
    found = METHODS[method](engine, pairs(20), JSON)
    unit = planted / planted.norm(dim=1, keepdim=True)
    assert torch.allclose(found.directions, unit, atol=1e-4)
    assert torch.allclose(found.difference_norm, planted.norm(dim=1), atol=1e-4)
    assert torch.allclose(found.instructed - found.plain, planted.norm(dim=1), atol=1e-3)
    plain = torch.stack([engine.activation(pair.plain) for pair in pairs(20)]).mean(0)
    assert torch.allclose(found.plain, (plain * unit).sum(1), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_learned_from_what_is_recorded(method: str) -> None:
    engine = PlantedEngine(push())
    found = METHODS[method](engine, pairs(7), JSON)
    assert found.method == method
    assert found.instruction == {"name": "json", "params": JSON.params}
    assert found.name == JSON.label
    assert found.model == engine.identity
    assert found.prompts == digest(pairs(7))
    assert found.pairs == 7
    assert sorted(engine.prompts) == sorted(
        [pair.plain for pair in pairs(7)] + [pair.instructed for pair in pairs(7)]
    )
    assert all(prompt.count(SAID) <= 1 for prompt in engine.prompts)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_wanted_blocks_are_learned(method: str) -> None:
    found = METHODS[method](PlantedEngine(push()), pairs(5), JSON, blocks=[2])
    assert found.blocks == (2,)
    assert torch.allclose(found.direction(2), push()[2] / push()[2].norm(), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_without_pairs_nothing_is_learned(method: str) -> None:
    with pytest.raises(PromptError, match="no prompt pairs"):
        METHODS[method](PlantedEngine(push()), [], JSON)


@pytest.mark.parametrize("method", METHODS)
def test_activations_that_are_not_finite_are_an_error_that_names_the_block(method: str) -> None:
    broken = push()
    broken[1, 3] = torch.inf
    with pytest.raises(ModelError, match="not finite at block 1"):
        METHODS[method](PlantedEngine(broken), pairs(3), JSON)


@pytest.mark.parametrize("method", METHODS)
def test_no_difference_gives_a_direction_of_zeros(method: str) -> None:
    nothing = push()
    nothing[0] = 0
    found = METHODS[method](PlantedEngine(nothing), pairs(4), JSON)
    assert not found.directions[0].any()
    assert torch.allclose(found.directions[1:].norm(dim=1), torch.ones(2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
def test_instructed_prompts_project_higher_whatever_the_method(seed: int, count: int) -> None:
    engine = PlantedEngine(push(seed), noise=1.0)
    for method in METHODS.values():
        found = method(engine, pairs(count), JSON)
        assert bool((found.instructed >= found.plain).all())
        assert torch.allclose(found.directions.norm(dim=1), torch.ones(BLOCKS), atol=1e-5)
        moved = found.instructed - found.plain
        assert bool((moved <= found.difference_norm * (1 + 1e-4) + 1e-4).all())


def test_the_mean_difference_is_the_longest_move_there_is() -> None:
    found = learn.mean_difference(PlantedEngine(push(), noise=2.0), pairs(9), JSON)
    assert torch.allclose(found.instructed - found.plain, found.difference_norm, rtol=1e-4)


def test_pca_is_not_centred_and_takes_the_main_axis() -> None:
    axis = torch.zeros(WIDTH)
    axis[0] = 1.0
    common = torch.zeros(BLOCKS, WIDTH)
    common[:, 1] = 3.0
    # The common push is larger than the spread between queries: centring would find the spread's axis.
    small = learn.pca(PlantedEngine(common, spread=1.0, axis=axis), pairs(40), JSON)
    assert bool((small.directions[:, 1] > 0.95).all())
    # The other way round, the main axis is that of the spread, and the mean difference is another.
    large = learn.pca(PlantedEngine(common, spread=30.0, axis=axis), pairs(40), JSON)
    assert bool((large.directions[:, 0].abs() > 0.95).all())
    assert all(0.9 < share <= 1 for share in large.settings["explained"])


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_first_component_is_that_of_a_full_decomposition(rows: int, width: int, seed: int) -> None:
    matrix = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    axis, share = first_component(matrix)
    _, values, right = torch.linalg.svd(matrix, full_matrices=False)
    assert abs(float(axis @ right[0])) == pytest.approx(1, abs=1e-6)
    assert share == pytest.approx(float(values[0] ** 2 / (values**2).sum()), abs=1e-9)


def test_on_a_real_model_it_is_the_difference_of_means(tiny_llama: Any) -> None:
    made = make_pairs(
        ["What is tea?", "Name a river.", "Why is rain wet?"], instructions.get("lowercase"), "learning"
    )
    found = learn.mean_difference(tiny_llama, made, instructions.get("lowercase"))
    sides = [
        tiny_llama.capture([getattr(pair, side) for pair in made], keep=True).activations.double().mean(0)
        for side in ("instructed", "plain")
    ]
    difference = sides[0] - sides[1]
    assert torch.allclose(found.difference_norm.double(), difference.norm(dim=1), rtol=1e-4)
    assert torch.allclose(
        found.directions.double(), difference / difference.norm(dim=1, keepdim=True), atol=1e-4
    )
    again = learn.mean_difference(tiny_llama, made, instructions.get("lowercase"))
    assert again.digest() == found.digest()
    assert again.set_projection(1).digest() == found.set_projection(1).digest()


def test_exclusion_is_learned_from_inclusion() -> None:
    source = learn.learning_source(instructions.get("exclude", word="rocket"))
    assert source.instruction == instructions.get("include", word="rocket")
    assert source.sign == -1
    source = learn.learning_source(instructions.get("forbidden_words", forbidden_words=["sun", "moon"]))
    assert source.instruction == instructions.get("keywords", keywords=["sun", "moon"])
    assert learn.learning_source(JSON) == (JSON, 1)


@pytest.mark.parametrize("method", METHODS)
def test_pairs_that_no_instruction_stands_for_are_learned_from_all_the_same(
    method: str, tmp_path: Path
) -> None:
    engine = PlantedEngine(push())
    found = METHODS[method](engine, pairs(9))
    assert torch.equal(found.directions, METHODS[method](engine, pairs(9), "json").directions)
    assert (found.name, found.instruction) == ("prompt pairs", None)
    assert found.add(1).record.instructions == ()
    assert learn.Directions.load(found.save(tmp_path / "out")).digest() == found.digest()


def test_a_model_of_transformers_with_its_tokenizer_is_enough(tiny_llama: Any) -> None:
    chats = [
        PromptPair(
            [{"role": "user", "content": f"hello {n}"}], [{"role": "user", "content": f"hello {n}, gently"}]
        )
        for n in range(3)
    ]
    found = learn.mean_difference((tiny_llama.model, tiny_llama.tokenizer), chats)
    assert torch.equal(found.directions, learn.mean_difference(tiny_llama, chats).directions)

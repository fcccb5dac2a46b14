"""Learning when to steer: from planted activations to a direction, a threshold and a block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.learn.planted import BLOCKS, SAID, WIDTH, PlantedEngine

from trimtab import learn
from trimtab.engines.base import Capture, Engine
from trimtab.errors import PromptError, SteeringError
from trimtab.learn.resembling import METHODS, Verdicts, _fit
from trimtab.steering.when import Cast, Matches, Not


class Planted(PlantedEngine):
    """Also mean positions, at which there is nothing to learn."""

    block_numbers = Engine.block_numbers
    steerings_of_rows = Engine.steerings_of_rows
    decided = Engine.decided

    def capture(
        self, prompts: Any, *, blocks: Any = None, positions: Any = "last", **options: Any
    ) -> Capture:
        numbers = self.block_numbers(blocks)
        rows = [
            self.activation(prompt if positions == "last" else prompt.split(" PL")[0]) for prompt in prompts
        ]
        kept = torch.stack(rows)[:, list(numbers)]
        return Capture(numbers, len(rows), kept.mean(0), None, kept)


def planted(block: int = 1, size: float = 80.0) -> Planted:
    """Saying the word moves one block along an axis."""
    push = torch.zeros(BLOCKS, WIDTH)
    push[block, 3] = size
    return Planted(push)


def prompts(start: int, count: int) -> tuple[list[str], list[str]]:
    numbers = range(start, start + count)
    return [f"query {number} {SAID}" for number in numbers], [f"query {number + 1000}" for number in numbers]


@pytest.mark.parametrize("method", [None, *METHODS])
def test_what_was_planted_is_found_and_holds_on_other_prompts(method: Any) -> None:
    engine: Any = planted()
    when = learn.when(engine, *prompts(0, 30), method=method)
    assert (when.block, when.tokens) == (1, "last")
    assert float(when.direction[3].abs()) > 0.9
    assert when.measurements["f1"] == 1.0
    assert when.measurements["validation"] == [10, 10]
    assert learn.judge_when(engine, when, *prompts(500, 40)).f1 > 0.95
    turned = learn.judge_when(engine, ~when, *reversed(prompts(500, 40)))
    assert turned.f1 > 0.95


def test_blocks_tokens_and_validation_may_be_named() -> None:
    engine: Any = planted(block=2)
    when = learn.when(engine, *prompts(0, 20), blocks=[-1], tokens="last", validation=prompts(100, 6))
    assert when.block == 2
    assert when.measurements["validation"] == [6, 6]
    assert when.measurements["learning"] == [20, 20]


def test_the_seed_decides_which_examples_are_held_back() -> None:
    engine: Any = planted(size=14.0)
    once, again, other = (learn.when(engine, *prompts(0, 24), seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_prompts_that_differ_in_nothing_are_refused() -> None:
    engine: Any = planted(size=0.0)
    same = [f"query {number} {SAID}" for number in range(9)]
    with pytest.raises(SteeringError, match="no block of planted tells the two kinds of prompts apart"):
        learn.when(engine, same, [text.removesuffix(f" {SAID}") for text in same])


def test_examples_that_cannot_be_learned_from_are_refused() -> None:
    engine: Any = planted()
    steer, leave = prompts(0, 8)
    with pytest.raises(PromptError, match="among those to steer and among those to leave: 'query 0 PLEASE'"):
        learn.when(engine, steer, [*leave, steer[0]])
    with pytest.raises(PromptError, match="3 examples of prompts to leave; give at least 4"):
        learn.when(engine, steer, leave[:3])
    with pytest.raises(PromptError, match="there are no prompts"):
        learn.when(engine, [], leave)
    with pytest.raises(SteeringError, match="method is one of mean_difference, pca, discriminant, not 'svm'"):
        learn.when(engine, steer, leave, method="svm")  # type: ignore[arg-type]


cosines = st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=8)


@given(steer=cosines, leave=cosines)
def test_no_threshold_has_a_better_f1(steer: list[float], leave: list[float]) -> None:
    if len({*steer, *leave}) < 2:
        return
    verdicts, threshold, _ = _fit(torch.tensor(steer).double(), torch.tensor(leave).double())

    def f1(edge: float) -> float:
        right, wrong = sum(value > edge for value in steer), sum(value > edge for value in leave)
        return 2 * right / (2 * right + wrong + len(steer) - right) if right else 0.0

    assert verdicts.f1 == pytest.approx(f1(threshold))
    values = sorted({*steer, *leave})
    assert all(f1(value) <= verdicts.f1 + 1e-9 for value in values)
    assert threshold not in values


def test_verdicts_count_what_is_right_and_wrong() -> None:
    verdicts = Verdicts.of([True, True, False], [True, False])
    assert (verdicts.precision, verdicts.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert verdicts.f1 == pytest.approx(2 / 3)
    assert Verdicts.of([False], [False]).f1 == 0.0


def test_any_condition_can_be_judged() -> None:
    engine: Any = planted()
    steer, leave = prompts(0, 5)
    assert learn.judge_when(engine, Matches(SAID), steer, leave).f1 == 1.0
    assert engine.prompts == []


class Small(Planted):
    """States so small that the tanh of a projection is the projection: where it saturates, CAST tells less apart."""

    def activation(self, prompt: Any) -> torch.Tensor:
        return super().activation(prompt) / 1000


def small() -> Small:
    return Small(planted().push)


def test_a_condition_of_cast_is_learned_of_either_sign() -> None:
    engine = small()
    steer, leave = prompts(0, 30)
    tried = prompts(200, 20)
    for sides, other in (((steer, leave), tried), ((leave, steer), tried[::-1])):
        when = learn.when(engine, *sides, compare="cast")
        assert when.readings == {(1, "last")}
        assert isinstance(when.parts[0] if isinstance(when, Not) else when, Cast)
        assert learn.judge_when(engine, when, *other).f1 > 0.9
    with pytest.raises(SteeringError, match="is one of cosine, cast, not 'dot'"):
        learn.when(engine, steer, leave, compare="dot")  # type: ignore[arg-type]


def test_the_condition_of_cast_that_is_nearest_decides_alike() -> None:
    engine = small()
    (steer, leave), (more, others) = prompts(0, 30), prompts(200, 20)
    found = learn.nearest_when(engine, Matches(SAID), [*steer, *leave], [*more, *others])
    assert (found.held, found.judged) == (20, 40)
    assert found.alike >= 38
    assert found.when.readings == {(1, "last")}
    elsewhere = learn.nearest_when(engine, Matches(SAID), [*steer, *leave], [*more, *others], blocks=[0])
    assert elsewhere.when.readings <= {(0, "last"), (0, "mean")}
    assert elsewhere.alike < 34
    with pytest.raises(PromptError, match=r"of 33 prompts it acts on 30, and .* at least 4 on which it acts"):
        learn.nearest_when(engine, Matches(SAID), [*steer, *leave[:3]], more)

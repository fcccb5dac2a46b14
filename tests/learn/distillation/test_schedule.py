from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.training import scales_of
from trimtab.prompts import default_queries


def fitted(schedule: Schedule | None = None, **given: Any) -> Any:
    settings: dict[str, Any] = {"edits": 5, "tokens": 40.0, "near": False}
    return (schedule or Schedule()).fitted(**{**settings, **given})


def test_what_fits_the_model_on_which_the_rule_was_found() -> None:
    pace = fitted()
    assert (pace.steps, pace.batch_size, pace.rate) == (100, 16, 0.03)
    assert pace.gate_rate == pytest.approx(0.006)


def test_many_edits_move_less_each() -> None:
    assert fitted(edits=20).rate == pytest.approx(0.015)
    assert fitted(edits=1).rate == 0.03


def test_lessons_that_are_near_the_model_s_own_words_take_fewer_steps_and_long_ones_smaller_batches() -> None:
    assert fitted(near=True).steps < fitted().steps
    assert fitted(tokens=100.0).batch_size == 8
    assert fitted(tokens=5000.0).batch_size == 4


@pytest.mark.parametrize(
    ("tokens", "steps"),
    [(20.0, 80), (31.0, 80), (50.0, 57), (94.0, 60), (115.0, 66), (300.0, 40), (5000.0, 40)],
)
def test_near_lessons_take_the_steps_that_hold_enough_of_their_answers(tokens: float, steps: int) -> None:
    assert fitted(tokens=tokens, near=True).steps == steps
    assert fitted(tokens=tokens).steps == 100  # what telling brings about has further to go


def test_in_fewer_steps_the_held_out_loss_is_measured_less_often() -> None:
    assert fitted().checks == fitted(Schedule(steps=7), near=True).checks == 5
    assert fitted(near=True, tokens=20.0).checks == 5
    assert fitted(near=True, tokens=94.0).checks == 4
    assert fitted(near=True, tokens=5000.0).checks == 2


def test_smaller_batches_hold_as_much_in_more_steps() -> None:
    assert fitted(Schedule(batch_size=6), near=True, tokens=94.0).steps == 80


def test_what_is_given_stays() -> None:
    pace = fitted(Schedule(steps=7, batch_size=3, rate=0.5, gate_rate=0.25), edits=40, tokens=900.0)
    assert (pace.steps, pace.batch_size, pace.rate, pace.gate_rate) == (7, 3, 0.5, 0.25)
    assert (pace.settled.steps, pace.settled.rate) == (7, 0.5)


@given(st.integers(1, 300), st.integers(0, 20))
def test_rates_rise_then_fall_to_nothing(steps: int, warm_up: int) -> None:
    pace = fitted(Schedule(steps=steps, warm_up=warm_up))
    shares = [pace.share(step) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    assert shares[-1] <= 1 / steps + 1e-9
    top = shares.index(max(shares))
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)


def test_a_few_huge_tokens_do_not_set_the_scale(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines("nano")
    queries = default_queries(engine.identity, "learning", 4)
    usual = scales_of(engine, queries)
    capture = engine.capture

    def with_a_sink(*given: Any, **settings: Any) -> Any:
        found = capture(*given, **settings)
        found.activations[0] *= 1000  # the first token, in every block
        return found

    monkeypatch.setattr(engine, "capture", with_a_sink)
    sunk = scales_of(engine, queries)
    assert torch.tensor(list(sunk.values())).allclose(torch.tensor(list(usual.values())), rtol=0.05)

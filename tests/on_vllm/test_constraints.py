"""Answers held to constraints on vLLM, row by row beside a steering: those of the transformers engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.tiny import PROMPTS, random_steering, tokens_of

import trimtab
from trimtab.constraint import Constraint
from trimtab.engines.base import Engine
from trimtab.errors import InstructionError, ModelError
from trimtab.vllm.engine import VllmEngine

pytestmark = pytest.mark.filterwarnings("default")

LOWER = Constraint.regex("[a-z ]{3,12}[.]")
NUMBER = Constraint.json_schema({"type": "integer", "maximum": 999})


@pytest.fixture(scope="module")
def plain() -> Engine:
    """Nano under transformers."""
    return trimtab.load("nano", device="cpu")


def test_every_row_has_its_own_constraint_and_steering(nano: VllmEngine, plain: Engine) -> None:
    asked = [*PROMPTS, PROMPTS[0]]
    settings: dict[str, Any] = {
        "steering": [random_steering(plain, 1), None, random_steering(plain, 2), None],
        "constraints": [LOWER, None, NUMBER, Constraint.lark('start: "the " ("moon" | "sun")')],
        "max_new_tokens": 24,
    }
    found, expected = nano.generate(asked, **settings), plain.generate(asked, **settings)
    assert tokens_of(found) == tokens_of(expected)
    assert [one.finished for one in found] == [one.finished for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.taken == (None if other.taken is None else pytest.approx(other.taken, abs=2e-3))
    assert re.fullmatch(LOWER.text, found[0].text)
    assert re.fullmatch("-?[0-9]+", found[2].text)
    assert found[3].text in ("the moon", "the sun")


def test_samples_and_streams_are_held(nano: VllmEngine) -> None:
    options: dict[str, Any] = {"max_new_tokens": 24, "do_sample": True, "seed": 3}
    answers = nano.generate(PROMPTS, constraints=LOWER, num_return_sequences=2, **options)
    assert all(re.fullmatch(LOWER.text, one.text) and 0 < one.taken < 1 for one in answers)
    assert len({one.text for one in answers}) > 3
    text = "".join(nano.stream(PROMPTS[0], constraint=LOWER, **options))
    assert re.fullmatch(LOWER.text, text)


def test_what_cannot_be_held_is_one_line(nano: VllmEngine) -> None:
    with pytest.raises(InstructionError, match=r"\(regex\) cannot be used.*unclosed"):
        nano.generate(PROMPTS, constraints=Constraint.regex("[a"))
    begun = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "in "}]
    with pytest.raises(ModelError, match="that the prompt begins, as prompt 1 does"):
        nano.generate(["a", begun], constraints=LOWER)
    assert nano.generate([begun], max_new_tokens=2)

"""What is asked of the model before anything is learned, counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted, obedient

from trimtab import instructions
from trimtab.engines.ranks import Ranks
from trimtab.learn.distillation.material import Finding, Material
from trimtab.progress import silent

POOL = [f"what is over there and {noun}" for noun in ("here", "near", "far")]


def found(engine: Scripted) -> Material:
    wanted = [instructions.get("no_commas")]
    return Finding(engine, wanted, Ranks(), 0, silent, max_new_tokens=16).find(QUERIES, HELD_OUT, pool=POOL)


@pytest.mark.parametrize(
    ("answer", "looked", "queries"),
    [
        (obedient, [], QUERIES),  # untold, it never follows: every query teaches
        (lambda asked: "quite so" if asked.prompt not in POOL else "quite, so", [*QUERIES, *POOL], POOL),
    ],
)
def test_questions_that_tempt_are_looked_for_where_few_do(
    answer: Callable[[Asked], str], looked: list[str], queries: list[str]
) -> None:
    engine = Scripted(answer)
    material = found(engine)
    assert [one.prompt for one in engine.asked if one.prompt in (*QUERIES, *POOL)] == looked
    assert material.queries[: len(queries)] == queries
    assert material.teacher == "told"

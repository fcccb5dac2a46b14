"""Which teacher comes first, by what each gave on a sample."""

from __future__ import annotations

import pytest
from tests.learn.scripted import QUERIES, Asked, Scripted

from trimtab import instructions
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.choosing import Measured, best_first, choose


def measured(teacher: str, passed: float, change: float | None, *, sound: bool) -> Measured:
    return Measured(teacher, passed, sound, 60.0, 0.1, 1.0, change)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        # Sound ones first, whatever others pass.
        ([("told", 1.0, 0.1, False), ("constrained", 0.6, 0.5, True)], ["constrained", "told"]),
        # Of sound ones the least change, not who passes most.
        ([("told", 0.9, 0.8, True), ("constrained", 0.6, 0.1, True)], ["constrained", "told"]),
        # Without a sound one, eight tokens of anything that passes are not better than an answer that passes as often.
        (
            [
                ("told", 0.0, None, False),
                ("constrained", 0.7, 4.3, False),
                ("told+constrained", 0.7, 0.6, False),
            ],
            ["told+constrained", "constrained", "told"],
        ),
        # Where half of no teacher's answers pass, who passes most.
        ([("told", 0.1, 0.2, False), ("rewritten", 0.3, 2.0, False)], ["rewritten", "told"]),
    ],
)
def test_the_best_is_first(given: list[tuple[str, float, float | None, bool]], wanted: list[str]) -> None:
    rows = [measured(teacher, passed, change, sound=sound) for teacher, passed, change, sound in given]
    assert best_first(rows) == wanted
    assert best_first(rows[::-1]) == wanted


def test_a_teacher_whose_answers_go_round_in_circles_is_not_sound() -> None:
    """Though only their beginnings would be learned."""

    def answer(asked: Asked) -> str | None:
        if asked.held:
            return None
        return "the road is here, so they say" if asked.is_bare else "no, no"

    engine = Scripted(answer)
    engine.unfinished = "the sea is here now " * 12
    choice = choose(Asking(engine, 64), [instructions.get("no_commas")], QUERIES)
    found = {one.teacher: one for one in choice.measured}
    assert found["constrained"].passed == 1.0
    assert found["constrained"].repetition is not None
    assert found["constrained"].repetition > 0.5
    assert not found["constrained"].sound
    assert found["rewritten"].sound
    assert choice.teachers[0] == "rewritten"

"""Which teacher comes first, by what each gave on a sample."""

from __future__ import annotations

import pytest

from trimtab.learn.distillation.choosing import Measured, best_first


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

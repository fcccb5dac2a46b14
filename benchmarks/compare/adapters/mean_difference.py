"""Mean difference with the best of everything: either way to apply it, every block, six strengths.

Of a deep model every third block is tried. The rule of choice is that of all methods.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.compare.task import Candidate, Method, Task, depths
from trimtab.learn.directions import APPLICATIONS

STRENGTHS = (1.0, 0.5, 2.0, 4.0, 8.0, 16.0)
"""Multiples of what the instruction itself does on average; the plain one first."""


def candidates(task: Task) -> Sequence[Candidate]:
    """Strengths, blocks and ways to apply the direction."""
    directions = task.directions()
    usable = depths(
        [block for row, block in enumerate(directions.blocks) if bool(directions.directions[row].any())]
    )
    return [
        Candidate(
            {"application": application, "block": block, "strength": strength},
            directions.steering(application, block, task.sign * strength),
        )
        for strength in STRENGTHS
        for application in APPLICATIONS
        for block in usable
    ]


METHODS = [
    Method(
        "mean-difference",
        "mean difference, best strength",
        candidates,
        "trimtab.learn.mean_difference",
    )
]

"""Constrained decoding: the bare question, its answer held to a grammar of the instruction while it is written.

llguidance computes the tokens that the grammar allows. What follows from the grammar is guaranteed as far as the answer
comes to its end; the model is not told, so what it says is cut into shape.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.compare.task import Candidate, Method, Task


def candidates(task: Task) -> Sequence[Candidate]:
    """The one there is."""
    task.constraint(task.queries("test")[0])
    return [Candidate({}, constrained=True)]


METHODS = [
    Method(
        "constrained",
        "constrained decoding (llguidance)",
        candidates,
        "llguidance",
        ("llguidance",),
        condition="constrained",
        chosen=False,
    )
]

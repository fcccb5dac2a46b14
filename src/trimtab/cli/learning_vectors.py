"""What `learn` does by the methods that find a direction and then search for block and strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab.cli.learning import Found
from trimtab.cli.models import facts_of
from trimtab.cli.output import Output
from trimtab.cli.tune_output import candidates_table

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction


def learn_vector(
    output: Output,
    engine: Engine,
    instruction: Instruction,
    method: str,
    learning: list[str],
    held_out: list[str],
    options: Mapping[str, Any],
) -> Found:
    """Learn a direction, and find the best steering made of it; `options` are those of `tune.make_vector`."""
    from trimtab.report.search import lines
    from trimtab.tune.vector import make_vector

    with output.progress() as tell:
        made = make_vector(
            engine,
            instruction,
            learning,
            held_out,
            method=method,
            facts=facts_of(engine),
            progress=tell,
            **options,
        )
    candidates = made.tuned.candidates if made.tuned else []
    title = f"best of {len(candidates)} candidates, on validation prompts"
    doubt = "this is the least bad" if made.steering.edits else "the steering has no edits"
    return Found(
        made.steering,
        (candidates_table(title, lines(made.tuned)), "") if made.tuned else (),
        {"candidates": candidates},
        f"nothing that was tried did better than no steering at all; {doubt}"
        if made.tuned and not made.tuned.improved
        else "",
        made.directions,
    )

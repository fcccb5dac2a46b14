"""What `learn` does by the methods that find a direction and then search for block and strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from trimtab.cli.learning import Found
from trimtab.cli.models import facts_of
from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.learn.directions import Application
    from trimtab.steering.edits import TokenScope
    from trimtab.tune.tuned import Candidate

APPLICATIONS: tuple[Application, ...] = ("add", "set_projection")


@dataclass(frozen=True)
class Search:
    """What is still to be chosen, and how.

    Attributes:
        blocks: The blocks to try; None for a choice.
        strengths: The strengths to try; None for a choice.
        methods: The ways to apply a direction.
        tokens: Which tokens are changed.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Rows per forward pass.
        seed: Which phrasings meet which queries.
    """

    blocks: Sequence[int] | None
    strengths: Sequence[float] | None
    methods: tuple[Application, ...]
    tokens: TokenScope
    max_new_tokens: int
    batch_size: int | None
    seed: int

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to choose."""
        return all(choice is not None and len(choice) == 1 for choice in self._choices)

    @property
    def _choices(self) -> tuple[Sequence[object] | None, ...]:
        return self.blocks, self.strengths, self.methods


def learn_vector(
    output: Output,
    engine: Engine,
    instruction: Instruction,
    method: str,
    learning: list[str],
    held_out: list[str],
    search: Search,
) -> Found:
    """Learn a direction, and find the best steering made of it.

    Returns:
        The steering, the directions of all blocks, and what was tried: nothing, where there was no choice.
    """
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
            **vars(search),
        )
    steering = made.steering
    candidates = made.tuned.candidates if made.tuned else []
    improved = steering.record.measurements.get("improved") is not False
    return Found(
        steering,
        (candidates_table(candidates), "") if candidates else (),
        {"candidates": candidates},
        ""
        if improved
        else "nothing that was tried did better than no steering at all; "
        + ("this is the least bad" if steering.edits else "the steering has no edits"),
        made.directions,
    )


def candidates_table(candidates: Sequence[Candidate], most: int = 6) -> Table:
    """The best of what was tried on validation prompts."""
    table = Table(title=f"best of {len(candidates)} candidates, on validation prompts", title_justify="left")
    for heading in ("block", "apply", "strength", "prompts", "followed", "score"):
        table.add_column(heading, justify="left" if heading == "apply" else "right")
    table.add_column("objections")
    for one in candidates[:most]:
        table.add_row(
            str(one.block),
            one.application,
            f"{one.strength:g}",
            str(one.n),
            f"{one.followed:.2f}",
            f"{one.score:.2f}",
            ", ".join(one.objections),
        )
    return table

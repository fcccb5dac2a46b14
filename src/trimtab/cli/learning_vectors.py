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
    from trimtab.learn import Directions
    from trimtab.learn.directions import Application
    from trimtab.steering.edits import TokenScope
    from trimtab.steering.steering import Steering
    from trimtab.tune.grid import Candidate

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

    Args:
        output: Where progress is shown.
        engine: The model.
        instruction: What shall be followed.
        method: `mean_difference` or `pca`.
        learning: Queries to learn from.
        held_out: Queries to choose on; none where there is nothing to choose.
        search: What is to be chosen.

    Returns:
        The steering, the directions of all blocks, and what was tried: nothing, where there was no choice.
    """
    with output.progress(f"{instruction.label}: learning", 2) as advance:
        directions, sign = _directions(engine, instruction, learning, method, search)
        advance(1, f"{instruction.label}: choosing block and strength")
        steering, candidates = _chosen(engine, directions, sign, instruction, held_out, search)
    improved = steering.record.measurements.get("improved") is not False
    return Found(
        steering,
        candidates_table(candidates) if candidates else None,
        {"candidates": candidates},
        ""
        if improved
        else "nothing that was tried did better than no steering at all; "
        + ("this is the least bad" if steering.edits else "the steering has no edits"),
        directions,
    )


def _directions(
    engine: Engine, instruction: Instruction, queries: list[str], method: str, search: Search
) -> tuple[Directions, int]:
    """The directions, and -1 where the instruction is followed by going against them."""
    from trimtab import learn, prompts

    source, sign = learn.learning_source(instruction)
    pairs = prompts.make_pairs(queries, source, "learning", seed=search.seed)
    function = learn.mean_difference if method == "mean_difference" else learn.pca
    return function(engine, pairs, source, batch_size=search.batch_size), sign


def _chosen(
    engine: Engine,
    directions: Directions,
    sign: int,
    instruction: Instruction,
    queries: Sequence[str],
    search: Search,
) -> tuple[Steering, list[Candidate]]:
    blocks = None if search.blocks is None else engine.block_numbers(search.blocks)
    strengths = None if search.strengths is None else [sign * value for value in search.strengths]
    if blocks is not None and strengths is not None and not queries:
        named = directions.standing_for(instruction.label, instruction.to_dict())
        return named.steering(search.methods[0], blocks[0], strengths[0], search.tokens), []
    from trimtab import tune

    tuned = tune.search(
        engine,
        directions,
        instruction,
        queries,
        blocks=blocks,
        strengths=strengths,
        methods=search.methods,
        tokens=search.tokens,
        facts=facts_of(engine),
        max_new_tokens=search.max_new_tokens,
        batch_size=search.batch_size,
        seed=search.seed,
    )
    return tuned.steering, tuned.candidates


def candidates_table(candidates: Sequence[Candidate], most: int = 6) -> Table:
    """The best of what was tried on validation prompts.

    Args:
        candidates: Best first.
        most: How many are shown.
    """
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

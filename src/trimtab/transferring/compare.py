"""What a moved steering does in its new model, beside a vector that was made there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import Row, evaluate_instruction, judge
from trimtab.measure.statistics import mean
from trimtab.prompts.pairs import make_pairs
from trimtab.transferring.move import Transferred, instruction_of
from trimtab.tune.vector import make_vector

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.measure.quality import FactCheck
    from trimtab.prompts.queries import Split
    from trimtab.steering.steering import Steering

__all__ = ["Comparison", "compare", "make_here", "measured"]


@dataclass(frozen=True)
class Comparison:
    """What a moved steering does in its new model, beside what else one could do there.

    Attributes:
        instruction: What is to be followed.
        rows: Baseline, instructed, and both steered conditions with the moved steering.
        here: Both steered conditions with a steering that was made on the new model itself; empty without one.
    """

    instruction: Instruction
    rows: tuple[Row, ...]
    here: tuple[Row, ...] = ()

    def followed(self, condition: str, *, here: bool = False) -> float | None:
        """The share of answers that follow the instruction under a condition; None where it was not measured."""
        rows = self.here if here else self.rows
        return mean(row.followed for row in rows if row.condition == condition)

    def to_dict(self) -> dict[str, Any]:
        """The rows as JSON."""
        return {
            "instruction": self.instruction.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "here": [row.to_dict() for row in self.here],
        }


def compare(
    engine: Engine,
    steering: Steering,
    queries: Sequence[str],
    *,
    instruction: Instruction | None = None,
    here: Steering | None = None,
    split: Split = "test",
    baseline: Sequence[Response] | None = None,
    facts: FactCheck | None = None,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Measure a moved steering under the four conditions, and a steering made on the new model beside it.

    Args:
        engine: The new model.
        steering: The moved steering.
        queries: Queries that nothing was learned from or chosen on.
        instruction: What shall be followed; by default what the steering's record names.
        here: A steering made on the new model itself (`make_here`); None leaves it out.
        split: Whose phrasings the instructed conditions use.
        baseline: Responses to exactly these queries without steering, to share them between instructions.
        facts: Judges the truth of a response to a query; None leaves facts out.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which phrasing meets which query.

    Returns:
        The rows of both.

    Raises:
        InstructionError: The record does not name one instruction.
        SteeringError: A steering is for another model.
    """
    target = instruction or instruction_of(steering)
    options: dict[str, Any] = {
        "facts": facts,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
    }
    rows = evaluate_instruction(
        engine,
        target,
        steering,
        queries,
        split=split,
        baseline=baseline,
        method="moved",
        seed=seed,
        **options,
    )
    if here is None:
        return Comparison(target, tuple(rows))
    spoken = [pair.instructed for pair in make_pairs(list(queries), target, split, seed=seed)]
    answers = respond(engine, [*queries] * 2, [*queries, *spoken], steering=here, **options)
    count = len(queries)
    method = here.record.method
    made = (
        judge(target, "steered", method, answers[:count]),
        judge(target, "instructed+steered", method, answers[count:]),
    )
    return Comparison(target, tuple(rows), made)


def measured(moved: Transferred, comparison: Comparison) -> Transferred:
    """The same transfer, what was measured written into the steering's record."""
    figures = {
        row.condition: {"n": row.n, "followed": round(row.followed, 4), "quality": row.quality.to_dict()}
        for row in comparison.rows
    }
    record = moved.steering.record
    record = dataclasses.replace(record, measurements={**record.measurements, "test": figures})
    return dataclasses.replace(moved, steering=dataclasses.replace(moved.steering, record=record))


def make_here(
    engine: Engine,
    instruction: Instruction,
    learning: Sequence[str],
    validation: Sequence[str],
    *,
    facts: FactCheck | None = None,
    blocks: Sequence[int] | None = None,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
) -> Steering:
    """A mean-difference steering made on the new model itself: what a moved one is compared with.

    Args:
        engine: The new model.
        instruction: What shall be followed.
        learning: Queries to learn from.
        validation: Queries on which block and strength are chosen.
        facts: Judges the truth of a response to a query.
        blocks: The blocks to try; None leaves them to the search.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which phrasing meets which query.

    Returns:
        The best of what the search tried.

    Raises:
        PromptError: There are no queries.
    """
    return make_vector(
        engine,
        instruction,
        learning,
        validation,
        blocks=blocks,
        facts=facts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
    ).steering

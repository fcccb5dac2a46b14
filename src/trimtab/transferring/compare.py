"""What a moved steering does in its new model, beside a vector that was made there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.engines import as_engine
from trimtab.instructions import resolve
from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import Row, evaluate_instruction, judge
from trimtab.measure.statistics import mean
from trimtab.prompts.pairs import make_pairs
from trimtab.steering.steering import Steering, given
from trimtab.transferring.move import instruction_of

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.instructions import Instruction
    from trimtab.measure.quality import FactCheck
    from trimtab.prompts.queries import Split

__all__ = ["Compared", "compare"]


@dataclass(frozen=True)
class Compared:
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
    model: Model,
    steering: Steering,
    queries: Sequence[str],
    *,
    instruction: Instruction | str | None = None,
    here: Steering | None = None,
    split: Split = "test",
    baseline: Sequence[Response] | None = None,
    facts: FactCheck | None = None,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
) -> Compared:
    """Measure a moved steering under the four conditions, and a steering made on the new model beside it.

    Args:
        model: The new model.
        steering: The moved steering.
        queries: Queries that nothing was learned from or chosen on.
        instruction: What shall be followed, or its spelling; by default what the steering's record names.
        here: A steering made on the new model itself (`tune.make_vector`); None leaves it out.
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
    engine = as_engine(model)
    given(steering)
    if here is not None:
        given(here, "here")
    target = instruction_of(steering) if instruction is None else resolve(instruction)
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
        return Compared(target, tuple(rows))
    spoken = [pair.instructed for pair in make_pairs(list(queries), target, split, seed=seed)]
    answers = respond(engine, [*queries] * 2, [*queries, *spoken], steering=here, **options)
    count = len(queries)
    method = here.record.method
    made = (
        judge(target, "steered", method, answers[:count]),
        judge(target, "instructed+steered", method, answers[count:]),
    )
    return Compared(target, tuple(rows), made)

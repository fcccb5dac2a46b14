"""What a demonstration measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab.demo.plan import Plan
from trimtab.measure.rows import Row
from trimtab.report.heatmap import SearchMap

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import ModelIdentity, Steering


@dataclass(frozen=True)
class Outcome:
    """What came of one instruction.

    Attributes:
        instruction: The instruction.
        steering: The distilled steering, with its test measurements in the record. With an engine that gives no
            gradients it is the mean difference.
        rows: The four conditions on test queries, with this steering.
        vector: The mean difference as the search chose to apply it, where it stands beside a distilled steering.
        vector_row: Steered by the vector, on the same queries.
        search: Every candidate of the vector's search, and whether the chosen one was better than none.
    """

    instruction: Instruction
    steering: Steering
    rows: tuple[Row, ...]
    vector: Steering | None
    vector_row: Row | None
    search: SearchMap


@dataclass
class Demonstration:
    """What a demonstration measured.

    Attributes:
        model: The model.
        plan: What was asked for.
        outcomes: One per instruction, in order.
        not_distilled: Why an instruction could not be distilled, by label; it is steered by the mean difference.
        seconds: Where the time went, by kind of step.
    """

    model: ModelIdentity
    plan: Plan
    outcomes: list[Outcome] = field(default_factory=list)
    not_distilled: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """The four rows of each instruction."""
        return [row for outcome in self.outcomes for row in outcome.rows]

    @property
    def vector_rows(self) -> list[Row]:
        """The row of each instruction's vector, where it stands beside a distilled steering."""
        return [outcome.vector_row for outcome in self.outcomes if outcome.vector_row is not None]

    def to_dict(self) -> dict[str, Any]:
        """The document of `trimtab demo --json`."""
        return {
            "model": self.model.id,
            "rows": [row.to_dict() for row in (*self.rows, *self.vector_rows)],
            **({"not_distilled": self.not_distilled} if self.not_distilled else {}),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time its block takes to `seconds[name]`.

        Args:
            name: The kind of step.

        Yields:
            Nothing.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

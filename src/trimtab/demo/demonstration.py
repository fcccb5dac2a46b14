"""What a demonstration learned and measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab.demo.plan import Plan
from trimtab.evaluate.results import Evaluation
from trimtab.measure.rows import Row, with_test
from trimtab.report.heatmap import SearchMap

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.measure.facts import Facts
    from trimtab.steering.steering import ModelIdentity, Steering


@dataclass(frozen=True)
class Learned:
    """What was learned of one instruction.

    Attributes:
        instruction: The instruction.
        steering: The distilled steering, with its test measurements in the record. With an engine that gives no
            gradients it is the mean difference.
        vector: The mean difference as the search chose to apply it, where it stands beside a distilled steering.
        search: Every candidate of the vector's search; None where there was nothing to choose.
    """

    instruction: Instruction
    steering: Steering
    vector: Steering | None
    search: SearchMap | None

    def measured(self, rows: Sequence[Row], beside: Sequence[Row]) -> Learned:
        """The same, with what the steering and the vector measured on test queries in their records."""
        vector = None if self.vector is None else with_test(self.vector, beside)
        return dataclasses.replace(self, steering=with_test(self.steering, rows), vector=vector)


@dataclass
class Demonstration:
    """What a demonstration learned and measured.

    Attributes:
        model: The model.
        plan: What was asked for.
        learned: One per instruction, in order.
        evaluation: What the steerings measured on the suite of the test queries; None while that is to come.
        beside: What the vectors measured on it where they stand beside distilled steerings.
        not_distilled: Why an instruction could not be distilled, by label; it is steered by the mean difference.
        seconds: Where the time went, by kind of step.
        scorer: Which other model scored the answers; None for none.
    """

    model: ModelIdentity
    plan: Plan
    learned: list[Learned] = field(default_factory=list)
    evaluation: Evaluation | None = None
    beside: Evaluation | None = None
    not_distilled: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    scorer: ModelIdentity | None = None

    @property
    def rows(self) -> list[Row]:
        """The four rows of each instruction, with Wilson's intervals."""
        return [] if self.evaluation is None else self.evaluation.rows(bootstrap=False)

    @property
    def vector_rows(self) -> list[Row]:
        """The row of each instruction's vector, where it stands beside a distilled steering."""
        return [] if self.beside is None else self.beside.rows(bootstrap=False)

    @property
    def closed_book(self) -> dict[str, Facts]:
        """Closed-book questions plain and steered, by instruction; empty where none were asked."""
        return {} if self.evaluation is None else self.evaluation.closed_book

    def to_dict(self) -> dict[str, Any]:
        """The document of `trimtab demo --json`."""
        return {
            "model": self.model.id,
            "rows": [row.to_dict() for row in (*self.rows, *self.vector_rows)],
            **(
                {"closed_book": {label: facts.to_dict() for label, facts in self.closed_book.items()}}
                if self.closed_book
                else {}
            ),
            **({"not_distilled": self.not_distilled} if self.not_distilled else {}),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time its block takes to `seconds[name]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

"""What a search gives: candidates with what each measured, and the best of them as a steering."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trimtab.learn.directions import Application
from trimtab.measure.quality import Quality
from trimtab.measure.rows import Row
from trimtab.steering.steering import Steering

__all__ = ["Candidate", "Measured", "Tuned", "Weights"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What some way of steering (or none) measured on validation queries.

    Attributes:
        n: On how many queries it was tried: the first few, or all.
        followed: Share of responses that follow the instruction (strict check).
        loose: The same by the loose check.
        good: Share that follow it and are sound.
        quality: That of its responses.
        score: What candidates are compared by.
        objections: What the guard found, in words; empty for a candidate without fault.
        rejected: Whether its responses are so degenerate that it must not win.
        out_of_bounds: Which measures of quality are out of the guard's bounds, in words.
    """

    n: int
    followed: float
    loose: float
    good: float
    quality: Quality
    score: float
    objections: tuple[str, ...] = ()
    rejected: bool = False
    out_of_bounds: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The measurements as JSON; what does not apply is left out."""
        values = dataclasses.asdict(self)
        values["quality"] = self.quality.to_dict()
        values["objections"] = list(self.objections)
        values["out_of_bounds"] = list(self.out_of_bounds)
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in values.items()
            if value is not None
        }


@dataclass(frozen=True, kw_only=True)
class Candidate(Measured):
    """A direction applied in one way, or a finished steering at one strength, and what it measured.

    Attributes:
        application: `add` or `set_projection`; None for a finished steering, as are the block and the weight.
        block: Where.
        strength: How strongly: 1 is the instruction's own effect, or the steering as it is.
        weight: The same in units of the residual stream: the length that is added, or the projection that is set.
    """

    application: Application | None = None
    block: int | None = None
    strength: float
    weight: float | None = None


@dataclass(frozen=True)
class Weights:
    """Three ways to find the strength, each at the block that suits it best, on the same queries.

    Attributes:
        computed: The projection is set to where instructed prompts lie: nothing to choose (Stolfo et al., ICLR 2025).
        manual: A fixed weight is added, as most libraries do. By default it is the mean difference as it is.
        searched: What the search found.
    """

    computed: Candidate
    manual: Candidate
    searched: Candidate

    def to_dict(self) -> dict[str, Any]:
        """The three candidates as JSON."""
        return {item.name: getattr(self, item.name).to_dict() for item in dataclasses.fields(self)}


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search found.

    Attributes:
        steering: The best candidate as a steering, its measurements recorded. It has no edits where every candidate
            is rejected: a degenerate one never wins.
        best: The best candidate.
        candidates: All that were tried, best first; each as measured on the most queries it saw.
        unsteered: What steering nothing measured on the same queries.
        improved: Whether the steering beats steering nothing. If not, it is the least bad one, or has no edits, and
            is flagged in its measurements (`"improved": false`).
        baseline: The plain responses, judged.
        instructed: Those to the queries with the instruction in the prompt.
        steered: Those of the best candidate.
        rows: How many steered rows were generated.
        weights: The computed, the manual and the searched weight side by side, if asked for.
    """

    steering: Steering
    best: Candidate
    candidates: list[Candidate] = field(repr=False)
    unsteered: Measured
    improved: bool
    baseline: Row
    instructed: Row
    steered: Row
    rows: int
    weights: Weights | None = None

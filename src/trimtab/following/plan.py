"""What is tried on one prompt, in which order: more strength, the instruction in the prompt, sampling, a constraint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.measure.rows import Condition
    from trimtab.steering.steering import Steering


@dataclass(frozen=True)
class Step:
    """What one attempt does: the strength of the steering, if any, and what is done besides."""

    strength: float | None
    told: bool
    sampled: bool = False
    constrained: bool = False

    @property
    def condition(self) -> Condition:
        """What this is called."""
        if self.constrained:
            return "constrained" if self.strength is None else "steered+constrained"
        if self.strength is None:
            return "instructed" if self.told else "baseline"
        return "instructed+steered" if self.told else "steered"


def plan(
    steering: Steering | None, strengths: Sequence[float], budget: int, resort: Callable[[], bool]
) -> Iterator[Step]:
    """The attempts at one prompt, as many as the budget has.

    Args:
        steering: What acts on it.
        strengths: Multiples of the steering, in order.
        budget: How many attempts.
        resort: Whether the last one can be held to a constraint; asked only when it comes to that.
    """
    free = _free(steering, strengths)
    yield from islice(free, budget - 1)
    if resort():
        steered = steering is not None and strengths
        yield Step(float(strengths[0]) if steered else None, told=False, constrained=True)
    else:
        yield next(free)


def _free(steering: Steering | None, strengths: Sequence[float]) -> Iterator[Step]:
    """Attempts that nothing holds, without an end."""
    told = [Step(None, told=True)]
    if steering is None or not strengths:
        yield Step(None, told=False)
    else:
        yield from (Step(float(strength), told=False) for strength in strengths)
        told.insert(0, Step(float(strengths[0]), told=True))
    yield from told
    while True:
        yield from (Step(step.strength, told=True, sampled=True) for step in told)

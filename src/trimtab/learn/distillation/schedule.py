"""How a course of training goes, and what is kept of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trimtab.errors import SteeringError


@dataclass(frozen=True)
class Schedule:
    """How a course of training goes.

    Attributes:
        steps: Steps of the optimiser.
        batch_size: Lessons per step, over all processes.
        rate: Adam's learning rate for what is added, in units of the residual stream; falls linearly to 0.
        gate_rate: The same for gates.
        clip: The norm gradients are clipped to.
        top: Of the teacher's distribution, how many tokens are kept; the others count as one.
        answer_weight: How much the answer's own tokens count beside the teacher's distribution, 0 to 1.
        seed: Orders the lessons.
        save_every: Steps between two saved states, where there is a place for them.
    """

    steps: int = 100
    batch_size: int = 16
    rate: float = 0.03
    gate_rate: float = 0.003
    clip: float = 5.0
    top: int = 32
    answer_weight: float = 0.5
    seed: int = 0
    save_every: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "top", "save_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SteeringError(
                    f"{name} of a distillation must be a whole number from 1 on, not {value!r}"
                )
        for name in ("rate", "gate_rate", "clip"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0:
                raise SteeringError(f"{name} of a distillation must be a positive number, not {value!r}")
        if not 0 <= self.answer_weight <= 1:
            raise SteeringError(
                f"answer_weight of a distillation is between 0 and 1, not {self.answer_weight!r}"
            )


@dataclass(frozen=True)
class Step:
    """One step of a course.

    Attributes:
        step: Its number, from 1 on.
        steps: How many there are.
        loss: KL(teacher || student) of its batch, nats per token.
        held_out: The same over the validation lessons, where it was measured after this step.
    """

    step: int
    steps: int
    loss: float
    held_out: float | None = None

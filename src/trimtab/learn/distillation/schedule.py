"""How a course of training goes, and what is kept of its steps.

What is not given follows from the model and the lessons, by one rule for all models. Adam moves every coordinate by
about its rate, whatever the gradient (D. Kingma, J. Ba: Adam, 2015), so the rates are to say how far the *model* moves:

- of what is added, in units of the residual stream: `0.03 sqrt(5 / k)`, at most 0.03, for `k` edits. All of them are
  moved the same way by one gradient, so many must each move less.
- of gates, `p` in `<p, h>`: a fifth of that. (On a model of width 576 a quarter learned as fast as 0.6 and faster than
  0.04; a rate that falls with the width, as for weights that read coordinates which move together, was slower.)

Both rise over the first steps and then fall linearly to 0.

How many steps there are goes by what they hold. Lessons that are near what the model says by itself are learned after
some 45,000 tokens of answers, whether in many steps of short ones or in few of long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trimtab import arguments
from trimtab.errors import SteeringError

_RATE, _EDITS = 0.03, 5  # learned with nano: the rate that fits so many edits
_GATES = 0.2  # of the rate
_STEPS, _STEPS_NEAR = 100, 80
_TOKENS_NEAR = 45_000  # of answers, after which no further step is worth its time
_CHECKS = 5  # of the held-out loss in as many steps; in fewer, fewer
_BATCH, _BATCH_TOKENS = 16, 800
_LEAST_BATCH = 4
_MOST = 1_000_000
_OPEN = ("steps", "batch_size", "rate", "gate_rate")  # what may be left to the model and the lessons


@dataclass(frozen=True)
class Schedule:
    """How a course of training goes; None: as fits the model and the lessons.

    Attributes:
        steps: Steps of the optimiser: 100. Where the lessons are what the model says by itself but for what it must not
            say or a program changed, 80, or down to 40 if these would hold more than 45,000 tokens of answers.
        batch_size: Lessons per step, over all processes: 16, or fewer where these have more than 800 tokens.
        rate: Adam's learning rate for what is added, in units of the residual stream.
        gate_rate: The same for gates.
        warm_up: Steps over which the rates rise, at most a tenth of all; then they fall linearly to 0.
        clip: The norm gradients are clipped to.
        top: Of the teacher's distribution, how many tokens are kept; the others count as one.
        answer_weight: How much the answer's own tokens count beside the teacher's distribution, 0 to 1.
        leak_weight: How much it counts that the student says what a constraint forbids, beside how it says the rest.
        seed: Orders the lessons.
        save_every: Steps between two saved states, where there is a place for them.
    """

    steps: int | None = None
    batch_size: int | None = None
    rate: float | None = None
    gate_rate: float | None = None
    warm_up: int = 5
    clip: float = 5.0
    top: int = 32
    answer_weight: float = 0.5
    leak_weight: float = 6.0
    seed: int = 0
    save_every: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "top", "save_every"):
            self._check(arguments.whole, name, least=1, most=_MOST)
        self._check(arguments.whole, "warm_up", least=0)
        for name in ("rate", "gate_rate", "clip"):
            self._check(arguments.positive, name)
        self._check(arguments.share, "answer_weight")
        self._check(arguments.number, "leak_weight", least=1, wanted="a finite number from 1 on")
        arguments.seed(self.seed, SteeringError, "seed of a distillation")

    def _check(self, check: Callable[..., object], name: str, **limits: Any) -> None:
        value = getattr(self, name)
        if value is not None or name not in _OPEN:
            check(value, f"{name} of a distillation", SteeringError, **limits)

    def fitted(self, *, edits: int, tokens: float, near: bool) -> Pace:
        """The same with nothing left open.

        Args:
            edits: How many are learned.
            tokens: How long a lesson's answer is, on average.
            near: Whether the lessons are what the model says by itself, but for what it must not say or was changed.
        """
        rate = self.rate or _RATE * min(1.0, math.sqrt(_EDITS / edits))
        fitting = max(_LEAST_BATCH, min(_BATCH, int(_BATCH_TOKENS / max(tokens, 1.0))))
        batch = self.batch_size or fitting
        usual = steps = self.steps or (_STEPS_NEAR if near else _STEPS)
        if near and self.steps is None:
            steps = min(usual, max(usual // 2, math.ceil(_TOKENS_NEAR / (batch * max(tokens, 1.0)))))
        return Pace(
            steps=steps,
            batch_size=batch,
            rate=rate,
            gate_rate=self.gate_rate or rate * _GATES,
            checks=max(1, round(_CHECKS * steps / usual)),
            schedule=self,
        )


@dataclass(frozen=True)
class Pace:
    """What a schedule comes to for a model and its lessons.

    The attributes are those of `Schedule`, and `checks`: how often the held-out loss is measured.
    """

    steps: int
    batch_size: int
    rate: float
    gate_rate: float
    checks: int
    schedule: Schedule

    @property
    def settled(self) -> Schedule:
        """The schedule with nothing left open."""
        return replace(
            self.schedule,
            steps=self.steps,
            batch_size=self.batch_size,
            rate=self.rate,
            gate_rate=self.gate_rate,
        )

    def share(self, step: int) -> float:
        """Of the rates, how much of them counts at a step, from 0 on: rising, then falling linearly to 0."""
        rising = min(1.0, (step + 1) / (min(self.schedule.warm_up, self.steps // 10) + 1))
        return rising * (1 - step / self.steps)


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

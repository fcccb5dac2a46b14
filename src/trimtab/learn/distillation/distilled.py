"""What a distillation gives: a steering with its record, and what was tried for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trimtab.learn.captured import UNNAMED
from trimtab.learn.distillation.choosing import Choice
from trimtab.learn.distillation.learnable import Accept
from trimtab.learn.distillation.lessons import Lessons
from trimtab.learn.distillation.material import Material
from trimtab.learn.distillation.schedule import Schedule, Step
from trimtab.learn.distillation.sizes import Size
from trimtab.learn.distillation.trainable import Form
from trimtab.measure.judges.base import judges_of
from trimtab.prompts.pairs import PromptPair, digest
from trimtab.steering.steering import Record, Steering

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.measure.bounds import Comparison
    from trimtab.steering.edits import Edit
    from trimtab.steering.record import ModelIdentity

SLACK = 0.05
"""So far out of the bounds of quality counts as within them: on some 24 answers, that is chance."""


@dataclass(frozen=True)
class Trial:
    """What one set of edits came to.

    Attributes:
        size: Its blocks and rank.
        history: The steps of its course.
        held_out: Its lowest loss over validation lessons, nats per token; None if the instructed model follows none.
        followed: How many validation queries it follows, as a share, without the instruction in the prompt; None where
            nothing can say so.
        comparison: The quality of its answers beside that of plain ones; None where `followed` is.
    """

    size: Size
    history: tuple[Step, ...] = field(repr=False)
    held_out: float | None
    followed: float | None
    comparison: Comparison | None = None

    @property
    def excess(self) -> float:
        """How far its answers are out of the bounds of quality; 0 within them."""
        return 0.0 if self.comparison is None else self.comparison.excess

    @property
    def merit(self) -> tuple[bool, float, float]:
        """The better the greater: within the bounds of quality or not, how often it follows, how low its loss is.

        What it follows counts less by how far it is out of bounds.
        """
        return self.excess <= SLACK, (self.followed or 0.0) - self.excess, -(self.held_out or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """The trial as JSON, without its history."""
        return {
            "blocks": list(self.size.blocks),
            "rank": self.size.rank,
            "steps": len(self.history),
            "held_out": None if self.held_out is None else round(self.held_out, 5),
            "followed": None if self.followed is None else round(self.followed, 4),
            **self.quality(),
        }

    def quality(self) -> dict[str, Any]:
        """The quality of its answers, and whether it is within the bounds, as JSON; nothing where it is not known."""
        if self.comparison is None:
            return {}
        return {"quality": self.comparison.quality.to_dict(), **self.comparison.to_dict()}


@dataclass(frozen=True)
class Distilled:
    """What a distillation gave.

    Attributes:
        steering: The edits that did best on validation.
        trials: Every set of edits that was tried, the smallest first.
        lessons: What they learned from.
        instructed_followed: How many validation queries the instructed model follows, as a share; None as above.
        choice: How the teacher was chosen; None where prompt pairs were learned from.
    """

    steering: Steering
    trials: tuple[Trial, ...]
    lessons: Lessons
    instructed_followed: float | None
    choice: Choice | None = None

    @property
    def history(self) -> tuple[Step, ...]:
        """Every step of every trial, in order."""
        return tuple(step for trial in self.trials for step in trial.history)


def name_of(wanted: Sequence[Instruction]) -> str:
    """What is called so that was learned for these instructions, or from pairs that no instruction stands for."""
    return " and ".join(one.label for one in wanted) or UNNAMED


def made_steering(
    model: ModelIdentity,
    wanted: Sequence[Instruction],
    edits: Sequence[Edit],
    chosen: Trial,
    material: Material,
    schedule: Schedule,
    form: Form,
    pairs: Sequence[Sequence[PromptPair]],
    counts: tuple[int, int],
    baseline_followed: float | None = None,
    accept: Accept = "followed",
) -> Steering:
    """The edits of a trial as a steering, with the record of how they were learned.

    `counts` says how many queries there were to learn on, and to validate with; `baseline_followed` how many of these
    plain answers follow, as a share; `accept` which answers became lessons.
    """
    settings = {
        "form": form,
        "blocks": list(chosen.size.blocks),
        "rank": chosen.size.rank,
        "queries": counts[0],
        "lessons": {kind: material.lessons.count(kind) for kind in ("plain", "instructed", "other")},
        **material.settings(),
        **judges_of(wanted),
        **({} if accept == "followed" else {"accept": accept}),
        "schedule": asdict(schedule),
    }
    measured: dict[str, Any] = {"n": counts[1]}
    if chosen.followed is not None:
        measured["followed"] = round(chosen.followed, 4)
        measured["instructed_followed"] = round(material.told_followed, 4)
        measured |= judges_of(wanted)
    if baseline_followed is not None:
        measured["baseline_followed"] = round(baseline_followed, 4)
    measured |= chosen.quality()
    measured["divergence"] = None if chosen.held_out is None else round(chosen.held_out, 5)
    measurements: dict[str, Any] = {"validation": measured}
    if material.choice is not None:
        measurements["teachers"] = [one.to_dict() for one in material.choice.measured]
    record = Record(
        model=model,
        instructions=tuple(one.to_dict() for one in wanted),
        method="distilled",
        prompts=digest([pair for several in pairs for pair in several]),
        settings=settings,
        measurements=measurements,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Steering(name_of(wanted), tuple(edits), record)

"""What a distillation gives: a steering with its record, and what was tried for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trimtab import prompts
from trimtab.learn.distillation.lessons import Lessons
from trimtab.learn.distillation.schedule import Schedule, Step
from trimtab.learn.distillation.sizes import Size
from trimtab.learn.distillation.trainable import Form
from trimtab.steering.steering import Record, Steering

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.edits import Edit
    from trimtab.steering.record import ModelIdentity


@dataclass(frozen=True)
class Trial:
    """What one set of edits came to.

    Attributes:
        size: Its blocks and rank.
        history: The steps of its course.
        held_out: Its lowest loss over validation lessons, nats per token; None if the instructed model follows none.
        followed: How many validation queries it follows, as a share, without the instruction in the prompt.
    """

    size: Size
    history: tuple[Step, ...]
    held_out: float | None
    followed: float

    def to_dict(self) -> dict[str, Any]:
        """The trial as JSON, without its history."""
        return {
            "blocks": list(self.size.blocks),
            "rank": self.size.rank,
            "steps": len(self.history),
            "held_out": None if self.held_out is None else round(self.held_out, 5),
            "followed": round(self.followed, 4),
        }


@dataclass(frozen=True)
class Distilled:
    """What a distillation gave.

    Attributes:
        steering: The edits that did best on validation.
        trials: Every set of edits that was tried, the smallest first.
        lessons: What they learned from.
        instructed_followed: How many validation queries the instructed model follows, as a share.
    """

    steering: Steering
    trials: tuple[Trial, ...]
    lessons: Lessons
    instructed_followed: float

    @property
    def history(self) -> tuple[Step, ...]:
        """Every step of every trial, in order."""
        return tuple(step for trial in self.trials for step in trial.history)


def made_steering(
    model: ModelIdentity,
    wanted: Sequence[Instruction],
    edits: Sequence[Edit],
    chosen: Trial,
    lessons: Lessons,
    instructed: float,
    schedule: Schedule,
    form: Form,
    queries: Sequence[str],
    held_out: int,
) -> Steering:
    """The edits of a trial as a steering, with the record of how they were learned.

    Args:
        model: The model they are for.
        wanted: What they stand for.
        edits: The edits.
        chosen: Their trial.
        lessons: What they learned from.
        instructed: How many validation queries the instructed model follows, as a share.
        schedule: How they were learned.
        form: What was learned of each.
        queries: The queries of the lessons.
        held_out: How many validation queries there were.
    """
    settings = {
        "form": form,
        "blocks": list(chosen.size.blocks),
        "rank": chosen.size.rank,
        "queries": len(queries),
        "lessons": {kind: lessons.count(kind) for kind in ("plain", "instructed", "other")},
        "schedule": asdict(schedule),
    }
    measured = {
        "n": held_out,
        "followed": round(chosen.followed, 4),
        "instructed_followed": round(instructed, 4),
        "divergence": None if chosen.held_out is None else round(chosen.held_out, 5),
    }
    record = Record(
        model=model,
        instructions=tuple(one.to_dict() for one in wanted),
        method="distilled",
        prompts=prompts.digest(
            [pair for one in wanted for pair in prompts.make_pairs(queries, one, "learning", schedule.seed)]
        ),
        settings=settings,
        measurements={"validation": measured},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Steering(" and ".join(one.label for one in wanted), tuple(edits), record)

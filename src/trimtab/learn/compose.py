"""Several steerings at once: the union of their edits, and a short joint distillation where that is not enough.

Edits of different steerings add up, and most pairs leave each other alone. Some do not: each was learned where the
other was silent. Whether a union follows all its instructions is measured on validation queries; where it does not,
all its edits are trained on together for a few steps, the model that is told everything being the teacher, or another
one where that fails.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab import arguments, prompts
from trimtab import instructions as catalogue
from trimtab.engines import as_engine
from trimtab.errors import SteeringError
from trimtab.learn.distillation.distill import distill
from trimtab.learn.distillation.distilled import Distilled
from trimtab.learn.distillation.dividing import validation_queries
from trimtab.learn.distillation.gathering import TooFewAnswersError
from trimtab.learn.distillation.learnable import check_compatible, check_learnable
from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.teachers import Teacher, check_teacher
from trimtab.measure.judges.base import judges_of
from trimtab.measure.responses import verdicts
from trimtab.progress import Progress, shown
from trimtab.prompts.queries import query_list
from trimtab.steering.steering import Steering, given

if TYPE_CHECKING:
    from trimtab.engines.base import Engine, Model
    from trimtab.instructions import Instruction, Judge

Fit = Literal["auto", "never", "always"]

ENOUGH = 0.95
"""Share of validation queries on which a union has to follow all its instructions to be left as it is."""

SCHEDULE = Schedule(steps=50, rate=0.01, gate_rate=0.001)
"""Of a joint distillation: what it begins with is nearly right."""


@dataclass(frozen=True)
class Composed:
    """What a composition came to; shares are of validation queries, and None where nothing was measured.

    Attributes:
        steering: The union, or what it became.
        union_followed: How many queries the plain union follows in all its instructions.
        fitted_followed: The same after joint distillation; None where there was none.
        instructed_followed: The same of the instructed model; None where there was no joint distillation.
        distilled: How the joint distillation went.
    """

    steering: Steering
    union_followed: float | None = None
    fitted_followed: float | None = None
    instructed_followed: float | None = None
    distilled: Distilled | None = None

    @property
    def fitted(self) -> bool:
        """Whether the steering is the outcome of a joint distillation."""
        return self.steering.record.settings.get("fit") == "joint distillation"


def compose(
    model: Model,
    steerings: Sequence[Steering],
    *,
    fit: Fit = "auto",
    judge: Judge | None = None,
    enough: float = ENOUGH,
    queries: Sequence[str] | None = None,
    validation: Sequence[str] | None = None,
    teacher: Teacher | None = None,
    schedule: Schedule | None = None,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    progress: Progress = False,
    seed: int = 0,
) -> Composed:
    """Put steerings together, and make them go together.

    Args:
        model: The model they are for: an engine, or a model of transformers with its tokenizer.
        steerings: Two or more, each with its instructions in its record.
        fit: `auto` distils jointly where the union follows too seldom, `always` in any case, `never` not at all (and
            then nothing is measured).
        judge: Who judges those instructions that have a question in the place of a check.
        enough: What share of the validation queries is often enough.
        queries: Base queries of the joint distillation; 48 of the model's own by default.
        validation: Other queries, to measure on; 24 of the model's own by default.
        teacher: Of the joint distillation; chosen by what each gives by default.
        schedule: Of the joint distillation; 50 steps at a third of the usual rates by default.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Rows per batch when measuring; None lets the engine choose.
        progress: See `trimtab.progress.Progress`.
        seed: Chooses queries, wordings and samples.

    Returns:
        The steering, with what was measured. Its record says whether it was fitted.

    Raises:
        SteeringError: There are fewer than two, they are for different models, one of them names no instruction, two
            contradict each other, an instruction has no check, or an option makes no sense.
        PromptError: With `fit="always"`: no teacher gives enough answers that follow everything to learn from.
    """
    enough = arguments.share(enough, "enough", SteeringError)
    arguments.seed(seed, SteeringError)
    check_teacher(teacher)
    if schedule is not None:
        arguments.instance(schedule, "schedule", Schedule, "a trimtab.learn.Schedule, or None", SteeringError)
    queries = None if queries is None else query_list(queries)
    validation = None if validation is None else query_list(validation, "validation")
    union = union_of(steerings, fit, judge)
    engine = as_engine(model)
    union.check_model(engine.identity)
    if union.whens or fit == "never":
        return Composed(_recorded(union, {"fit": "never"}, {}))
    wanted = [one.judged_by(judge) for one in instructions_of(steerings)]

    if validation is None:
        validation = validation_queries(engine.identity, queries or (), seed)
    with shown(progress) as tell:
        tell(f"{union.name}: measuring the union", 0)
        followed = share_followed(
            engine, union, wanted, validation, max_new_tokens=max_new_tokens, batch_size=batch_size
        )
        measured: dict[str, Any] = {"n": len(validation), "followed": round(followed, 4), **judges_of(wanted)}
        union = _recorded(union, {"fit": "none needed"}, measured)
        if fit == "auto" and followed >= enough:
            return Composed(union, followed)

        if queries is None:
            queries = prompts.default_queries(engine.identity, "learning", 48, seed)
        try:
            distilled = distill(
                engine,
                queries,
                wanted,
                validation=validation,
                start=union,
                teacher=teacher,
                schedule=schedule or SCHEDULE,
                other=0.0,
                max_new_tokens=max_new_tokens,
                progress=tell,
                seed=seed,
            )
        except TooFewAnswersError as error:
            if fit == "always":
                raise
            return Composed(_recorded(union, {"fit": f"not possible: {error}"}, measured), followed)
    fitted, told = distilled.trials[0].followed or 0.0, distilled.instructed_followed or 0.0
    measured |= {"union_followed": round(followed, 4), "instructed_followed": round(told, 4)}
    if fitted <= followed and fit == "auto":
        steering = _recorded(union, {"fit": "tried, no better"}, measured)
    else:
        settings = {"fit": "joint distillation", "distillation": distilled.steering.record.settings}
        measured["followed"] = round(fitted, 4)
        measured |= distilled.trials[0].quality()
        steering = _recorded(replace(union, edits=distilled.steering.edits), settings, measured)
    return Composed(steering, followed, fitted, told, distilled)


def union_of(steerings: Sequence[Steering], fit: Fit = "auto", judge: Judge | None = None) -> Steering:
    """The plain union of steerings that can go together; what `compose` begins with, and needs no model for.

    Raises:
        SteeringError: As of `compose`.
    """
    arguments.one_of(fit, "fit", get_args(Fit), SteeringError)
    steerings = [
        given(one, "each of steerings")
        for one in arguments.listed(steerings, "steerings", "steerings, two or more", SteeringError)
    ]
    if len(steerings) < 2:
        raise SteeringError(f"a composition is of two steerings or more, not {len(steerings)}")
    union = reduce(operator.add, steerings)
    if union.whens:  # they may contradict each other, as they need not act together
        if fit == "always":
            raise SteeringError(
                "steerings that do not act on every prompt cannot be distilled together, as they do not always act "
                "together; fit them as they are without (`always()`), and say when they act afterwards"
            )
    elif fit == "never":  # those that name no instruction may be added up as well
        check_compatible(instructions_of([one for one in steerings if one.record.instructions]))
    else:
        check_learnable([one.judged_by(judge) for one in instructions_of(steerings)])
    return union


def instructions_of(steerings: Sequence[Steering]) -> list[Instruction]:
    """The instructions that steerings stand for, each once.

    Raises:
        SteeringError: One of them names none.
        InstructionError: One of them names an instruction that is not known here.
    """
    found: list[Instruction] = []
    for steering in steerings:
        if not steering.record.instructions:
            raise SteeringError(
                f"the record of '{steering.name}' names no instruction, so nothing can tell whether it is followed; "
                "compose it by adding it to the others (fit='never')"
            )
        found += [catalogue.from_dict(item) for item in steering.record.instructions]
    return list(dict.fromkeys(found))


def share_followed(
    engine: Engine,
    steering: Steering | None,
    wanted: Sequence[Instruction],
    queries: Sequence[str],
    *,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
) -> float:
    """Share of queries, given without any instruction, that are answered as all instructions want.

    Raises:
        PromptError: There are no queries.
    """
    passed = verdicts(
        engine, queries, wanted, steering=steering, max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    return sum(passed) / len(passed)


def _recorded(steering: Steering, settings: dict[str, Any], measured: dict[str, Any]) -> Steering:
    record = steering.record
    record = replace(record, settings={**record.settings, **settings}, measurements={"validation": measured})
    return replace(steering, record=record)

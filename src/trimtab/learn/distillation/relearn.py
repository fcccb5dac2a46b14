"""Learning a moved steering's edits anew: the model it was made on is the teacher, the one it moved to the student.

Where fine-tuning has changed a model a lot, edits that were moved to its base find activations there that their gates
do not know. What can be moved all the same is the behaviour: told the instruction, the source model answers queries,
and the edits of the target are trained so that the target, not told, expects the same tokens

    sum_t KL( p_source(. | instructed x, y_<t)  ||  p_target,edits(. | x, y_<t) )

over answers y that pass the instruction's check. This is `distill` with teacher and student in two models, each reading
prompts in its own format; both must have the same tokenizer. The edits begin as the moved ones, in the proportion of
the two residual streams.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab import instructions
from trimtab.engines import as_engine
from trimtab.engines.chat import prompt_ids
from trimtab.engines.ranks import Ranks
from trimtab.errors import ModelError, SteeringError
from trimtab.learn.distillation.material import Finding
from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.targets import AtOnce, Targets, teacher_targets
from trimtab.learn.distillation.teachers import Teacher, check_teacher, end_token
from trimtab.learn.distillation.trainable import TrainableEdits
from trimtab.learn.distillation.training import Course, scales_of, trainable_engine
from trimtab.measure.judges.base import judges_of
from trimtab.progress import Progress, prefixed, shown
from trimtab.steering.edits import Edit

if TYPE_CHECKING:
    from trimtab.engines.base import Model
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering

_NEVER = math.log(1e-9)  # of a token that is not to come
_TOGETHER = 16  # answers that go through the teacher at once
_STEPS = 60  # fewer than from nothing: the edits begin near where they are needed


def relearn(
    source: Model,
    target: Model,
    steering: Steering,
    queries: Sequence[str],
    validation: Sequence[str],
    instruction: Instruction | str,
    *,
    teacher: Teacher | None = None,
    schedule: Schedule | None = None,
    max_new_tokens: int | None = None,
    progress: Progress = False,
    seed: int = 0,
) -> Steering:
    """Train the edits of a moved steering on the answers of the model it was made on.

    Args:
        source: The model it was made on, which teaches.
        target: The model it was moved to; it must be a `TransformersEngine`, as gradients pass through it.
        steering: The moved steering (`transferring.move`).
        queries: Base queries to learn on.
        validation: Other queries, to end the training by.
        instruction: What shall be followed.
        teacher: How the source model is brought to follow; see `teachers`. Chosen by what each way gives by default.
        schedule: Steps, rates and batch size; 60 steps by default.
        max_new_tokens: Longest answer, in tokens; as of `distill` by default.
        progress: See `trimtab.progress.Progress`.
        seed: Chooses wordings, samples and the order of lessons.

    Returns:
        The steering with trained edits; what was measured before is dropped from its record.

    Raises:
        ModelError: An engine cannot give gradients, or the tokenizers differ.
        PromptError: The source follows the instruction too seldom to learn from, with any teacher.
        SteeringError: The steering is not for the target, or has no edits or a `when`; or there is no such teacher.
    """
    check_teacher(teacher)
    if teacher == "steered":
        raise SteeringError(
            "relearning has no steered teacher, as the model that teaches is not the one that is steered"
        )
    teaching, student = trainable_engine(as_engine(source)), trainable_engine(as_engine(target))
    steering.check_model(student.identity)
    if not steering.edits or steering.whens:
        raise SteeringError(
            f"the steering '{steering.name}' has no edits to learn anew, or does not always act"
        )
    if teaching.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise ModelError(
            f"{teaching.identity.id} and {student.identity.id} have different tokenizers, so that one cannot be taught "
            "by the other's tokens; fit the strength alone, or use a linear map"
        )
    wanted = instructions.resolve(instruction)
    schedule = dataclasses.replace(schedule or Schedule(steps=_STEPS), seed=seed)
    with shown(progress) as tell:
        tell = prefixed(tell, wanted.label)

        material = Finding(
            teaching, [wanted], Ranks(), seed, tell, teacher, max_new_tokens=max_new_tokens
        ).find(queries, validation, phrasings=1, instructed=0.0, others=(), other=0.0)
        prompts = {
            tuple(prompt_ids(teaching.tokenizer, query)): tuple(prompt_ids(student.tokenizer, query))
            for query in (*queries, *validation)
        }
        lessons, held_out = (
            [dataclasses.replace(one, student=prompts[one.student]) for one in found.lessons]
            for found in (material.lessons, material.examples)
        )
        everything = [*lessons, *held_out]
        targets = teacher_targets(
            teaching,
            everything,
            sorted(range(len(everything)), key=lambda one: len(everything[one].answer)),
            AtOnce(_TOGETHER),
            top=schedule.top,
            answer_weight=schedule.answer_weight,
        )
        if end_token(teaching) != end_token(student):
            for place, one in targets.items():
                if everything[place].ended:
                    _end_with(one, end_token(student))
        scales = [scales_of(engine, queries) for engine in (teaching, student)]
        edits = TrainableEdits.of(_in_proportion(steering, *scales), scales[1])
        course = Course(student, edits, lessons, held_out, schedule, Ranks(), targets=targets)
        course.run(tell)
    learned = {
        "queries": len(queries),
        "lessons": len(lessons),
        "lessons_from": material.teacher,
        **judges_of([wanted]),
        "schedule": dataclasses.asdict(course.pace.settled),
    }
    record = dataclasses.replace(
        steering.record,
        settings={
            **steering.record.settings,
            "relearned": {"teacher": teaching.identity.to_dict(), **learned},
        },
        measurements={},
    )
    return dataclasses.replace(steering, edits=edits.edits(), record=record)


def _end_with(targets: Targets, token: int) -> None:
    """Let an answer end with this token: models of one tokenizer may end their answers with different ones."""
    found = (targets.tokens[-1] == token).nonzero()
    column = int(found[0]) if len(found) else -1
    targets.tokens[-1, column] = token
    targets.log_probs[-1] = targets.rest[-1] = _NEVER
    targets.log_probs[-1, column] = 0.0


def _in_proportion(steering: Steering, source: dict[int, float], target: dict[int, float]) -> list[Edit]:
    """The moved edits in the units of the new residual stream: what adds r times as much reads r times as much."""
    if "linear_map" in steering.record.settings:  # which has seen to it
        return list(steering.edits)
    origin = {there: int(here) for here, there in steering.record.settings.get("moved_blocks", {}).items()}
    edits = []
    for edit in steering.edits:
        ratio = target[edit.block] / source[origin.get(edit.block, edit.block)]
        gate = None if edit.p is None else edit.p / ratio
        edits.append(dataclasses.replace(edit, u=edit.u * ratio, p=gate))
    return edits

"""Teaching the model an instruction, in the background, with small settings that suit a page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab import instructions, nano, prompts
from trimtab.errors import InstructionError
from trimtab.files import write_text
from trimtab.learn.distillation.distill import distill
from trimtab.learn.distillation.learnable import check_learnable
from trimtab.learn.distillation.schedule import Schedule, Step
from trimtab.measure.responses import verdicts
from trimtab.page.working import Job
from trimtab.page.workplace import Workplace
from trimtab.patterns import UserPattern
from trimtab.prompts.pairs import make_pairs
from trimtab.steering.record import Record
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.instructions import Instruction, InstructionType
    from trimtab.steering.edits import Edit

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
SHOWN = 4
"""How many prompts are shown before anything is learned."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on teaching.

    Attributes:
        queries: Questions to learn from.
        validation: Other questions, to see by whether it is followed.
        steps: Steps of training.
        pool: Questions to look through for those that tempt the model to do what is forbidden.
        watched: Of the questions to validate with, how many are answered while it learns.
    """

    queries: int = 32
    validation: int = 16
    steps: int = 60
    pool: int = 128
    watched: int = 8

    def in_words(self) -> str:
        """What is spent, to read."""
        return (
            f"It learns from the model's own answers to {self.queries} questions, in {self.steps} steps, and is tried "
            f"on {self.validation} other questions. The command trimtab learn takes more of each."
        )


EFFORT = Effort()


def own_instruction(
    workplace: Workplace, name: str, phrases: str, pattern: str, *, ignore_case: bool = False
) -> Instruction:
    """Makes an instruction of one's own known, and keeps it in a TOML file beside the steerings.

    Args:
        workplace: Where it is kept.
        name: What to call it: small letters, digits and `_`.
        phrases: Ways to ask for it, one a line.
        pattern: The regular expression that occurs in every answer that follows it.
        ignore_case: Whether that is so in any case.

    Raises:
        InstructionError: Something is missing, the expression is not valid, or the name is taken.
    """
    workplace.check_permission()
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise InstructionError(
            f"{name!r} cannot be the name of an instruction; use small letters, digits and _, a letter first"
        )
    texts = [line.strip() for line in phrases.splitlines() if line.strip()]
    if not texts:
        raise InstructionError("there is no phrase yet; write how you would ask for it, one way a line")
    if not pattern:
        raise InstructionError(
            "there is no regular expression yet; write one that every right answer contains"
        )
    lines = [
        f"[{name}]",
        f"summary = {json.dumps(texts[0])}",
        f"phrasings = {json.dumps(texts)}",
        f"regex = {json.dumps(pattern)}",
    ]
    if ignore_case:
        lines.append("ignore_case = true")
    path = workplace.instructions_folder / f"{name}.toml"
    before = path.read_text(encoding="utf-8") if path.exists() else None
    write_text(path, "\n".join(lines) + "\n", make_folder=True)
    try:
        [kind] = instructions.load_file(path)
    except InstructionError:
        if before is None:
            path.unlink()
        else:
            write_text(path, before)
        raise
    return kind()


def matches(pattern: str | None, text: str | None, *, ignore_case: bool = False) -> str:
    """What to say of a regular expression and an answer to try it on."""
    if not pattern:
        return ""
    try:
        found = UserPattern(pattern, InstructionError, ignore_case=ignore_case).first_in(
            text or "", "an answer"
        )
    except InstructionError as error:
        return f"{str(error)[:1].upper()}{str(error)[1:]}."
    if not text:
        return "This is a regular expression."
    return "It finds nothing in this answer." if found is None else f"It finds {found!r}."


def catalogued(spelling: str) -> Instruction:
    """The one instruction of a spelling, which can be taught.

    Raises:
        InstructionError: There is none, or several.
        SteeringError: It has no check, so nothing can tell which answers follow it.
    """
    one = instructions.resolve(spelling)
    check_learnable([one])
    return one


def teachable() -> list[InstructionType]:
    """The kinds of the catalogue that have a check of their own."""
    return [kind for kind in instructions.catalogue() if kind.question is None]


def preview(workplace: Workplace, one: Instruction, count: int = SHOWN) -> list[str]:
    """Some of the prompts that the model will be asked, with the instruction in them."""
    queries = prompts.default_queries(workplace.engine.identity, "learning", count)
    return [str(pair.instructed) for pair in make_pairs(queries, one, "learning")]


def name_for(workplace: Workplace, one: Instruction) -> str:
    """A name for its steering that none of the others has."""
    values = [str(value) for value in one.params.values() if isinstance(value, str | int)]
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join([one.name, *values])).strip("-.")[:80]
    taken, name, number = set(workplace.library.names()), base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def teach(workplace: Workplace, job: Job, one: Instruction, effort: Effort = EFFORT) -> None:
    """Begins to teach in the background; what comes of it is kept, and can be chosen.

    Raises:
        TrimtabError: Other work is under way, or the server does not let steerings in.
    """
    workplace.check_permission()
    name = name_for(workplace, one)
    engine = workplace.twin
    identity = engine.identity
    drawn = prompts.draw_queries(identity, learning=effort.queries, validation=effort.validation)
    pool = prompts.default_queries(identity, "learning", effort.pool)
    folder = workplace.place / f".teaching-{name}"

    def work(job: Job) -> tuple[str, str]:
        def watch(step: Step, edits: Callable[[], tuple[Edit, ...]]) -> None:
            job.point(loss=(step.step, step.loss))
            if step.held_out is not None:
                learning = job.picture.stage

                def trying(stage: str, done: int, of: int | None = None, note: str = "") -> None:
                    job.tell(learning, step.step, effort.steps, f"trying it: {done} of {of}, {note}")

                some = drawn.validation[: effort.watched]
                trial = Steering("trial", edits(), Record(identity))
                passed = verdicts(
                    engine,
                    some,
                    [one],
                    steering=trial,
                    max_new_tokens=workplace.max_new_tokens,
                    progress=trying,
                )
                job.point(followed=(step.step, sum(passed) / len(passed)))

        learned = distill(
            engine,
            drawn.learning,
            one,
            validation=drawn.validation,
            pool=pool,
            rank=1 if nano.is_built_in(identity.id) else 2,
            schedule=Schedule(steps=effort.steps),
            max_new_tokens=workplace.max_new_tokens,
            checkpoint=folder,
            progress=job.tell,
            watch=watch,
        )
        workplace.keep(name, learned.steering)
        shutil.rmtree(folder, ignore_errors=True)
        return outcome(learned.steering.record.measurements.get("validation", {})), name

    job.begin(f"Teaching {one.label}", work)


def outcome(measured: Mapping[str, Any]) -> str:
    """What teaching came to, in a sentence."""
    followed, told, count = measured.get("followed"), measured.get("instructed_followed"), measured.get("n")
    if followed is None:
        return "It is learned."
    plain = measured.get("baseline_followed")
    words = f"Of {count} questions it never saw, the steered model follows it in {followed:.0%}"
    words += f", told in {told:.0%}" if told is not None else ""
    words += f", left alone in {plain:.0%}." if plain is not None else "."
    worse = measured.get("out_of_bounds") or ()
    return f"{words} What it cost: {', '.join(worse)}." if worse else words

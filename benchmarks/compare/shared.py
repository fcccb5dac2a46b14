"""What several methods share: lessons that are gathered once, and steerings that are distilled once.

What is used again is charged to every method that uses it, in seconds: each is to be read as if it stood alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from benchmarks.compare.task import Task
from trimtab import learn, prompts
from trimtab.engines.ranks import Ranks
from trimtab.files import write_text
from trimtab.learn.distillation.learnable import companions
from trimtab.learn.distillation.material import Finding, Material
from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.teachers import Teacher
from trimtab.learn.distillation.trainable import Form
from trimtab.progress import silent
from trimtab.steering.steering import Steering

Made = TypeVar("Made")

INSTRUCTED, OTHER = 0.35, 0.3
"""Lessons whose prompt holds the instruction already, or another one: the shares of `trimtab learn`."""
_POOL = 512


def schedule(task: Task, **settings: Any) -> Schedule:
    """How every method trains, with the steps of the comparison."""
    return Schedule(steps=task.settings.steps, seed=task.settings.seed, **settings)


def lessons(task: Task, teacher: Teacher | None = None, *, bare: bool = False) -> Material:
    """The lessons of an instruction and those to validate with, gathered once for all that learn from them.

    Args:
        task: The instruction on its model.
        teacher: Whose; chosen as `trimtab learn` does when None.
        bare: Only the question, without lessons whose prompt holds an instruction.
    """

    def find(folder: Path | None) -> Material:
        wanted = [task.instruction]
        finding = Finding(
            task.engine,
            wanted,
            Ranks(),
            task.settings.seed,
            silent,
            teacher,
            max_new_tokens=task.settings.max_new_tokens,
            folder=folder,
        )
        return finding.find(
            task.queries("learning"),
            task.queries("validation"),
            pool=_pool(task),
            phrasings=1,
            instructed=0.0 if bare else INSTRUCTED,
            others=companions(wanted),
            other=0.0 if bare else OTHER,
        )

    if task.folder is None:
        return find(None)
    folder = task.folder / _lessons_of(teacher, bare)
    return _charged(task, folder / "gathered.json", lambda: find(folder))


def distilled(
    task: Task,
    form: Form = "gated",
    teacher: Teacher | None = None,
    *,
    bare: bool = False,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Steering:
    """What a distillation gives for an instruction, done once for all rows that use it.

    Args:
        task: The instruction on its model.
        form: The form of its edits.
        teacher: Whose answers are learned from; chosen as `trimtab learn` does when None.
        bare: Only the question, without lessons whose prompt holds an instruction.
        settings: Of the schedule, beside the steps.
        **options: More of `learn.distill`.
    """
    lessons(task, teacher, bare=bare)

    def distil() -> Steering:
        with TemporaryDirectory() if task.folder is None else nullcontext(task.folder) as folder:
            return learn.distill(
                task.engine,
                task.queries("learning"),
                task.instruction,
                validation=task.queries("validation"),
                pool=_pool(task),
                form=form,
                teacher=teacher,
                schedule=schedule(task, **(settings or {})),
                instructed=0.0 if bare else INSTRUCTED,
                other=0.0 if bare else OTHER,
                max_new_tokens=task.settings.max_new_tokens,
                checkpoint=Path(folder) / _lessons_of(teacher, bare),
                seed=task.settings.seed,
                **options,
            ).steering

    if task.folder is None:
        return distil()
    folder = task.folder / f"{form}-{_lessons_of(teacher, bare)}"

    def kept() -> Steering:
        if not folder.is_dir():
            distil().save(folder)
        return Steering.load(folder, task.engine.identity)

    return _charged(task, folder.with_suffix(".json"), kept)


def _pool(task: Task) -> list[str]:
    """More questions to learn on, where the model mostly follows by itself: those of `learn.distill`."""
    held_out = set(task.queries("validation"))
    found = [
        query for query in prompts.default_queries(task.engine.identity, "learning") if query not in held_out
    ]
    return prompts.sample_queries(found, min(_POOL, len(found)), task.settings.seed)


def _lessons_of(teacher: Teacher | None, bare: bool) -> str:
    return f"lessons-{teacher or 'any'}{'-bare' if bare else ''}"


def _charged(task: Task, path: Path, make: Callable[[], Made]) -> Made:
    """What is made, or found again; its seconds when it was made are those of everybody who uses it."""
    before = json.loads(path.read_text("utf-8"))["seconds"] if path.is_file() else None
    start = time.perf_counter()
    made = make()
    if before is None:
        write_text(path, json.dumps({"seconds": time.perf_counter() - start}), make_folder=True)
    else:
        task.spent += before
    return made

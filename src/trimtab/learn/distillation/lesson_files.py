"""Lessons in a file, so that a distillation that was killed need not ask the model for them again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trimtab.constraint import Constraint
from trimtab.engines.ranks import Ranks
from trimtab.files import sealed, unsealed, write_text
from trimtab.instructions import Instruction
from trimtab.learn.distillation.choosing import Choice
from trimtab.learn.distillation.lessons import Lesson, Lessons
from trimtab.measure.judges.base import InstructionJudge

Kept = TypeVar("Kept")


def kept_lessons(
    path: Path | None, what: Sequence[Any], ranks: Ranks, gather: Callable[[], Lessons]
) -> Lessons:
    """Lessons from a file if it holds those that are meant; otherwise gathered, and kept there.

    Without a path nothing is kept. `what` is all that decides which lessons come out: JSON, instructions, and what has
    a `to_dict` or fields. Of several processes the first one reads and writes.
    """
    return _kept(path, what, ranks, gather, dataclasses.asdict, _lessons)


def kept_queries(
    path: Path | None, what: Sequence[Any], ranks: Ranks, choose: Callable[[], list[str]]
) -> list[str]:
    """The same of the queries to learn from, which may have been looked for among many."""
    return _kept(path, what, ranks, choose, list, lambda found: [str(query) for query in found])


def kept_choice(path: Path | None, what: Sequence[Any], ranks: Ranks, choose: Callable[[], Choice]) -> Choice:
    """The same of the teacher that was chosen."""
    return _kept(path, what, ranks, choose, dataclasses.asdict, Choice.from_dict)


def _kept(
    path: Path | None,
    what: Sequence[Any],
    ranks: Ranks,
    make: Callable[[], Kept],
    write: Callable[[Kept], Any],
    read: Callable[[Any], Kept],
) -> Kept:
    if path is None:
        return make()
    name = hashlib.sha256(json.dumps(what, sort_keys=True, default=_plain).encode()).hexdigest()
    found = ranks.merge({"kept": _content(path, name, read)} if ranks.is_first else {})["kept"]
    if found is not None:
        return found
    made = make()
    if ranks.is_first:
        write_text(path, sealed({"name": name, "content": write(made)}), make_folder=True)
    return made


def _plain(value: Any) -> Any:
    """As JSON; an instruction with what it is made of, since its file or its code may be edited."""
    if isinstance(value, Instruction):
        judge = value.judge_in_place
        own: list[Any] = [] if judge is None else [judge.name]
        if isinstance(judge, InstructionJudge):
            own.append(judge.key())
        return [value.to_dict(), value.type.definition(), *own]
    return value.to_dict() if hasattr(value, "to_dict") else dataclasses.asdict(value)


def _content(path: Path, name: str, read: Callable[[Any], Kept]) -> Kept | None:
    """What is kept under that name; None where there is something else, or what cannot be read."""
    try:
        document = unsealed(path.read_bytes())
        return read(document["content"]) if document["name"] == name else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _lessons(document: Any) -> Lessons:
    lessons = tuple(
        Lesson(
            one["kind"],
            tuple(one["student"]),
            tuple(one["teacher"]),
            tuple(one["answer"]),
            one["ended"],
            None if one["constraint"] is None else Constraint(**one["constraint"]),
            one["drawn"],
            tuple(one["original"]),
            tuple(one["thought"]),
        )
        for one in document["lessons"]
    )
    return Lessons(**{**document, "lessons": lessons})

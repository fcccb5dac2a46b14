"""The cells of the table, one for each method and instruction: measured, kept in files, found again.

A cell's file is used again only if everything it depends on is the same: the model, the settings, the instruction, the
method's file, the versions of its packages, and trimtab's own code. So an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import trimtab
from benchmarks.compare.methods import versions
from benchmarks.compare.selection import choose
from benchmarks.compare.task import Candidate, Method, NativeEngine, Task
from trimtab.cli.output import to_json
from trimtab.files import write_text
from trimtab.measure.responses import Response
from trimtab.measure.rows import Row, judge


@dataclass(frozen=True)
class Cell:
    """What one method measured on one instruction.

    Attributes:
        method: The method's key, or `baseline` or `instructed`.
        instruction: The instruction's label.
        rows: Measurements by condition: what `Row.to_dict` gives, and `strict`, the verdict on each answer.
        chosen: The settings of the chosen candidate; None for the two unsteered rows.
        tried: How many candidates there were.
        improved: Whether the chosen one beat steering nothing on validation.
        same: Share of answers that another library's own code gives exactly as its vectors do as edits.
        seconds: `learn` and `choose`.
        sample: The first test question, and its answer.
    """

    method: str
    instruction: str
    rows: dict[str, dict[str, Any]]
    chosen: dict[str, Any] | None = None
    tried: int = 0
    improved: bool = True
    same: float | None = None
    seconds: dict[str, float] | None = None
    sample: tuple[str, str] = ("", "")

    def to_dict(self) -> dict[str, Any]:
        """The cell as JSON."""
        return asdict(self)


class Store:
    """The folder of measured cells.

    Args:
        folder: Made when it is missing.
        fresh: Measure everything anew.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        folder.mkdir(parents=True, exist_ok=True)

    def cell(self, task: Task, name: str, key: str, measure: Callable[[], Cell]) -> Cell:
        """The cell as it was kept under `key`, or measured now and kept."""
        path = self.folder / f"{_slug(task.instruction.label)}.{name}.json"
        kept = None if self.fresh else _read(path, key)
        if kept is not None:
            return kept
        cell = measure()
        write_text(path, to_json({"key": key, "cell": cell.to_dict()}, indent=2) + "\n")
        return cell


def unsteered_cell(store: Store, task: Task, name: str) -> Cell:
    """The row `baseline` or `instructed`."""

    def measure() -> Cell:
        if name == "baseline":
            responses = task.baseline("test")
        else:
            responses = task.answers("test", task.instructed("test"))
        rows = {name: _row(judge(task.instruction, name, None, responses))}  # type: ignore[arg-type]
        return Cell(name, task.instruction.label, rows, sample=_sample(responses))

    return store.cell(task, name, _key(task, None), measure)


def method_cell(store: Store, task: Task, method: Method) -> Cell:
    """What a method measures: learned, chosen, then tried on the test questions bare and instructed."""
    return store.cell(task, method.key, _key(task, method), partial(_measure, task, method))


def _measure(task: Task, method: Method) -> Cell:
    start = time.perf_counter()
    candidates = method.candidates(task)
    learned = time.perf_counter()
    choice = choose(task, candidates)
    chosen = time.perf_counter()
    responses = _test(task, choice.candidate)
    half = len(responses) // 2
    conditions = {"steered": responses[:half], "instructed+steered": responses[half:]}
    return Cell(
        method=method.key,
        instruction=task.instruction.label,
        rows={
            name: _row(judge(task.instruction, name, method.key, part))  # type: ignore[arg-type]
            for name, part in conditions.items()
        },
        chosen=choice.candidate.settings,
        tried=choice.tried,
        improved=choice.improved,
        same=choice.same,
        seconds={"learn": round(learned - start, 2), "choose": round(chosen - learned, 2)},
        sample=_sample(responses),
    )


def _test(task: Task, candidate: Candidate) -> list[Response]:
    given = task.queries("test") + task.instructed("test")
    if candidate.native is not None:
        return task.answers("test", given, NativeEngine(task.engine, candidate.native))
    return task.answers("test", given, steering=candidate.steering)


def _row(row: Row) -> dict[str, Any]:
    return {**row.to_dict(), "strict": [int(passed) for passed in row.strict]}


def _sample(responses: Iterable[Response]) -> tuple[str, str]:
    first = next(iter(responses))
    return first.query, first.text


def _read(path: Path, key: str) -> Cell | None:
    """A kept cell; None if there is none, it is damaged, or something it depends on has changed."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["key"] != key:
            return None
        values = document["cell"]
        return Cell(**{**values, "sample": tuple(values["sample"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(task: Task, method: Method | None) -> str:
    identity = task.engine.identity
    document: dict[str, Any] = {
        "model": identity.to_dict(),
        "instruction": task.instruction.to_dict(),
        "settings": asdict(task.settings),
        "code": code_digest(),
    }
    if method is not None:
        # A partial has no source of its own: its function has.
        function = getattr(method.candidates, "func", method.candidates)
        document["method"] = method.key
        document["adapter"] = _digest([Path(inspect.getfile(function))])
        document["packages"] = versions(method)
    return hashlib.sha256(to_json(document).encode()).hexdigest()


@cache
def code_digest() -> str:
    """Of the Python files that a measurement goes through: trimtab's without its commands, and the comparison's."""
    package = Path(inspect.getfile(trimtab)).parent
    own = Path(__file__).parent
    files = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "cli"]
    return _digest([*files, own / "task.py", own / "selection.py", own / "cells.py"])


def _digest(files: Iterable[Path]) -> str:
    content = hashlib.sha256()
    for path in sorted(files):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def _slug(label: str) -> str:
    plain = re.sub(r"[^\w]+", "-", label).strip("-")
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"

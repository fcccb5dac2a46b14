"""The cells of the table, one for each method and instruction: measured, kept in files, found again.

A cell's file is used again only if everything it depends on is the same: the model, the settings, the instruction, the
method's file, the versions of its packages, and trimtab's own code. So an interrupted run goes on where it stopped. A
table may be put together from cells of other code too, but of the same model, settings and instruction; it says so.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import trimtab
from benchmarks.compare.costs import costs_of
from benchmarks.compare.methods import versions
from benchmarks.compare.selection import Choice, choose
from benchmarks.compare.task import Candidate, Method, Task
from trimtab.cli.output import to_json
from trimtab.errors import TrimtabError
from trimtab.files import write_text
from trimtab.measure.responses import Response
from trimtab.measure.rows import Condition, judge


@dataclass(frozen=True)
class Cell:
    """What one method measured on one instruction.

    Attributes:
        method: The method's key, or `baseline` or `instructed`.
        instruction: The instruction's label.
        rows: Measurements by condition, that of the method first: what `Row.to_dict` gives, and `answers`, each with
            its question, its text and the strict verdict. Empty where the method refuses the instruction.
        chosen: The settings of the chosen candidate; None for the two unsteered rows.
        tried: How many candidates there were.
        improved: Whether the chosen one beat steering nothing on validation.
        same: Share of answers that another library's own code gives exactly as its vectors do as edits.
        seconds: `learn` and `choose`.
        costs: The fields of `costs.Costs`; empty where the method refuses.
        refused: Why it does.
        code: A digest of the code that measured it.
        dtype: Of the model's weights.
    """

    method: str
    instruction: str
    rows: dict[str, dict[str, Any]]
    chosen: dict[str, Any] | None = None
    tried: int = 0
    improved: bool = True
    same: float | None = None
    seconds: dict[str, float] | None = None
    costs: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None
    code: str = ""
    dtype: str = ""

    @property
    def condition(self) -> str:
        """What its method does to a prompt."""
        return next(iter(self.rows))

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
        path = self._path(task, name)
        kept = None if self.fresh else _read(path, "key", key)
        if kept is not None:
            return kept
        cell = replace(measure(), code=code_digest(), dtype=_dtype(task))
        document = {"key": key, "of": _what(task), "cell": cell.to_dict()}
        write_text(path, to_json(document, indent=2) + "\n")
        return cell

    def kept(self, task: Task, name: str) -> Cell | None:
        """The cell of a method, `baseline` or `instructed`, whatever the code that measured it and the dtype.

        None where there is none of the same model, settings and instruction.
        """
        return _read(self._path(task, name), "of", _what(task))

    def _path(self, task: Task, name: str) -> Path:
        return self.folder / f"{_slug(task.instruction.label)}.{name}.json"


def shared_folder(store: Store, task: Task) -> Path:
    """Where the methods keep what they share of a task: of the same code and settings only."""
    return store.folder / "shared" / f"{_slug(task.instruction.label)}-{_key(task, None)[:12]}"


def unsteered_cell(store: Store, task: Task, name: str) -> Cell:
    """The row `baseline` or `instructed`."""

    def measure() -> Cell:
        if name == "baseline":
            candidate, responses = Candidate({}), task.baseline("test")
        else:
            candidate, responses = Candidate({}, prompt=task.told), task.told_answers("test")
        rows = {name: _row(task, name, None, responses)}  # type: ignore[arg-type]
        return Cell(name, task.instruction.label, rows, costs=asdict(costs_of(task, candidate)))

    return store.cell(task, name, _key(task, None), measure)


def method_cell(store: Store, task: Task, method: Method) -> Cell:
    """What a method measures: learned, chosen, then tried on the test questions, and what it costs.

    One that steers is tried on top of the instruction too.
    """
    return store.cell(task, method.key, _key(task, method), partial(_measure, task, method))


def _measure(task: Task, method: Method) -> Cell:
    try:
        return _measured(task, method)
    except (
        TrimtabError
    ) as error:  # too few answers that pass, no constraint, a template without system prompts
        return Cell(method.key, task.instruction.label, {}, refused=str(error))


def _measured(task: Task, method: Method) -> Cell:
    start, task.spent = time.perf_counter(), 0.0
    candidates = task.some(method.candidates(task))
    learned = time.perf_counter()
    choice = choose(task, candidates) if method.chosen else Choice(candidates[0], 1, True, None)
    chosen = time.perf_counter()
    return Cell(
        method=method.key,
        instruction=task.instruction.label,
        rows=_rows(task, method, choice.candidate),
        chosen=choice.candidate.settings,
        tried=choice.tried,
        improved=choice.improved,
        same=choice.same,
        seconds={"learn": round(learned - start + task.spent, 2), "choose": round(chosen - learned, 2)},
        costs=asdict(costs_of(task, choice.candidate)),
    )


def _rows(task: Task, method: Method, candidate: Candidate) -> dict[str, dict[str, Any]]:
    queries = task.queries("test")
    asked = [(query, candidate.given(query)) for query in queries]
    conditions: list[Condition] = [method.condition]
    if method.condition == "steered":
        conditions.append("instructed+steered")
        asked += [(query, task.told(query)) for query in queries]
    responses = task.ask(candidate, asked)
    return {
        condition: _row(
            task, condition, method.key, responses[number * len(queries) : (number + 1) * len(queries)]
        )
        for number, condition in enumerate(conditions)
    }


def _row(task: Task, condition: Condition, method: str | None, responses: list[Response]) -> dict[str, Any]:
    row = judge(task.instruction, condition, method, responses)
    answers = [
        {"query": response.query, "text": response.text, "strict": strict}
        for response, strict in zip(row.responses, row.strict, strict=True)
    ]
    return {**row.to_dict(), "answers": answers}


def _read(path: Path, field: str, value: Any) -> Cell | None:
    """A kept cell; None if there is none, it is damaged, or something it depends on has changed."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document[field] != value:
            return None
        return Cell(**document["cell"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(task: Task, method: Method | None) -> str:
    document: dict[str, Any] = {**_what(task), "code": code_digest(), "dtype": _dtype(task)}
    if method is not None:
        # A partial has no source of its own: its function has.
        function = getattr(method.candidates, "func", method.candidates)
        document["method"] = method.key
        document["adapter"] = _digest([Path(inspect.getfile(function))])
        document["packages"] = versions(method)
    return hashlib.sha256(to_json(document).encode()).hexdigest()


def _dtype(task: Task) -> str:
    return str(task.engine.model.dtype).removeprefix("torch.")


def _what(task: Task) -> dict[str, Any]:
    """What is measured, but for the method, the code and the dtype."""
    return {
        "model": task.engine.identity.to_dict(),
        "instruction": task.instruction.to_dict(),
        "settings": asdict(task.settings),
    }


@cache
def code_digest() -> str:
    """Of the Python files that a measurement goes through: trimtab's without its commands, and the comparison's."""
    package = Path(inspect.getfile(trimtab)).parent
    own = Path(__file__).parent
    files = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "cli"]
    measuring = ("task", "native", "shared", "selection", "costs", "cells")
    return _digest([*files, *(own / f"{name}.py" for name in measuring)])


def _digest(files: Iterable[Path]) -> str:
    content = hashlib.sha256()
    for path in sorted(files):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def _slug(label: str) -> str:
    plain = re.sub(r"[^\w]+", "-", label).strip("-")
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"

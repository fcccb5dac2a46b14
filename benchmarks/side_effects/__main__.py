"""What steerings cost on tasks that have nothing to do with their instruction, under lm-evaluation-harness.

    python -m benchmarks.side_effects --model smollm2

Each task is run under the four conditions (baseline, instructed, steered, instructed+steered) through lm-eval's model
`trimtab`, in the model's chat template. Steerings not in `--steerings` yet are learned there by `trimtab learn`. What
is finished is kept in `--out`: a run that was interrupted goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.learning import learned, place
from benchmarks.pages import TABLE, keep
from benchmarks.running import ModelOption, run
from benchmarks.side_effects.table import compared, into_page, markdown, share
from benchmarks.side_effects.tasks import TASKS, Row, configuration
from trimtab.cli.models import Loading
from trimtab.cli.output import Output
from trimtab.errors import TrimtabError
from trimtab.files import read_text, write_text
from trimtab.instructions.spelling import resolve_all
from trimtab.measure.significance import check_installed
from trimtab.progress import Tell, shown
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine

INSTRUCTIONS = "lowercase,no_commas,bullets(num_bullets=3),language(language=es)"


def command(
    model: ModelOption = "smollm2",
    instructions: Annotated[
        str, typer.Option("--instructions", "-i", help="Whose steerings are measured.")
    ] = INSTRUCTIONS,
    steerings: Annotated[
        Path | None,
        typer.Option(
            help="Where steerings are, as benchmarks.real keeps them.", show_default="OUT/steerings"
        ),
    ] = None,
    learn: Annotated[str, typer.Option(help="Options of trimtab learn beside its defaults.")] = "",
    items: Annotated[int | None, typer.Option(min=2, help="Items of each task; all when left out.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the model.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per forward pass.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses distractors, sentences and phrasings.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="What is finished is kept here.", show_default="build/side-effects/MODEL"),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--into", help="A page whose place for the table is filled.")
    ] = None,
) -> None:
    """Measure what is lost on other tasks."""
    check_installed()
    if page is not None:
        into_page(read_text(page), "")  # a page without a place is refused before anything is measured
    wanted = resolve_all(instructions)
    folder = out or Path("build/side-effects") / Path(model).name
    options, where = learn.split(), steerings or folder / "steerings"
    rows = {name: _spread(make(seed), items) for name, make in TASKS.items()}
    with shown(True) as tell:
        found = {}
        for instruction in wanted:
            learnt, told = learned(model, instruction, where, tell, options=options, seed=seed)
            if learnt is None:
                raise TrimtabError(f"{instruction.label} cannot be learned: {told['refused']}")
            found[instruction] = Steering.load(learnt)
        engine = Loading(dtype=dtype).open(Output(), model)
        bench = _Bench(engine, rows, folder, batch_size, seed, tell)
        plain = bench.outcomes("baseline")
        document: dict[str, Any] = {
            "model": model,
            "dtype": str(engine.model.dtype).removeprefix("torch."),
            "seed": seed,
            "baseline": {
                task: {
                    "accuracy": share(outcomes),
                    "items": len(outcomes),
                    "chance": sum(1 / len(row["choices"]) for row in rows[task]) / len(outcomes),
                }
                for task, outcomes in plain.items()
            },
            "instructions": [],
        }
        for instruction, steering in found.items():
            name = place([instruction])
            ways: dict[str, dict[str, Any]] = {
                "instructed": {"instruction": instruction},
                "steered": {"steering": steering},
                "instructed+steered": {"instruction": instruction, "steering": steering},
            }
            document["instructions"].append(
                {
                    "instruction": instruction.label,
                    "steering": steering.digest(),
                    "conditions": {
                        condition: compared(plain, bench.outcomes(f"{name}.{condition}", **way))
                        for condition, way in ways.items()
                    },
                }
            )
            keep(folder, document, markdown(document))
    if page is not None:
        write_text(page, into_page(read_text(page), markdown(document)))
    typer.echo((folder / TABLE).read_text("utf-8"))


class _Bench:
    """Runs the tasks in one condition after the other, and keeps which items were right."""

    def __init__(
        self,
        engine: Engine,
        rows: dict[str, list[Row]],
        folder: Path,
        batch_size: int | None,
        seed: int,
        tell: Tell,
    ) -> None:
        self._engine = engine
        self._rows = rows
        self._folder = folder / "measured"
        self._batch_size = batch_size
        self._seed = seed
        self._tell = tell

    def outcomes(
        self, name: str, *, instruction: Any = None, steering: Steering | None = None
    ) -> dict[str, list[bool]]:
        """Which items of each task are right, told an instruction or steered."""
        return {task: self._task(name, task, instruction, steering) for task in self._rows}

    def _task(self, name: str, task: str, instruction: Any, steering: Steering | None) -> list[bool]:
        rows = self._rows[task]
        asked = {
            "model": self._engine.identity.to_dict(),
            "instruction": None if instruction is None else instruction.to_dict(),
            "steering": None if steering is None else steering.digest(),
            "rows": hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest(),
            "seed": self._seed,
        }
        file = self._folder / f"{name}.{task}.json"
        if file.is_file():
            kept = json.loads(file.read_text("utf-8"))
            if kept["asked"] == asked:
                return list(kept["right"])
        self._tell(f"{name}: {task}", 0, len(rows))
        right = under_lm_eval(self._engine, task, rows, instruction, steering, self._batch_size, self._seed)
        text = json.dumps({"asked": asked, "right": right}, ensure_ascii=False)
        write_text(file, text, make_folder=True)
        return right


def under_lm_eval(
    engine: Any,
    task: str,
    rows: Sequence[Row],
    instruction: Any,
    steering: Steering | None,
    batch_size: int | None,
    seed: int,
) -> list[bool]:
    """Which rows lm-eval counts as right."""
    import lm_eval

    from trimtab.harness import SteeredLM

    lm = SteeredLM(
        engine,
        steering if steering is not None else (),
        instruction=[] if instruction is None else instruction,
        batch_size=batch_size,
        seed=seed,
    )
    result = lm_eval.simple_evaluate(
        model=lm,
        tasks=[configuration(task, rows)],
        apply_chat_template=True,
        bootstrap_iters=0,
        verbosity="ERROR",
    )
    samples = sorted(result["samples"][task], key=lambda sample: int(sample["doc_id"]))
    return [bool(sample["acc"]) for sample in samples]


def _spread(rows: list[Row], count: int | None) -> list[Row]:
    """So many rows from all over a list; all of them for None."""
    count = len(rows) if count is None else min(count, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.side_effects"))

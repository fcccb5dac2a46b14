"""What `learn` and `compose` share: how it goes, what came of it, and where that is saved."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.table import Table

from trimtab.cli.options import steering_folder
from trimtab.cli.output import Output
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.learn import Directions, Distilled
    from trimtab.learn.distillation.distilled import Trial
    from trimtab.learn.methods import Method
    from trimtab.steering.steering import Steering

OutOption = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", callback=steering_folder, help="Where to save the steering."),
]
SeedOption = Annotated[int, typer.Option(help="Chooses queries, phrasings and the order of training.")]
TRAINING = ".trimtab-training"
"""Inside the folder of a steering that is being learned: what a killed run goes on from. Saving leaves it alone."""

_OF_STEPS = ("step", "loss", "held_out")
_WORD = 11  # letters of the longest word of a column: "perplexity,"


@contextmanager
def one_voice(output: Output) -> Iterator[Output]:
    """Of several processes that a launcher started, let only the first one speak, of mistakes as well.

    Yields:
        What to send everything through: the same, or one that says and writes nothing.
    """
    from trimtab.engines.ranks import started_first

    if started_first():
        yield output
        return
    try:
        yield Output(None, quiet=True)
    except (TrimtabError, typer.BadParameter) as error:
        # Mostly the first one says the same; but what only this one met would be lost.
        typer.echo(f"process {os.environ.get('RANK', '?')}: error: {error}", err=True)
        raise typer.Exit(2) from error


@dataclass(frozen=True)
class Found:
    """What learning or composing came to.

    Attributes:
        steering: The steering.
        shown: What a person sees of how it came about.
        more: What JSON says beside the steering's record.
        warning: A doubt; empty for none.
        directions: What the steering was made of, if it was made of directions.
    """

    steering: Steering
    shown: Sequence[Table | str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    warning: str = ""
    directions: Directions | None = None

    def hand_over(self, output: Output, out: Path, model: str, start: float, *, saved: str = "saved") -> None:
        """Save what was found, and tell of it; `start` is when the command began its work."""
        from trimtab.engines.ranks import started_first

        steering = self.steering
        if started_first():
            self._save(out)
        seconds = time.perf_counter() - start
        output.result(
            {
                "steering": str(out),
                "digest": steering.digest(),
                "name": steering.name,
                **steering.record.to_dict(),
                **self.more,
                "seconds": round(seconds, 2),
            }
        )
        for item in (steering.describe(), "", *self.shown):
            output.print(item)
        output.print(f"{saved} in {out} after {seconds:.0f} s; try it:")
        output.print(f'  trimtab generate --model {model} --steering {out} --compare "..."')
        if self.warning:
            output.note(f"warning: {self.warning}")

    def _save(self, folder: Path) -> None:
        """The steering with its directions; without any, those of an older steering go."""
        from trimtab.steering.folder import DIRECTIONS

        if self.directions is not None:
            self.directions.save(folder)
        self.steering.save_pretrained(folder)
        if self.directions is None:
            for path in (DIRECTIONS.document_path(folder), DIRECTIONS.tensors_path(folder)):
                path.unlink(missing_ok=True)
        shutil.rmtree(folder / TRAINING, ignore_errors=True)


def learn_steering(
    output: Output,
    engine: Engine,
    method: Method,
    queries: Sequence[str],
    wanted: Sequence[Instruction],
    settings: Mapping[str, Any],
) -> Found:
    """Learn by a method that gives a steering; of the settings it is told what it takes, and what is not None."""
    from trimtab.steering.steering import Steering

    told = {key: value for key, value in settings.items() if value is not None and method.takes(key)}
    with output.progress() as tell:
        if method.takes("progress"):
            told["progress"] = tell
        try:
            learned = method(engine, queries, wanted, **told)
        except KeyboardInterrupt:
            if "checkpoint" in told:
                output.note("the same command goes on from here")
            raise
    if isinstance(learned, Steering):
        return Found(learned)
    from trimtab.learn import Distilled

    if not isinstance(learned, Distilled):
        return Found(learned.steering)
    followed = learned.steering.record.measurements["validation"].get("followed")
    instructed = learned.instructed_followed or 0.0
    doubts = []
    if followed is None:
        doubts.append(
            "nothing says whether it is followed: no program checks it, and nobody judged (--judged-by)"
        )
    elif followed < instructed - 0.1:
        doubts.append(
            f"it follows {followed:.2f} of the validation queries, the instructed model {instructed:.2f}; more "
            "--pairs, --steps or --blocks may help"
        )
    doubts += [
        f"its answers are out of the bounds of quality on {name}: {', '.join(words)}"
        for name, words in learned.steering.record.out_of_bounds.items()
    ]
    return Found(
        learned.steering,
        (*lesson_lines(learned), trials_table(learned), ""),
        distillation(learned),
        "; ".join(doubts),
    )


def lesson_lines(distilled: Distilled) -> list[Table | str]:
    """Whose answers were learned from, how long they are, and how many were cut off."""
    lessons, choice = distilled.lessons, distilled.choice
    lines: list[Table | str] = [] if choice is None else [choice.line]
    if choice is not None and choice.teachers[0] != lessons.teacher:
        lines.append(f"it gave too few answers that pass; learned from {lessons.teacher}")
    if distilled.steering.record.settings.get("accept") == "all":
        lines.append("all told answers that came to an end were accepted, whether they follow or not")
    if lengths := lessons.lengths:
        lines.append(f"{len(lengths)} plain lessons of {sum(lengths) / len(lengths):.0f} tokens on average")
    if lessons.cut:
        limit = distilled.steering.record.settings.get("max_new_tokens", "the limit of")
        lines.append(
            f"{lessons.cut} of {lessons.answers} answers were cut off at {limit} tokens (--max-new-tokens)"
        )
    return [*lines, ""]


def trials_table(distilled: Distilled) -> Table:
    """The sets of edits that were tried, and how often they and the instructed model follow."""
    count = distilled.steering.record.measurements["validation"]["n"]
    told = distilled.instructed_followed
    title = f"on {count} validation queries"
    title += "; nobody judges" if told is None else f"; instructed, the model follows {told:.2f}"
    for label, judge in distilled.steering.record.settings.get("judges", {}).items():
        title += f"\n{label}: judged by {judge}, not checked"
    table = Table(title=title, title_justify="left")
    headings = (
        "blocks",
        "rank",
        "steps",
        "loss",
        "held-out loss",
        "followed",
        "quality",
    )
    for heading in headings:
        in_words = heading in ("blocks", "quality")
        table.add_column(
            heading, justify="left" if in_words else "right", min_width=_WORD if in_words else None
        )
    for trial in distilled.trials:
        table.add_row(
            ", ".join(str(block) for block in trial.size.blocks),
            str(trial.size.rank),
            str(len(trial.history)),
            f"{trial.history[-1].loss:.4f}",
            "-" if trial.held_out is None else f"{trial.held_out:.4f}",
            "-" if trial.followed is None else f"{trial.followed:.2f}",
            quality_in_words(trial),
        )
    return table


def quality_in_words(trial: Trial) -> str:
    """Whether the answers of a set of edits are within the bounds of quality, or which measures are not."""
    if trial.comparison is None:
        return "-"
    return ", ".join(one.measure for one in trial.comparison.departures) or "within bounds"


def distillation(distilled: Distilled) -> dict[str, Any]:
    """A distillation for a program.

    Returns:
        `instructed_followed`; the `teacher`, with what was measured of `teachers`; how many answers were `cut_off`, and
        the tenth, half and nine tenths of the lessons' `lengths` in tokens; `lessons` with how many queries were asked,
        answered as instructed, how many answers that took, and how many lessons there are of each kind; and `trials`,
        each with its steps.
    """
    from trimtab.learn.distillation.lengths import quantiles
    from trimtab.learn.distillation.lessons import Kind

    lessons, choice = distilled.lessons, distilled.choice
    return {
        "instructed_followed": distilled.instructed_followed,
        "teacher": lessons.teacher,
        "teachers": [one.to_dict() for one in ([] if choice is None else choice.measured)],
        "cut_off": lessons.cut,
        "lengths": quantiles(lessons.lengths),
        "lessons": {
            **{key: getattr(lessons, key) for key in ("asked", "passed", "answers", "first_time")},
            **{kind: lessons.count(kind) for kind in get_args(Kind)},
        },
        "trials": [
            {
                **trial.to_dict(),
                "history": [{key: getattr(step, key) for key in _OF_STEPS} for step in trial.history],
            }
            for trial in distilled.trials
        ],
    }

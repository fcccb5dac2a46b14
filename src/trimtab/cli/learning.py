"""What `learn` and `compose` share: queries to learn from, and a distillation's progress and outcome for a person."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from trimtab.cli.output import Output
from trimtab.errors import PromptError, TrimtabError

if TYPE_CHECKING:
    from pathlib import Path

    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.learn import Directions, Distilled
    from trimtab.steering.steering import Steering


def read_queries(
    engine: Engine, source: str | None, pairs: int, validation: int, seed: int, otherwise: str = ""
) -> tuple[list[str], list[str], list[str] | None]:
    """Base queries to learn from, others to choose on, and all that there are to learn from.

    Returns:
        The queries to learn from, those to choose on, and the whole pool of the former; None where it is the model's
        own.

    Raises:
        PromptError: There are too few.
    """
    from trimtab import prompts

    if source is None:
        learning = prompts.default_queries(engine.identity, "learning", pairs, seed)
        held_out = (
            prompts.default_queries(engine.identity, "validation", validation, seed) if validation else []
        )
        return learning, held_out, None
    found = prompts.load_queries(source)
    if not validation:
        return prompts.sample_queries(found, min(pairs, len(found)), seed), [], found
    parts = prompts.split_queries(found)
    for split in ("learning", "validation"):
        if not parts[split]:
            raise PromptError(
                f"{source} has too few queries ({len(found)}) to set some aside for the {split} split; give more"
                f"{otherwise}"
            )
    return (
        prompts.sample_queries(parts["learning"], min(pairs, len(parts["learning"])), seed),
        prompts.sample_queries(parts["validation"], min(validation, len(parts["validation"])), seed),
        parts["learning"],
    )


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
        table: What was tried, for a person.
        more: What JSON says beside the steering's record.
        warning: A doubt; empty for none.
        directions: What the steering was made of, if it was made of directions.
    """

    steering: Steering
    table: Table | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    warning: str = ""
    directions: Directions | None = None

    def save(self, folder: Path) -> None:
        """Save the steering, with its directions; without any, those of an older steering go."""
        from trimtab.steering.folder import DIRECTIONS

        if self.directions is not None:
            self.directions.save(folder)
        self.steering.save(folder)
        if self.directions is None:
            for path in (DIRECTIONS.document_path(folder), DIRECTIONS.tensors_path(folder)):
                path.unlink(missing_ok=True)


def learn_distilled(
    output: Output,
    engine: Engine,
    wanted: Sequence[Instruction],
    learning: list[str],
    held_out: list[str],
    schedule: Mapping[str, Any],
    options: Mapping[str, Any],
    checkpoint: Path,
) -> Found:
    """Distil, and show how it goes."""
    from trimtab import learn

    with output.progress() as tell:
        try:
            distilled = learn.distill(
                engine,
                learning,
                wanted,
                validation=held_out,
                schedule=learn.Schedule(
                    **{key: value for key, value in schedule.items() if value is not None}
                ),
                checkpoint=checkpoint,
                progress=tell,
                **{key: value for key, value in options.items() if value is not None},
            )
        except KeyboardInterrupt:
            output.note("the same command goes on from here")
            raise
    followed = distilled.steering.record.measurements["validation"]["followed"]
    told = distilled.instructed_followed or 0.0
    doubt = (
        f"it follows {followed:.2f} of the validation queries, the instructed model {told:.2f}; more --pairs, --steps "
        "or --blocks may help"
    )
    return Found(
        distilled.steering,
        trials_table(distilled),
        distillation(distilled),
        doubt if followed < told - 0.1 else "",
    )


def trials_table(distilled: Distilled) -> Table:
    """The sets of edits that were tried, and how often they and the instructed model follow."""
    count = distilled.steering.record.measurements["validation"]["n"]
    title = (
        f"on {count} validation queries; instructed, the model follows {distilled.instructed_followed:.2f}"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "blocks",
        "edits per block",
        "steps",
        "loss at the end",
        "on held-out answers",
        "followed",
    ):
        table.add_column(heading, justify="left" if heading == "blocks" else "right")
    for trial in distilled.trials:
        table.add_row(
            ",".join(str(block) for block in trial.size.blocks),
            str(trial.size.rank),
            str(len(trial.history)),
            f"{trial.history[-1].loss:.4f}",
            "-" if trial.held_out is None else f"{trial.held_out:.4f}",
            f"{trial.followed:.2f}",
        )
    return table


def distillation(distilled: Distilled) -> dict[str, Any]:
    """A distillation for a program.

    Returns:
        `instructed_followed`; `lessons` with how many queries were asked, answered as instructed, how many answers that
        took, and how many lessons there are of each kind; and `trials`, each with its steps.
    """
    lessons = distilled.lessons
    return {
        "instructed_followed": distilled.instructed_followed,
        "lessons": {
            "asked": lessons.asked,
            "passed": lessons.passed,
            "answers": lessons.answers,
            "first_time": lessons.first_time,
            "plain": lessons.count("plain"),
            "instructed": lessons.count("instructed"),
            "other": lessons.count("other"),
        },
        "trials": [
            {
                **trial.to_dict(),
                "history": [
                    {"step": step.step, "loss": step.loss, "held_out": step.held_out}
                    for step in trial.history
                ],
            }
            for trial in distilled.trials
        ],
    }

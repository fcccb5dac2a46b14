"""The demonstration: learn, tune and measure a list of instructions on one model, and report what came of it.

Three disjoint sets of queries, each with phrasings of its own: the direction is learned on the first, block and
strength are chosen on the second, and only the third, which had no say in either, is reported.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import learn, prompts, tune
from trimtab._version import __version__
from trimtab.errors import TrimtabError
from trimtab.evaluate import report as reports
from trimtab.evaluate.conditions import Response, Row, evaluate_instruction, respond_baseline
from trimtab.evaluate.plan import Plan, plan_for
from trimtab.evaluate.plots import SearchPoint
from trimtab.evaluate.quality import FactCheck

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.prompts import Split
    from trimtab.steering import ModelIdentity, Steering

__all__ = [
    "Demonstration",
    "Outcome",
    "Plan",
    "make_report",
    "plan_for",
    "prepare_folder",
    "run",
    "save",
    "summary",
]

OnStep = Callable[[int, str], None]
"""`(steps finished since the last call, what begins now)`."""


@dataclass(frozen=True)
class Outcome:
    """What came of one instruction.

    Attributes:
        instruction: The instruction.
        steering: The steering that was chosen on validation queries, with its test measurements in the record.
        search: Every candidate that was tried, and whether the chosen one was better than none.
        rows: The four conditions on test queries.
    """

    instruction: Instruction
    steering: Steering
    search: reports.Search
    rows: tuple[Row, ...]


@dataclass
class Demonstration:
    """What a demonstration measured.

    Attributes:
        model: The model.
        plan: What was asked for.
        outcomes: One per instruction, in order.
        seconds: Where the time went, by kind of step.
    """

    model: ModelIdentity
    plan: Plan
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """The rows of all instructions."""
        return [row for outcome in self.outcomes for row in outcome.rows]

    def to_dict(self) -> dict[str, Any]:
        """The document of `trimtab demo --json`."""
        return {
            "model": self.model.id,
            "rows": [row.to_dict() for row in self.rows],
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time its block takes to `seconds[name]`.

        Args:
            name: The kind of step.

        Yields:
            Nothing.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run(
    engine: Engine,
    plan: Plan,
    *,
    facts: FactCheck | None = None,
    queries: Callable[[Split, int], Sequence[str]] | None = None,
    on_step: OnStep | None = None,
) -> Demonstration:
    """Learns, tunes and measures every instruction of a plan.

    Args:
        engine: The model.
        plan: What to do.
        facts: Judges the truth of a response to a query; None leaves facts out.
        queries: `(split, n) -> n queries`; None takes the model's default queries.
        on_step: Told when a step ends and another begins, `plan.steps` of them.

    Returns:
        What was measured.

    Raises:
        TrimtabError: There are too few queries, two splits share one, or an instruction cannot be learned.
    """

    def default(split: Split, n: int) -> Sequence[str]:
        return prompts.default_queries(engine.identity, split, n, plan.seed)

    take = queries or default
    step: OnStep = on_step or (lambda finished, what: None)
    learning = list(take("learning", plan.pairs))
    validation = list(take("validation", plan.validation))
    test = list(take("test", plan.test))
    _check_disjoint(learning, validation, test)

    demonstration = Demonstration(engine.identity, plan)
    step(0, "answering without any instruction")
    with demonstration.timed("baseline"):
        answered = respond_baseline(
            engine,
            [*validation, *test],
            facts=facts,
            max_new_tokens=plan.max_new_tokens,
            batch_size=plan.batch_size,
        )
    unsteered, baseline = answered[: len(validation)], answered[len(validation) :]
    for instruction in plan.instructions:
        step(1, f"{instruction.label}: learning")
        with demonstration.timed("learn"):
            # An exclusion is learned from its inclusion, and applied with negative strength.
            source = learn.learning_source(instruction).instruction
            pairs = prompts.make_pairs(learning, source, "learning", seed=plan.seed)
            directions = learn.mean_difference(engine, pairs, source, batch_size=plan.batch_size)
        step(1, f"{instruction.label}: choosing block and strength")
        with demonstration.timed("search"):
            tuned = _search(engine, directions, instruction, unsteered, plan, facts)
        step(1, f"{instruction.label}: measuring")
        with demonstration.timed("test"):
            demonstration.outcomes.append(_measure(engine, instruction, tuned, test, baseline, plan, facts))
    step(1, "writing the report")
    return demonstration


def _search(
    engine: Engine,
    directions: learn.Directions,
    instruction: Instruction,
    unsteered: Sequence[Response],
    plan: Plan,
    facts: FactCheck | None,
) -> tune.Tuned:
    sign = learn.learning_source(instruction).sign
    return tune.search(
        engine,
        directions,
        instruction,
        [response.query for response in unsteered],
        blocks=plan.blocks,
        strengths=None if plan.strengths is None else [sign * strength for strength in plan.strengths],
        baseline=unsteered,
        facts=facts,
        max_new_tokens=plan.max_new_tokens,
        batch_size=plan.batch_size,
        seed=plan.seed,
    )


def _measure(
    engine: Engine,
    instruction: Instruction,
    tuned: tune.Tuned,
    test: Sequence[str],
    baseline: Sequence[Response],
    plan: Plan,
    facts: FactCheck | None,
) -> Outcome:
    rows = evaluate_instruction(
        engine,
        instruction,
        tuned.steering,
        test,
        split="test",
        baseline=baseline,
        facts=facts,
        max_new_tokens=plan.max_new_tokens,
        batch_size=plan.batch_size,
        seed=plan.seed,
    )
    record = tuned.steering.record
    measured = {
        row.condition: {"n": row.n, "followed": round(row.followed, 4), "quality": row.quality.to_dict()}
        for row in rows
    }
    record = dataclasses.replace(record, measurements={**record.measurements, "test": measured})
    points = tuple(
        SearchPoint(
            method=candidate.application,
            block=candidate.block,
            strength=candidate.strength,
            n=candidate.n,
            good=candidate.good,
            accepted=not candidate.objections,
            chosen=candidate is tuned.best,
        )
        for candidate in tuned.candidates
    )
    steering = dataclasses.replace(tuned.steering, record=record)
    return Outcome(instruction, steering, reports.Search(points, tuned.improved), tuple(rows))


def _check_disjoint(*parts: Sequence[str]) -> None:
    seen: set[str] = set()
    for part in parts:
        if shared := seen & set(part):
            raise TrimtabError(
                f"the query {min(shared)!r:.60} is in two of the learning, validation and test queries; "
                "what is measured must not have been learned from, so give each its own"
            )
        seen |= set(part)


def prepare_folder(folder: Path) -> None:
    """Makes the folder of a demonstration, before minutes are spent on what it shall hold.

    Args:
        folder: The folder.

    Raises:
        TrimtabError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrimtabError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def save(demonstration: Demonstration, folder: Path, *, created: datetime | None = None) -> Path:
    """Writes the report and the steerings.

    Args:
        demonstration: What was measured.
        folder: Made when it is missing; gets `report.html` and `steerings/NAME`.
        created: When the demonstration was made; now when None.

    Returns:
        The path of the report.

    Raises:
        TrimtabError: The folder cannot be written.
    """
    prepare_folder(folder)
    places: dict[str, str] = {}
    for outcome in demonstration.outcomes:
        name, count = outcome.instruction.name, 1
        while f"steerings/{name}" in places.values():
            count += 1
            name = f"{outcome.instruction.name}-{count}"
        places[outcome.instruction.label] = f"steerings/{name}"
        outcome.steering.save(folder / "steerings" / name)
    path = folder / "report.html"
    reports.write(make_report(demonstration, places, created or datetime.now(UTC)), path)
    return path


def make_report(demonstration: Demonstration, places: dict[str, str], created: datetime) -> reports.Report:
    """What the report of a demonstration shows.

    Args:
        demonstration: What was measured.
        places: Where each instruction's steering is, by label.
        created: When it was made.

    Returns:
        The report, to be rendered.
    """
    model, plan = demonstration.model, demonstration.plan
    return reports.Report(
        title=f"trimtab demo: {model.id}",
        lead=summary(demonstration),
        rows=demonstration.rows,
        searches={outcome.instruction.label: outcome.search for outcome in demonstration.outcomes},
        settings={
            "model": str(model),
            "chat template": model.chat_template,
            "learned from": f"{plan.pairs} prompt pairs: the difference of the means at the last prompt token",
            "chosen on": f"{plan.validation} validation questions, with validation phrasings",
            "measured on": f"{plan.test} test questions, with test phrasings",
            "answers": f"greedy, at most {plan.max_new_tokens} tokens",
            "seed": str(plan.seed),
            "trimtab": __version__,
            "made": f"{created:%Y-%m-%d %H:%M} UTC",
        },
        seconds=demonstration.seconds,
        steerings=places,
        footer="Queries and phrasings of learning, validation and test are disjoint; nothing was tuned on the test.",
    )


def summary(demonstration: Demonstration) -> str:
    """What the numbers say, in a sentence or two.

    Args:
        demonstration: What was measured.

    Returns:
        The text.
    """
    rows = demonstration.rows
    means = reports.mean_followed(rows)
    count = len(demonstration.outcomes)
    what = demonstration.outcomes[0].instruction.label if count == 1 else f"these {count} instructions"
    text = (
        f"Not told to, {demonstration.model.id} follows {what} in {means['baseline']:.0%} of its answers; "
        f"still not told to, but steered, in {means['steered']:.0%}. "
        f"Told to, it does in {means['instructed']:.0%}; told and steered, in {means['instructed+steered']:.0%}."
    )
    worse = [
        label for label, condition in sorted(reports.worse_than_baseline(rows)) if condition == "steered"
    ]
    if worse:
        text += f" For {', '.join(worse)} the steering does worse than doing nothing."
    return text

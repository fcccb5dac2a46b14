"""The conditions of an instruction: what was done to the prompt, what came back, and what it cost.

``baseline`` gives the model the bare query, ``instructed`` adds the instruction's phrasing to it, ``steered`` applies a
steering to the bare query, and ``instructed+steered`` does both. On request there are two more, for instructions that
have a constraint: ``constrained`` holds the answer to the bare query to it while decoding, and ``steered+constrained``
holds the steered one to it, of which the constraint should then have to take little away.

All of an instruction's responses are generated in one call, so that every batch is full, and a baseline can be
generated once for many instructions.

The quality of *every* condition is measured against the bare query: a response's perplexity is how surprising it is
to the untouched model as an answer to the question alone. One yardstick for all makes them comparable. An
instruction that is followed perfectly raises it (few answers are JSON by themselves), so `instructed` is the
reference for `steered`, not only `baseline`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab import arguments
from trimtab import prompts as prompt_data
from trimtab.errors import PromptError
from trimtab.instructions.spelling import resolve
from trimtab.instructions.together import constraint_of
from trimtab.measure.bounds import Comparison, about_length, compare
from trimtab.measure.judges.base import known
from trimtab.measure.quality import (
    FactCheck,
    Quality,
)
from trimtab.measure.responses import Response, quality_of, respond
from trimtab.measure.statistics import Interval, mean, wilson

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines import Model
    from trimtab.instructions import Instruction
    from trimtab.prompts.queries import Split
    from trimtab.steering.steering import Steering

Condition = Literal[
    "baseline", "instructed", "steered", "instructed+steered", "constrained", "steered+constrained"
]
ALL_CONDITIONS: tuple[Condition, ...] = get_args(Condition)
CONDITIONS = ALL_CONDITIONS[:4]
"""What is measured unless more is asked for."""
CONSTRAINED = ALL_CONDITIONS[4:]
"""Those in which answers are held to the instruction's constraint."""

SAMPLES = 2
"""How many answers a steering's record keeps, for people to look at."""


@dataclass(frozen=True)
class Row:
    """What one condition of one instruction measured.

    Attributes:
        instruction: The instruction.
        condition: What was done to the prompts.
        method: How the steering was learned and applied; None where there is no steering.
        responses: One per query.
        strict: Per response, whether it passed the strict check.
        loose: Per response, whether it passed the loose check.
        undecided: Per response, whether neither check could tell (it then passed none); empty where all are decided.
        group: What the row is about where it holds several instructions of one type; None for the instruction itself.
        bounds: A 95 % interval of `followed` that is known already; None computes Wilson's.
        closed_book: Share of closed-book questions answered rightly under this condition (`trimtab.measure.facts`);
            None where none were asked.
    """

    instruction: Instruction
    condition: Condition
    method: str | None
    responses: tuple[Response, ...] = field(repr=False)
    strict: tuple[bool, ...] = field(repr=False)
    loose: tuple[bool, ...] = field(repr=False)
    group: str | None = None
    bounds: Interval | None = None
    closed_book: float | None = None
    undecided: tuple[bool, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """What the row is about: the group, or the instruction with its parameters; and the judge, if any."""
        about = self.group or self.instruction.label
        return about if self.judge is None else f"{about} (judged by {self.judge})"

    @property
    def judge(self) -> str | None:
        """The name of the judge by which the shares are; None where they are those of a check."""
        judge = self.instruction.judge_in_place
        return None if judge is None else judge.name

    @property
    def n(self) -> int:
        """Number of responses."""
        return len(self.responses)

    @property
    def followed(self) -> float:
        """Share of responses that pass the strict check."""
        return sum(self.strict) / self.n

    @property
    def followed_loose(self) -> float:
        """Share of responses that pass the loose check."""
        return sum(self.loose) / self.n

    @property
    def undecided_share(self) -> float:
        """Share of responses of which neither check can tell; they are not among those that pass."""
        return sum(self.undecided) / self.n

    @property
    def interval(self) -> Interval:
        """The 95 % interval of `followed`: `bounds`, or Wilson's."""
        return self.bounds or wilson(sum(self.strict), self.n)

    @property
    def quality(self) -> Quality:
        """Perplexity, repetition and the like of the responses; facts are closed-book ones where it judges none."""
        found = quality_of(self.responses)
        return found if found.facts is not None else replace(found, facts=self.closed_book)

    @property
    def finished(self) -> float:
        """Share of responses that the model ended itself."""
        return sum(response.finished for response in self.responses) / self.n

    @property
    def judged(self) -> float | None:
        """Mean share of a judge's questions that were answered with yes; None without a judge."""
        return mean(response.judged for response in self.responses)

    @property
    def words(self) -> float:
        """Mean number of words of a response."""
        return mean(len(response.text.split()) for response in self.responses) or 0.0

    def take(self, numbers: Iterable[int]) -> Row:
        """The row of some of its responses, by number and in that order; they are not judged again."""
        chosen = list(numbers)
        return replace(
            self,
            responses=tuple(self.responses[number] for number in chosen),
            strict=tuple(self.strict[number] for number in chosen),
            loose=tuple(self.loose[number] for number in chosen),
            undecided=tuple(self._undecided[number] for number in chosen),
            bounds=None,
        )

    def __add__(self, other: Row) -> Row:
        """The row with the responses of both."""
        return replace(
            self,
            responses=self.responses + other.responses,
            strict=self.strict + other.strict,
            loose=self.loose + other.loose,
            undecided=self._undecided + other._undecided,
            bounds=None,
        )

    @property
    def _undecided(self) -> tuple[bool, ...]:
        return self.undecided or (False,) * self.n

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON: the fields of `trimtab demo --json`."""
        described = self.instruction.to_dict()
        return {
            "instruction": described["name"],
            "params": described["params"],
            "condition": self.condition,
            "method": self.method,
            **({} if self.judge is None else {"judge": self.judge}),
            "n": self.n,
            "followed": round(self.followed, 4),
            "loose": round(self.followed_loose, 4),
            "undecided": round(self.undecided_share, 4),
            "quality": self.quality.to_dict(),
        }


def evaluate_instruction(
    model: Model,
    instruction: Instruction | str,
    steering: Steering | None,
    queries: Sequence[str],
    *,
    split: Split = "test",
    baseline: Sequence[Response] | None = None,
    facts: FactCheck | None = None,
    method: str | None = None,
    max_new_tokens: int = 256,
    batch_size: int | None = None,
    seed: int = 0,
    constrained: bool = False,
) -> list[Row]:
    """Measures an instruction under the four conditions, or under all that it has.

    Args:
        model: An engine, or a model of transformers and its tokenizer.
        instruction: The instruction whose check judges the responses, or its spelling.
        steering: The steering of the steered conditions; None leaves them out.
        queries: Bare queries that neither learning nor tuning has seen.
        split: Whose phrasings the instructed conditions use.
        baseline: Responses to exactly these queries (`respond_baseline`), to share them between instructions;
            None generates them.
        facts: Judges the truth of a response to a query.
        method: How the rows name the steering; None takes it from the steering's record.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Chooses which phrasing goes with which query.
        constrained: Whether the constrained conditions are measured too; an instruction without a constraint has none.

    Returns:
        One row per condition, in the order of :data:`ALL_CONDITIONS`.

    Raises:
        PromptError: There are no queries, or the baseline answers other queries.
    """
    instruction = resolve(instruction)
    queries = prompt_data.query_list(queries)
    if not queries:
        raise PromptError("there are no queries to evaluate on; give at least one")
    if baseline is not None:
        of = "responses, such as evaluate.respond_baseline gives"
        baseline = arguments.each(baseline, "baseline", of, Response, PromptError)
    if baseline is not None and [response.query for response in baseline] != queries:
        raise PromptError("the baseline responses answer other queries than the ones to evaluate on")
    if facts is not None:
        arguments.function(facts, "facts", "a function of query and response, or None", PromptError)
    if method is not None:
        arguments.text(method, "method", PromptError)
    constrained = arguments.flag(constrained, "constrained", PromptError)
    pairs = prompt_data.make_pairs(list(queries), instruction, split, seed=seed)
    plain, told = [pair.plain for pair in pairs], [pair.instructed for pair in pairs]
    n = len(queries)
    free: list[Constraint | None] = [None] * n
    jobs: list[tuple[Condition, list[str], Steering | None, list[Constraint | None]]] = []
    if baseline is None:
        jobs.append(("baseline", plain, None, free))
    jobs.append(("instructed", told, None, free))
    if steering is not None:
        jobs.append(("steered", plain, steering, free))
        jobs.append(("instructed+steered", told, steering, free))
    held = [constraint_of([instruction], query) for query in queries] if constrained else free
    if None not in held:
        jobs.append(("constrained", plain, None, held))
        if steering is not None:
            jobs.append(("steered+constrained", plain, steering, held))

    responses = respond(
        model,
        list(queries) * len(jobs),
        [prompt for _, prompts, _, _ in jobs for prompt in prompts],
        steering=[applied for _, _, applied, _ in jobs for _ in range(n)],
        constraints=[one for *_, constraints in jobs for one in constraints],
        facts=facts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    rows = []
    if baseline is not None:
        rows.append(judge(instruction, "baseline", None, baseline))
    for i, (condition, _, applied, _) in enumerate(jobs):
        named = None if applied is None else (method or applied.record.method)
        rows.append(judge(instruction, condition, named, responses[i * n : (i + 1) * n]))
    return rows


def compare_with_plain(row: Row, baseline: Row, instructed: Row | None = None) -> Comparison:
    """The quality of a row beside that of plain answers to the same queries.

    Args:
        row: The answers.
        baseline: The plain ones.
        instructed: The instructed ones: those of them that follow say what following costs by itself; None for none.
    """
    passed = [] if instructed is None else [n for n, strict in enumerate(instructed.strict) if strict]
    return compare(
        row.quality,
        baseline.quality,
        following=None if instructed is None or not passed else instructed.take(passed).quality,
        any_length=about_length([row.instruction]),
    )


def with_test(steering: Steering, rows: Iterable[Row]) -> Steering:
    """The steering with what it measured on test queries in its record, and its first answers beside unsteered ones."""
    rows = list(rows)
    figures: dict[str, dict[str, Any]] = {
        row.condition: {
            "n": row.n,
            "followed": round(row.followed, 4),
            **({} if row.judge is None else {"judge": row.judge}),
            "quality": row.quality.to_dict(),
        }
        for row in rows
    }
    of = {row.condition: row for row in rows}
    if "baseline" in of:
        for condition in ("steered", "instructed+steered"):
            if condition in of:
                found = compare_with_plain(of[condition], of["baseline"], of.get("instructed"))
                figures[condition] |= found.to_dict()
    shown = [row for row in rows if row.condition in ("baseline", "steered")]
    samples = [
        {
            "query": answers[0].query,
            **{row.condition: one.text for row, one in zip(shown, answers, strict=True)},
        }
        for answers in islice(zip(*(row.responses for row in shown), strict=True), SAMPLES)
    ]
    record = steering.record
    measurements = {**record.measurements, "test": figures, "samples": samples}
    return replace(steering, record=replace(record, measurements=measurements))


def facts_judged(rows: Iterable[Row]) -> bool:
    """Whether the truth of the responses themselves was judged, as nano's can be, and not that of closed-book ones."""
    return any(row.quality.facts is not None and row.closed_book is None for row in rows)


def judge(
    instruction: Instruction | str, condition: Condition, method: str | None, responses: Sequence[Response]
) -> Row:
    """Judges responses by an instruction's check, with `method` how their steering was learned, if they have one."""
    instruction = resolve(instruction)
    known([instruction], [response.text for response in responses])
    judgements = [instruction.for_query(response.query).judge(response.text) for response in responses]
    return Row(
        instruction=instruction,
        condition=condition,
        method=method,
        responses=tuple(responses),
        strict=tuple(judgement.strict for judgement in judgements),
        loose=tuple(judgement.loose for judgement in judgements),
        undecided=tuple(judgement.undecided for judgement in judgements),
    )

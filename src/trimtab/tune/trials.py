"""Steerings tried on validation queries by successive halving: many on a few, the better ones on more, the best on all.

Every rung doubles the queries, and the number of candidates falls by the same factor from rung to rung, so that all
rungs cost about the same (Karnin, Koren, Somekh: Almost Optimal Exploration in Multi-Armed Bandits, ICML 2013). A
rung is one call of the engine: all candidates on all its queries, as rows that each have their own steering. No row is
generated, and no answer judged, twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from trimtab import arguments
from trimtab.errors import InstructionError, PromptError, SteeringError
from trimtab.measure.judges.base import judges_of
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response, respond, scored_by
from trimtab.measure.rows import judge
from trimtab.measure.scorer import Scorer
from trimtab.progress import Tell, part_of
from trimtab.prompts.pairs import make_pairs
from trimtab.prompts.queries import query_list
from trimtab.steering.steering import Steering
from trimtab.tune.guard import Guard, Reference, Rule
from trimtab.tune.paper import PaperRule
from trimtab.tune.tuned import Candidate, Measured, Tuned

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction

Key = TypeVar("Key", bound=Hashable)


class Rung(NamedTuple):
    """How many candidates have answered how many queries when the rung is done."""

    candidates: int
    queries: int


def rungs(candidates: int, queries: int, first: int, keep: int) -> list[Rung]:
    """The plan of a search; all counts are at least 1.

    Args:
        candidates: How many there are.
        queries: How many queries there are.
        first: How many queries all candidates are tried on.
        keep: How many candidates are tried on all queries.

    Returns:
        At least one rung. The last one has all queries, the first has all candidates.
    """
    doublings = max(0, math.ceil(math.log2(queries / first)))
    plan = [Rung(candidates, min(first, queries))]
    for step in range(1, doublings + 1):
        share = (min(keep, candidates) / candidates) ** (step / doublings)
        plan.append(Rung(max(1, round(candidates * share)), min(first * 2**step, queries)))
    return plan


def planned_rows(plan: Sequence[Rung]) -> int:
    """How many rows a plan takes: each candidate answers each query of a rung once, and none twice."""
    before = [0, *(rung.queries for rung in plan)]
    return sum(rung.candidates * (rung.queries - done) for rung, done in zip(plan, before, strict=False))


def rank(measured: Measured) -> tuple[bool, float, int]:
    """Best first: what is not rejected by score; among equals the one without objections."""
    return measured.rejected, -measured.score, len(measured.objections)


class Trials(Generic[Key]):
    """Validation queries with the plain and the instructed responses, and steerings tried on them.

    What is not said here is as in `trimtab.tune.search`.

    Args:
        steerings: The steering of each candidate.
        fields: What a candidate is, beside what it measured: fields of `Candidate`.
        tie: Which of two equally good candidates to prefer: the one with the lower value.

    Raises:
        PromptError: There are no queries, or the baseline answers others.
        InstructionError: The instruction has no check.
        SteeringError: Nothing is to be tried first, or to be kept.
        ModelError: The rule needs a perplexity this engine cannot give.
    """

    def __init__(
        self,
        engine: Engine,
        instruction: Instruction,
        queries: Sequence[str],
        steerings: Mapping[Key, Steering],
        *,
        fields: Callable[[Key], dict[str, Any]],
        tie: Callable[[Key], tuple[float, ...]],
        baseline: Sequence[Response] | None,
        facts: FactCheck | None,
        scorer: Scorer | None,
        guard: Guard | None,
        rule: PaperRule | None,
        first: int | None,
        keep: int,
        max_new_tokens: int,
        batch_size: int | None,
        seed: int,
        tell: Tell,
    ) -> None:
        queries = query_list(queries)
        if facts is not None:
            arguments.function(facts, "facts", "a function of query and response, or None", SteeringError)
        for name, value, kind in (
            ("scorer", scorer, Scorer),
            ("guard", guard, Guard),
            ("rule", rule, PaperRule),
        ):
            if value is not None:
                arguments.instance(value, name, kind, f"a {kind.__name__}, or None", SteeringError)
        arguments.seed(seed, SteeringError)
        if not queries:
            raise PromptError("there are no validation queries to search with; give at least one")
        if not instruction.can_check:
            mend = "give it a regex, a json_schema or a decorated function"
            if instruction.question is not None:
                mend = "name who judges (--judged-by), or settle block, strength and way"
            raise InstructionError(
                f"{instruction.label} has no check, so nothing can tell which candidate follows it; {mend}"
            )
        if baseline is not None:
            of = "responses, such as evaluate.respond_baseline gives"
            baseline = arguments.each(baseline, "baseline", of, Response, PromptError)
        if baseline is not None and [response.query for response in baseline] != queries:
            raise PromptError("the baseline responses answer other queries than the ones to search with")
        # The paper tries everything on every query.
        chosen = first if first is not None else len(queries) if rule else 3
        self._first = arguments.whole(chosen, "first", SteeringError, least=1)
        self._keep = arguments.whole(keep, "keep", SteeringError, least=1)
        self._steerings, self._fields, self._tie, self._tell = steerings, fields, tie, tell
        # A gentle candidate mostly writes what the model writes anyway, and scoring takes a third of the time.
        self._respond = partial(
            respond,
            engine,
            facts=facts,
            scorer=scorer,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            scores={},
        )
        self._judge = partial(judge, instruction)
        spoken = [pair.instructed for pair in make_pairs(queries, instruction, "validation", seed)]
        told_of = part_of(tell, "answering unsteered")
        if baseline is None:
            both = self._respond(queries * 2, queries + spoken, progress=told_of)
            baseline, told = both[: len(spoken)], both[len(spoken) :]
        else:
            told = self._respond(queries, spoken, progress=told_of)
            if scorer is not None:
                baseline = scored_by(baseline, scorer, progress=told_of)
        plain, instructed = self._judge("baseline", None, baseline), self._judge("instructed", None, told)
        # First those that are not followed anyway: on the others, candidates cannot show a difference.
        order = sorted(range(len(queries)), key=lambda row: plain.strict[row])
        self.queries = [queries[row] for row in order]
        self.baseline, self.instructed = plain.take(order), instructed.take(order)
        self._score: Rule = (
            rule.scorer(engine)
            if rule is not None
            else Reference(self.baseline, self.instructed, guard or Guard()).measure
        )
        self._answered = dict.fromkeys(steerings, self._judge("steered", None, []))

    @property
    def rows(self) -> int:
        """How many steered rows were generated."""
        return sum(row.n for row in self._answered.values())

    def unsteered(self, count: int) -> Measured:
        """What steering nothing scores on the first so many queries."""
        return self._score(self.baseline.take(range(count)))

    def best(self, keys: Sequence[Key]) -> dict[Key, Candidate]:
        """Narrow candidates down to the best.

        Where none of the last rung is both sound and better than steering nothing, those that had looked so when
        they were dropped get their turn.

        Args:
            keys: The candidates.

        Returns:
            All of them, best first: those tried on more queries before those tried on fewer, because a score on a
            few queries is mostly luck.
        """
        total = len(self.queries)
        latest: dict[Key, Candidate] = {}
        alive = list(keys)
        plan = rungs(len(alive), total, self._first, self._keep)
        of = None if self.rows else planned_rows(plan)
        for rung in plan:
            found = self._run(alive[: rung.candidates], rung.queries, of)
            latest |= found
            # By score alone: on few queries, a rejection can be bad luck.
            alive = sorted(found, key=lambda key: -latest[key].score)
        nothing = self.unsteered(total).score
        while not any(one.n == total and not one.rejected and one.score > nothing for one in latest.values()):
            hopeful = [
                key
                for key in self._ranked(latest)
                if latest[key].n < total
                and not latest[key].rejected
                and latest[key].score > self.unsteered(latest[key].n).score
            ]
            if not hopeful:
                break
            latest |= self._run(hopeful[: self._keep], total)
        return self._ranked(latest)

    def tuned(self, candidates: Mapping[Key, Candidate], **more: Any) -> Tuned:
        """The first of some candidates as a steering, with its measurements in its record.

        Args:
            candidates: Best first.
            **more: Further fields of `Tuned`.
        """
        key, best = next(iter(candidates.items()))
        nothing = self.unsteered(len(self.queries))
        improved = not best.rejected and best.score > nothing.score
        steering = self._steerings[key] * 0 if best.rejected else self._steerings[key]
        measured = (nothing if best.rejected else best).to_dict()
        wanted = ("n", "followed", "good", "score", "quality", "objections", "out_of_bounds")
        measurements = {
            "validation": {
                **{name: measured[name] for name in wanted},
                "baseline_followed": round(self.baseline.followed, 4),
                "instructed_followed": round(self.instructed.followed, 4),
                **judges_of([self.instructed.instruction]),
            },
            "improved": improved,
        }
        record = dataclasses.replace(steering.record, measurements=measurements)
        return Tuned(
            steering=dataclasses.replace(steering, record=record),
            best=best,
            candidates=list(candidates.values()),
            unsteered=nothing,
            improved=improved,
            baseline=self.baseline,
            instructed=self.instructed,
            steered=self._answered[key],
            rows=self.rows,
            **more,
        )

    def _run(self, keys: Sequence[Key], upto: int, of: int | None = None) -> dict[Key, Candidate]:
        """The candidates on the first `upto` queries, best first."""
        todo = {key: self.queries[self._answered[key].n : upto] for key in keys}
        rows = [(key, query) for key, queries in todo.items() for query in queries]
        if rows:
            asked, before = [query for _, query in rows], self.rows
            told = part_of(self._tell, "answering steered", before, of)
            steerings = [self._steerings[key] for key, _ in rows]
            written = self._respond(asked, asked, steering=steerings, progress=told)
            judged = self._judge("steered", None, written)
            start = 0
            for key, queries in todo.items():
                self._answered[key] += judged.take(range(start, start + len(queries)))
                start += len(queries)
        scored = {key: self._score(self._answered[key].take(range(upto))) for key in keys}
        return self._ranked(
            {key: Candidate(**vars(measured), **self._fields(key)) for key, measured in scored.items()}
        )

    def _ranked(self, found: Mapping[Key, Candidate]) -> dict[Key, Candidate]:
        order = sorted(found, key=lambda key: (-found[key].n, *rank(found[key]), *self._tie(key)))
        return {key: found[key] for key in order}

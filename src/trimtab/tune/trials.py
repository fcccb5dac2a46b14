"""What every search needs: steerings tried on validation queries, compared by a rule, and the outcome recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from trimtab.errors import PromptError, SteeringError
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import judge
from trimtab.prompts.pairs import make_pairs
from trimtab.steering.steering import Steering
from trimtab.tune.guard import (
    Guard,
    Measured,
    Reference,
    Scorer,
)
from trimtab.tune.halving import Race
from trimtab.tune.paper import PaperRule, PaperScorer

if TYPE_CHECKING:
    from collections.abc import Hashable

    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction

OnRows = Callable[[int], None]
"""Told how many rows were answered since the last call."""

Key = TypeVar("Key", bound="Hashable")
Found = TypeVar("Found", bound=Measured)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What every search gives.

    Attributes:
        steering: The best candidate as a steering, its measurements recorded. It has no edits where every candidate
            is rejected: a degenerate one never wins.
        unsteered: What steering nothing measured on the same queries.
        baseline_followed: Share of plain responses that follow the instruction by chance.
        baseline_score: The score of steering nothing.
        instructed_followed: Share of instructed responses that follow it.
        improved: Whether the steering beats steering nothing. If not, it is the least bad one, or has no edits, and
            is flagged in its measurements (`"improved": false`).
        baseline: The plain responses.
        responses: Those of the best candidate, to the same queries.
        rows: How many steered rows were generated.
    """

    steering: Steering
    unsteered: Measured
    baseline_followed: float
    baseline_score: float
    instructed_followed: float
    improved: bool
    baseline: tuple[Response, ...] = ()
    responses: tuple[Response, ...] = ()
    rows: int = 0


class Trials:
    """Validation queries with the plain and the instructed responses, and steerings tried on them.

    Args:
        engine: The model.
        instruction: What is to be followed.
        queries: Validation queries, without the instruction.
        baseline: Responses to exactly these queries without steering; None generates them.
        facts: Judges the truth of a response to a query; None leaves facts out.
        guard: What quality may cost.
        rule: The paper's rule instead of the guard.
        first: How many queries all candidates are tried on.
        keep: How many candidates are tried on all queries.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which validation phrasings meet which queries.
        on_rows: Told of every batch of rows that was answered.

    Raises:
        PromptError: There are no queries, or the baseline answers others.
        SteeringError: Nothing is to be tried first, or to be kept.
        ModelError: The rule needs a perplexity this engine cannot give.
    """

    def __init__(
        self,
        engine: Engine,
        instruction: Instruction,
        queries: Sequence[str],
        *,
        baseline: Sequence[Response] | None,
        facts: FactCheck | None,
        guard: Guard | None,
        rule: PaperRule | None,
        first: int | None,
        keep: int,
        max_new_tokens: int,
        batch_size: int | None,
        seed: int,
        on_rows: OnRows | None,
    ) -> None:
        self.queries = list(queries)
        if not self.queries:
            raise PromptError("there are no validation queries to search with; give at least one")
        if baseline is not None and [response.query for response in baseline] != self.queries:
            raise PromptError("the baseline responses answer other queries than the ones to search with")
        # The paper tries everything on every query.
        self._first = first if first is not None else len(self.queries) if rule else 3
        self._keep = keep
        if self._first < 1 or keep < 1:
            raise SteeringError(
                f"a search needs at least one first query and one candidate to keep, not {self._first} and {keep}"
            )
        once: Any = _ScoringOnce(engine)
        self._run = partial(respond, once, facts=facts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        self._on_rows = on_rows
        spoken = [pair.instructed for pair in make_pairs(self.queries, instruction, "validation", seed)]
        if baseline is None:
            both = self._answer(self.queries * 2, None, self.queries + spoken)
            baseline, instructed = both[: len(spoken)], both[len(spoken) :]
        else:
            instructed = self._answer(self.queries, None, spoken)
        # First those that are not followed anyway: on the others, candidates cannot show a difference.
        followed = judge(instruction, "baseline", None, baseline).strict
        order = sorted(range(len(self.queries)), key=lambda row: followed[row])
        self.queries = [self.queries[row] for row in order]
        baseline, instructed = ([responses[row] for row in order] for responses in (baseline, instructed))
        self.scorer: Scorer = (
            PaperScorer(instruction, baseline, instructed, rule, engine)
            if rule is not None
            else Reference(instruction, baseline, instructed, guard or Guard())
        )

    def race(
        self,
        steerings: Mapping[Key, Steering],
        named: Callable[[Key, Measured], Found],
        tie: Callable[[Key], tuple[float, ...]],
    ) -> Race[Key, Found]:
        """A race of steerings over the queries.

        Args:
            steerings: The steering of each candidate.
            named: Turns a candidate and its measurements into what a table shows.
            tie: Which of two equally good candidates to prefer: the one with the lower value.
        """
        return Race(
            self.queries,
            steerings,
            self._answer,
            lambda key, responses: named(key, self.scorer.measure(responses)),
            tie,
        )

    def best(self, race: Race[Key, Found], keys: Sequence[Key]) -> dict[Key, Found]:
        """The candidates, best first, after successive halving."""
        return race.best(keys, self._first, self._keep, self.scorer.unsteered)

    def outcome(self, race: Race[Key, Found], key: Key, steering: Steering, best: Measured) -> dict[str, Any]:
        """The fields of `Outcome` for the best candidate."""
        nothing = self.scorer.unsteered(len(self.queries))
        improved = not best.rejected and best.score > nothing.score
        followed = {
            "baseline_followed": self.scorer.baseline.followed,
            "instructed_followed": self.scorer.instructed.followed,
        }
        if best.rejected:
            steering = steering * 0
        measured = (nothing if best.rejected else best).to_dict()
        wanted = ("n", "followed", "good", "score", "quality", "objections")
        measurements = {
            "validation": {
                **{name: measured[name] for name in wanted},
                **{name: round(value, 4) for name, value in followed.items()},
            },
            "improved": improved,
        }
        record = dataclasses.replace(steering.record, measurements=measurements)
        return {
            "steering": dataclasses.replace(steering, record=record),
            "unsteered": nothing,
            "baseline_score": nothing.score,
            "improved": improved,
            "baseline": self.scorer.baseline.responses,
            "responses": tuple(race.responses[key]),
            "rows": race.rows,
            **followed,
        }

    def _answer(
        self,
        queries: Sequence[str],
        steerings: Sequence[Steering | None] | None,
        prompts: Sequence[str] | None = None,
    ) -> list[Response]:
        responses = self._run(queries, queries if prompts is None else prompts, steering=steerings)
        if self._on_rows is not None:
            self._on_rows(len(responses))
        return responses


class _ScoringOnce:
    """What `respond` needs of an engine, with equal answers to equal queries scored once.

    A gentle candidate mostly writes what the model writes anyway, and scoring takes a third of the time.
    """

    def __init__(self, engine: Engine) -> None:
        self.generate = engine.generate
        self._score = engine.score
        self._known: dict[tuple[str, tuple[int, ...]], float] = {}

    def score(
        self, prompts: Sequence[str], responses: Sequence[tuple[int, ...]], **options: Any
    ) -> list[float]:
        asked = list(zip(prompts, responses, strict=True))
        new = [one for one in dict.fromkeys(asked) if one not in self._known]
        if new:
            scores = self._score([prompt for prompt, _ in new], [tokens for _, tokens in new], **options)
            self._known.update(zip(new, scores, strict=True))
        return [self._known[one] for one in asked]

"""Successive halving: many ways of steering on a few queries, the better ones on more, the best few on all.

Every rung doubles the queries, and the number of candidates falls by the same factor from rung to rung, so that all
rungs cost about the same (Karnin, Koren, Somekh: Almost Optimal Exploration in Multi-Armed Bandits, ICML 2013). A
rung is one call of the engine: all candidates on all its queries, as rows that each have their own steering.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trimtab.measure.responses import Response
from trimtab.steering.steering import Steering
from trimtab.tune.guard import Measured, rank

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found", bound=Measured)

Answer = Callable[[Sequence[str], Sequence[Steering | None]], list[Response]]
"""`(queries, steerings) -> responses`, one of each per row."""


@dataclass(frozen=True)
class Rung:
    """How many candidates have answered how many queries when the rung is done."""

    candidates: int
    queries: int


def rungs(candidates: int, queries: int, first: int, keep: int) -> list[Rung]:
    """The plan of a search.

    Args:
        candidates: How many there are, at least 1.
        queries: How many queries there are, at least 1.
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


def rows(plan: Sequence[Rung]) -> int:
    """How many rows a plan takes: each candidate answers each query of a rung once, and none twice."""
    before = [0, *(rung.queries for rung in plan)]
    return sum(rung.candidates * (rung.queries - done) for rung, done in zip(plan, before, strict=False))


class Race(Generic[Key, Found]):
    """Candidates, and what they answered so far; no row is generated twice.

    Args:
        queries: The validation queries, in the order in which they are used.
        steerings: The steering of each candidate.
        answer: Runs rows.
        measure: Scores a candidate by its responses to the first queries.
        tie: Which of two equally good candidates to prefer: the one with the lower value.

    Attributes:
        responses: What each candidate answered, to the first queries.
        rows: How many rows were generated.
    """

    def __init__(
        self,
        queries: Sequence[str],
        steerings: Mapping[Key, Steering],
        answer: Answer,
        measure: Callable[[Key, Sequence[Response]], Found],
        tie: Callable[[Key], tuple[float, ...]],
    ) -> None:
        self.responses: dict[Key, list[Response]] = {key: [] for key in steerings}
        self.rows = 0
        self._queries = list(queries)
        self._steerings = steerings
        self._answer = answer
        self._measure = measure
        self._tie = tie

    def run(self, keys: Sequence[Key], upto: int) -> dict[Key, Found]:
        """The candidates on the first `upto` queries, best first."""
        todo = [(key, query) for key in keys for query in self._queries[len(self.responses[key]) : upto]]
        if todo:
            written = self._answer([query for _, query in todo], [self._steerings[key] for key, _ in todo])
            for (key, _), response in zip(todo, written, strict=True):
                self.responses[key].append(response)
            self.rows += len(todo)
        return self._ranked({key: self._measure(key, self.responses[key][:upto]) for key in keys})

    def best(
        self, keys: Sequence[Key], first: int, keep: int, unsteered: Callable[[int], Measured]
    ) -> dict[Key, Found]:
        """Narrow the candidates down to the best.

        Where none of the last rung is both sound and better than steering nothing, those that had looked so when
        they were dropped get their turn.

        Args:
            keys: The candidates.
            first: How many queries all are tried on.
            keep: How many are tried on all queries.
            unsteered: What steering nothing scores on the first so many queries.

        Returns:
            All of them, best first: those tried on more queries before those tried on fewer, because a score on a
            few queries is mostly luck.
        """
        total = len(self._queries)
        latest: dict[Key, Found] = {}
        alive = list(keys)
        for rung in rungs(len(alive), total, first, keep):
            found = self.run(alive[: rung.candidates], rung.queries)
            latest |= found
            # By score alone: on few queries, a rejection can be bad luck.
            alive = sorted(found, key=lambda key: -latest[key].score)
        nothing = unsteered(total).score
        while not any(one.n == total and not one.rejected and one.score > nothing for one in latest.values()):
            hopeful = [
                key
                for key in self._ranked(latest)
                if latest[key].n < total
                and not latest[key].rejected
                and latest[key].score > unsteered(latest[key].n).score
            ]
            if not hopeful:
                break
            latest |= self.run(hopeful[:keep], total)
        return self._ranked(latest)

    def _ranked(self, found: Mapping[Key, Found]) -> dict[Key, Found]:
        order = sorted(found, key=lambda key: (-found[key].n, *rank(found[key]), *self._tie(key)))
        return {key: found[key] for key in order}

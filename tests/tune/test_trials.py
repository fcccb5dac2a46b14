"""The plan of successive halving: it starts with all, ends on all queries, and costs what it says."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trimtab.tune.trials import Rung, planned_rows, rungs

COUNTS = {
    "candidates": st.integers(1, 300),
    "queries": st.integers(1, 200),
    "first": st.integers(1, 50),
    "keep": st.integers(1, 20),
}


@given(**COUNTS)
def test_a_plan_starts_with_all_candidates_and_ends_on_all_queries(
    candidates: int, queries: int, first: int, keep: int
) -> None:
    plan = rungs(candidates, queries, first, keep)
    assert plan[0].candidates == candidates
    assert plan[-1].queries == queries
    if queries > first:
        assert plan[0].queries == first
        assert plan[-1].candidates == min(keep, candidates)
    else:
        assert plan == [Rung(candidates, queries)]
    for before, after in pairwise(plan):
        assert after.candidates <= before.candidates
        assert before.queries < after.queries <= 2 * before.queries


@given(**COUNTS)
def test_a_plan_never_costs_more_than_trying_everything(
    candidates: int, queries: int, first: int, keep: int
) -> None:
    assert candidates <= planned_rows(rungs(candidates, queries, first, keep)) <= candidates * queries


def test_the_usual_plan() -> None:
    plan = rungs(48, 12, 3, 4)
    assert plan == [Rung(48, 3), Rung(14, 6), Rung(4, 12)]
    assert planned_rows(plan) == 48 * 3 + 14 * 3 + 4 * 6

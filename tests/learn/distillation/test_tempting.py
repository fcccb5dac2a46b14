"""Queries on which the model does not follow by itself, found without answering more than it takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trimtab.learn.distillation.tempting import tempting_queries

QUERIES = [f"question {number}" for number in range(24)]
POOL = [f"other {number}" for number in range(400)]


class Model:
    """Follows but for every so many of the pool's queries, and counts what it is asked."""

    def __init__(self, every: int, follows: bool = True) -> None:
        self.every, self.follows = every, follows
        self.asked: list[str] = []

    def verdicts(self, queries: Sequence[str]) -> list[bool]:
        self.asked += queries
        return [self.follows if one in QUERIES else int(one.split()[1]) % self.every > 0 for one in queries]


def test_half_of_the_queries_are_exchanged_for_the_first_that_fail() -> None:
    found = tempting_queries(QUERIES, POOL, Model(every=10).verdicts)
    assert found[:12] == [f"other {number}" for number in range(0, 120, 10)]
    assert len(found) == len(set(found)) == 24
    assert set(found[12:]) <= set(QUERIES)


@pytest.mark.parametrize(("every", "most"), [(2, 48), (10, 144), (100, 400)])
def test_no_more_of_the_pool_is_answered_than_it_takes(every: int, most: int) -> None:
    model = Model(every)
    tempting_queries(QUERIES, POOL, model.verdicts)
    assert len(model.asked) == 16 + most


def test_where_few_tempt_the_others_stay() -> None:
    found = tempting_queries(QUERIES, POOL, Model(every=100).verdicts)
    assert found[:4] == ["other 0", "other 100", "other 200", "other 300"]
    assert len(found) == 24


def test_a_model_that_does_not_follow_by_itself_is_taught_by_any_query() -> None:
    model = Model(every=2, follows=False)
    assert tempting_queries(QUERIES, POOL, model.verdicts) == QUERIES
    assert len(model.asked) == 16


def test_queries_of_the_pool_that_are_known_already_are_no_others() -> None:
    model = Model(every=1)
    assert tempting_queries(QUERIES, QUERIES, model.verdicts) == QUERIES
    assert model.asked == []

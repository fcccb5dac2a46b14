"""How long answers are: limits, loops, and the choice among answers by the lengths of plain ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.base import Generation
from trimtab.learn.distillation.lengths import (
    FIRST_LIMIT,
    USUAL_LIMIT,
    before_loop,
    differ,
    limit_for,
    matched,
    quantiles,
    told_length,
)

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=12)


def answers(finished: int, cut: int) -> list[Generation]:
    return [Generation("so", (5,), row, row < finished) for row in range(finished + cut)]


def test_the_limit_is_longer_only_where_that_lets_most_answers_end() -> None:
    assert limit_for(answers(16, 0)) == limit_for(answers(12, 4)) == USUAL_LIMIT
    assert limit_for(answers(11, 5)) == limit_for(answers(8, 8)) == 2 * USUAL_LIMIT
    assert limit_for(answers(7, 9)) == limit_for(answers(0, 16)) == FIRST_LIMIT


def test_an_answer_ends_where_it_begins_to_go_round_in_circles() -> None:
    said = tuple(range(40))
    assert before_loop(said) == said
    assert before_loop((*said, *said)) == said
    assert before_loop((*said[:10], *said[:10])) == said[:10] * 2  # too short to be a loop
    assert before_loop((7,) * 100) == (7,)
    assert before_loop(()) == ()


def test_only_an_answer_that_was_cut_off_counts_up_to_its_loop() -> None:
    looping = tuple(range(20)) * 3
    assert told_length(Generation("", looping, 0, finished=True)) == 60
    assert told_length(Generation("", looping, 0, finished=False)) == 20


def test_quantiles_and_differences() -> None:
    assert quantiles([5, 1, 3, 2, 4]) == [1, 3, 5]
    assert quantiles([]) == []
    assert differ([30, 40], [100, 160])
    assert differ([200], [100])
    assert not differ([90, 100], [100, 110])
    assert not differ([], [100])
    assert not differ([100], [])


@given(st.lists(LENGTHS, min_size=1, max_size=8), LENGTHS)
def test_each_query_gets_one_of_its_answers(candidates: list[list[int]], plain: list[int]) -> None:
    taken = matched(candidates, plain)
    assert len(taken) == len(candidates)
    assert all(place < len(lengths) for place, lengths in zip(taken, candidates, strict=True))


def test_the_answers_taken_are_as_long_as_plain_ones() -> None:
    plain = [20, 60, 100, 140]
    candidates = [[20, 58], [21, 101], [19, 139], [22, 23]]
    assert matched(candidates, plain) == [1, 1, 1, 0]
    assert matched([[10, 150]] * 4, [10, 10, 150, 150]) == [1, 1, 0, 0]

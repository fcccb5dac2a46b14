from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control

from trimtab.errors import TrimtabError
from trimtab.measure import significance
from trimtab.measure.significance import (
    adjusted,
    compare,
    mean_interval,
    share_interval,
)
from trimtab.measure.statistics import Interval, wilson


def test_a_share_is_resampled_over_prompts() -> None:
    alone = share_interval([1, 0] * 20)
    # Pairs of instructions that stand or fall together are half as many independent outcomes.
    together = share_interval([2, 0] * 10, [2, 2] * 10)
    assert alone.low < 0.5 < alone.high
    assert together.high - together.low > 1.2 * (alone.high - alone.low)
    assert share_interval([1, 0] * 20) == alone
    assert share_interval([1, 0] * 20, seed=1) != share_interval([1, 0, 0] * 20, seed=1)


def test_where_all_outcomes_are_alike_wilson_stands_in() -> None:
    assert share_interval([0] * 8) == wilson(0, 8)
    assert share_interval([1] * 8) == wilson(8, 8)
    assert share_interval([2, 3], [2, 3]) == wilson(2, 2)
    assert share_interval([1]) == wilson(1, 1)
    assert share_interval([]) == Interval(0.0, 1.0)
    # One prompt of which half is followed: one outcome says nearly nothing.
    assert share_interval([1], [2]) == Interval(0.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=12))
def test_an_interval_holds_its_share_and_stays_a_share(pairs: list[tuple[int, int]]) -> None:
    passed = [min(a, b) for a, b in pairs]
    counts = [b for _, b in pairs]
    interval = share_interval(passed, counts)
    assert 0.0 <= interval.low <= sum(passed) / sum(counts) + 1e-9
    assert sum(passed) / sum(counts) - 1e-9 <= interval.high <= 1.0


def test_a_mean_leaves_out_what_was_not_measured() -> None:
    assert mean_interval([1.0, None, 3.0]) == mean_interval([1.0, 3.0])
    assert mean_interval([2.0, 2.0]) == Interval(2.0, 2.0)
    assert mean_interval([2.0, None]) is None


def test_the_test_is_mcnemars_exact_one() -> None:
    first = [False] * 12 + [True] * 8
    second = [True] * 9 + [False] * 3 + [True] * 7 + [False]
    paired = compare(first, second)
    assert (paired.n, paired.gained, paired.lost) == (20, 9, 1)
    assert paired.p == pytest.approx(22 / 1024)  # 2 * (1 + 10) / 2^10
    assert paired.p == pytest.approx(binomtest(9, 10).pvalue)
    assert paired.difference == pytest.approx(0.4)
    assert paired.interval.low <= 0.4 <= paired.interval.high


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=10))
def test_turning_a_comparison_round_turns_its_sign(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    there, back = compare(first, second), compare(second, first)
    assert there.difference == -back.difference
    assert there.p == back.p
    assert 0.0 < there.p <= 1.0
    assert (there.gained, there.lost) == (back.lost, back.gained)


def test_no_difference_is_no_evidence() -> None:
    assert compare([True, False], [True, False]).p == 1.0
    with pytest.raises(ValueError, match="cannot be paired"):
        compare([True], [])


def test_many_tests_are_adjusted() -> None:
    p_values = [0.01, 0.04, 0.03, 0.9]
    assert adjusted(p_values) == pytest.approx(list(false_discovery_control(p_values)))
    assert adjusted([0.02]) == [0.02]
    assert adjusted([]) == []


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "find_spec", lambda name: None)
    with pytest.raises(TrimtabError, match=r"trimtab\[evaluate\]"):
        compare([True], [False])

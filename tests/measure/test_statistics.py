from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.measure.statistics import mean, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # By hand from the formula with z = 1.959964, and as in Newcombe (1998), table I (81/263, 15/148, 0/20, 1/29).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_the_share_and_mirrors(case: tuple[int, int]) -> None:
    successes, n = case
    interval, mirrored = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)
    narrower = wilson(successes, n, confidence=0.5)
    assert interval.low <= narrower.low
    assert narrower.high <= interval.high


def test_no_trials_say_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)]
)
def test_impossible_counts_are_refused(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="must be between"):
        wilson(successes, n, confidence)


def test_a_mean_skips_what_is_unknown() -> None:
    assert mean([1.0, None, 2.0]) == 1.5
    assert mean([None, None]) is None
    assert mean([]) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_a_mean_lies_within_its_values(values: list[float]) -> None:
    average = mean(values)
    assert average is not None
    assert min(values) - 1e-6 <= average <= max(values) + 1e-6
    assert not math.isnan(average)

"""How sure a difference is: bootstrap intervals over prompts, and exact tests of paired outcomes. Needs scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.measure.statistics import Interval, wilson

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paired:
    """Two conditions of the same prompts, compared.

    Attributes:
        n: Number of prompts.
        gained: How many fail in the first condition and pass in the second.
        lost: How many pass in the first and fail in the second.
        difference: Share that passes in the second, less that in the first.
        interval: The 95 % bootstrap interval of the difference, over prompts.
        p: Two-sided p-value of the exact McNemar test.
    """

    n: int
    gained: int
    lost: int
    difference: float
    interval: Interval
    p: float


def check_installed() -> None:
    """Makes sure that intervals and tests can be computed, before the work they would judge is done.

    Raises:
        TrimtabError: scipy is missing.
    """
    if find_spec("scipy") is None:
        raise TrimtabError(
            "intervals and tests need scipy, which is not installed; pip install 'trimtab[evaluate]'"
        )


def share_interval(passed: Sequence[int], counts: Sequence[int] | None = None, *, seed: int = 0) -> Interval:
    """The bootstrap interval of a share, resampled over prompts.

    A prompt with several instructions is drawn whole, so that the interval knows they stand or fall together. Where
    all outcomes are alike there is nothing to resample, and the interval would be a point: there the Wilson interval
    of as many prompts stands in. (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993: percentile
    interval.)

    Args:
        passed: For each prompt, how many of its instructions were followed.
        counts: For each prompt, how many it has; None for one each.
        seed: Chooses the resamples.

    Returns:
        The 95 % interval; [0, 1] without prompts.

    Raises:
        TrimtabError: scipy is missing.
        ValueError: The lengths differ.
    """
    totals = [1] * len(passed) if counts is None else list(counts)
    if len(totals) != len(passed):
        raise ValueError(f"{len(passed)} prompts but {len(totals)} counts")
    if sum(passed) in (0, sum(totals)):
        return wilson(len(passed) if sum(passed) else 0, len(passed))
    if len(passed) < 2:
        return Interval(0.0, 1.0)  # half of one prompt's instructions: a single outcome, and no extreme one
    return _bootstrap((tuple(passed), tuple(totals)), seed)


def mean_interval(values: Sequence[float | None], *, seed: int = 0) -> Interval | None:
    """The bootstrap interval of a mean; values that could not be measured are left out.

    Args:
        values: One for each prompt.
        seed: Chooses the resamples.

    Returns:
        The 95 % interval, or None with fewer than two values.

    Raises:
        TrimtabError: scipy is missing.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    if len(set(known)) == 1:
        return Interval(known[0], known[0])
    return _bootstrap((tuple(known),), seed)


def compare(first: Sequence[bool], second: Sequence[bool], *, seed: int = 0) -> Paired:
    """Compares two conditions of the same prompts.

    The test asks only of the prompts on which they differ whether more were gained than lost than a fair coin would
    give. (Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12,
    1947; in its exact, binomial form.)

    Args:
        first: Whether each prompt passes in the first condition.
        second: The same of the second, in the same order.
        seed: Chooses the resamples.

    Raises:
        TrimtabError: scipy is missing.
        ValueError: There are no prompts, or the lengths differ.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} outcomes cannot be paired")
    check_installed()
    from scipy.stats import binomtest

    steps = [int(b) - int(a) for a, b in zip(first, second, strict=True)]
    gained, lost = steps.count(1), steps.count(-1)
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    interval = mean_interval(steps, seed=seed)
    difference = sum(steps) / len(steps)
    return Paired(len(steps), gained, lost, difference, interval or Interval(difference, difference), p)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that their threshold bounds the share of false discoveries.

    (Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57, 1995.)

    Args:
        p_values: One for each test.

    Returns:
        The adjusted ones, in the same order.

    Raises:
        TrimtabError: scipy is missing.
    """
    if not p_values:
        return []
    check_installed()
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(list(p_values))]


@lru_cache(maxsize=4096)  # a table, a report and a JSON file ask for the same intervals
def _bootstrap(data: tuple[tuple[float, ...], ...], seed: int) -> Interval:
    """The percentile interval of a mean, or of the ratio of two sums whose terms are drawn together."""
    check_installed()
    import numpy as np
    from scipy.stats import bootstrap

    def ratio(*sums: Any, axis: int) -> Any:
        return sums[0].sum(axis) / (sums[1].sum(axis) if len(sums) > 1 else sums[0].shape[axis])

    found = bootstrap(
        [np.asarray(values, dtype=np.float64) for values in data],
        ratio,
        paired=len(data) > 1,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=250,  # keeps the resamples of a large suite out of memory
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))

"""How sure a measured share is: the closed-form interval of a proportion, and means that know about gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a share.

    Attributes:
        low: Lower end, in [0, 1].
        high: Upper end, in [0, 1].
    """

    low: float
    high: float

    def to_list(self) -> list[float]:
        """Both ends as JSON, to four digits."""
        return [round(self.low, 4), round(self.high, 4)]


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The Wilson score interval of a proportion.

    Unlike the usual normal interval it keeps its coverage for small ``n`` and for shares near 0 and 1, where most
    shares of followed instructions lie, and it never leaves [0, 1]. (E. B. Wilson, Probable inference, the law of
    succession, and statistical inference, J. Am. Stat. Assoc. 22, 1927.)

    Args:
        successes: How many of the trials succeeded, from 0 to ``n``.
        n: Number of trials. With no trials nothing is known: the interval is [0, 1].
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        The interval.

    Raises:
        ValueError: ``successes`` is outside ``[0, n]``, or ``confidence`` outside (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n = {n}, got {successes}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n the ends are 0 and 1 exactly; rounding would leave them a hair inside or outside.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return Interval(low, high)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that could be measured, or None when there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def rounded(value: float | None) -> float | None:
    """A number as JSON, to four digits."""
    return None if value is None else round(value, 4)

"""What steers a request, in one form whoever asked for it and however: digests with strengths.

Everything that tells requests apart is made from it: the row of the serving table, and the salt of the prefix cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from trimtab.errors import SteeringError

__all__ = ["Composition", "composed", "expression"]

Composition = tuple[tuple[str, float], ...]
"""Digests and their strengths, sorted; each digest once, and no strength 0."""


def composed(parts: Iterable[tuple[str, float]]) -> Composition:
    """The one form of what parts come to: equal digests added up, zeros dropped, sorted.

    Raises:
        SteeringError: A strength is not finite, or the sum of some is not.
    """
    strengths: dict[str, list[float]] = {}
    for digest, strength in parts:
        strengths.setdefault(digest, []).append(float(strength))
    try:
        # fsum: rounded once, so that the order of the parts never shows.
        sums = {digest: math.fsum(values) for digest, values in strengths.items()}
    except (OverflowError, ValueError):  # ValueError: both infinities
        sums = {"": math.inf}
    if not all(math.isfinite(total) for total in sums.values()):
        raise SteeringError(
            "a strength must be a finite number, and so must the sum of those of one steering"
        )
    return tuple(sorted((digest, total) for digest, total in sums.items() if total != 0.0))


def expression(composition: Sequence[tuple[str, float]]) -> str:
    """Digests and strengths as a request could ask for them: `sha256:...*0.8+sha256:...`."""
    parts = []
    for digest, strength in composition:
        number = repr(strength).removesuffix(".0")
        parts.append(digest if number == "1" else f"{digest}*{number}")
    return "+".join(parts)

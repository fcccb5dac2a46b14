"""What a request uses, in one form whoever asked for it and however: digests with strengths.

Everything that tells requests apart is made from it: the row of the serving table, and the salt of the prefix cache,
which keeps blocks computed under one steering from ever being read under another.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable

from trimtab.errors import SteeringError

__all__ = ["Use", "canonical", "salt", "use_of"]

Use = tuple[tuple[str, float], ...]
"""Digests and their strengths, sorted; each digest once, and no strength 0."""


def use_of(parts: Iterable[tuple[str, float]]) -> Use:
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


def canonical(use: Iterable[tuple[str, float]]) -> str:
    """A text that is equal for equal uses only, the same in every process and version of Python."""
    return json.dumps([[digest, repr(strength)] for digest, strength in use_of(use)], separators=(",", ":"))


def salt(client_salt: str | None, use: Iterable[tuple[str, float]]) -> str | None:
    """What vLLM shall mix into the hashes of a request's cache blocks: equal only where both arguments are.

    A salt that a client chose is hashed too, steered or not: so none that it could choose is the salt of a steering.

    Args:
        client_salt: The request's own `cache_salt`; an empty one is none.
        use: What the request uses.

    Returns:
        None if there is neither, so that plain requests share their cache as ever.
    """
    normal = use_of(use)
    if not client_salt and not normal:
        return None
    content = json.dumps([client_salt or None, canonical(normal)])
    return "trimtab:" + hashlib.sha256(content.encode()).hexdigest()

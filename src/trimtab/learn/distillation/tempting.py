"""Queries to learn from where they matter: those on which the model alone does not follow.

Most instructions are hardly ever followed by themselves, and every query teaches them. To avoid a word is followed by
nearly every answer, and says nothing there: it is learned from the few answers that would have held the word.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_SAMPLE = 16  # queries by which it is told whether the model follows by itself
_OFTEN = 0.6  # it does if it follows so many of them
_ROUND = 48  # queries of the pool that are answered before it is seen whether they are enough


def tempting_queries(
    queries: Sequence[str],
    pool: Sequence[str],
    verdicts: Callable[[Sequence[str]], Sequence[bool]],
    *,
    share: float = 0.5,
    seed: int = 0,
) -> list[str]:
    """The queries, a share of them exchanged for tempting ones of the pool where the model mostly follows by itself.

    `verdicts` says of queries whether the model follows when it answers them. Those from the pool come first; the seed
    chooses which others stay.
    """

    def failing(asked: Sequence[str]) -> list[str]:
        return [query for query, right in zip(asked, verdicts(asked), strict=True) if not right]

    known = set(queries)
    fresh = [query for query in pool if query not in known]
    some = list(queries[:_SAMPLE])
    if not fresh or len(failing(some)) > (1 - _OFTEN) * len(some):
        return list(queries)
    wanted = round(share * len(queries))
    found: list[str] = []
    for start in range(0, len(fresh), _ROUND):
        if len(found) < wanted:
            found += failing(fresh[start : start + _ROUND])
    found = found[:wanted]
    rest = random.Random(seed).sample(list(queries), len(queries) - len(found))
    return found + rest

"""Queries to learn from where they matter: those on which the model alone does not follow.

Most instructions are hardly ever followed by themselves, and every query teaches them. To avoid a word is followed by
nearly every answer, and says nothing there: it is learned from the few answers that would have held the word.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.engines.ranks import Ranks
from trimtab.measure.responses import verdicts

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction

_SAMPLE = 16  # queries by which it is told whether the model follows by itself
_OFTEN = 0.6  # it does if it follows so many of them


def tempting_queries(
    engine: Engine,
    queries: Sequence[str],
    pool: Sequence[str],
    instructions: Sequence[Instruction],
    *,
    share: float = 0.5,
    max_new_tokens: int = 256,
    ranks: Ranks | None = None,
    seed: int = 0,
) -> list[str]:
    """The queries, part of them exchanged for tempting ones where the model mostly follows by itself.

    Args:
        engine: The model.
        queries: Base queries.
        pool: More of them, to look for tempting ones in; none leaves the queries as they are.
        instructions: What is to be followed.
        share: How many of the queries may be exchanged, as a share.
        max_new_tokens: Longest answer, in tokens.
        ranks: The processes that share the work.
        seed: Chooses which queries stay.

    Returns:
        As many queries as were given; those from the pool first.
    """

    def failing(asked: Sequence[str]) -> list[str]:
        passed = verdicts(engine, asked, instructions, max_new_tokens=max_new_tokens, ranks=ranks)
        return [query for query, right in zip(asked, passed, strict=True) if not right]

    known = set(queries)
    fresh = [query for query in pool if query not in known]
    some = list(queries[:_SAMPLE])
    if not fresh or len(failing(some)) > (1 - _OFTEN) * len(some):
        return list(queries)
    found = failing(fresh)[: round(share * len(queries))]
    rest = random.Random(seed).sample(list(queries), len(queries) - len(found))
    return found + rest

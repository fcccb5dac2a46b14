"""How long answers are: lessons shall be as long as what the model says by itself.

Answers that pass a check are often the short ones, and a student of short answers learns to be short. So of several
answers those are taken whose lengths, all together, are like those of plain answers (stratified by quantiles), unless
the instruction is about length itself.

An answer that goes round in circles until its limit is learned from up to there, and counts as that long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.engines.base import Generation

FIRST_LIMIT = 128
"""Tokens of the first answers, which say how long a model's answers are."""

USUAL_LIMIT = 192
"""Tokens of an answer, where most of a model's plain answers are shorter."""

_ENOUGH = 0.75  # share of plain answers that shall come to their end within the limit
_HALF = 0.5  # of which fewer do not, a longer limit does not help
_FAR = 0.25  # lengths that differ so much from plain ones, on average, are mended
_LOOP = 16  # tokens that have stood in an answer before, one after the other: it goes round in circles


def limit_for(plain: Sequence[Generation]) -> int:
    """The longest answer in tokens, by plain answers of at most `FIRST_LIMIT`.

    The usual one where three quarters of them end; twice as long where half of them do, as then most of the others
    will; where fewer end, the model does not come to an end by itself, and longer answers only take longer.
    """
    ended = sum(one.finished for one in plain) / len(plain)
    if ended < _HALF:
        return FIRST_LIMIT
    return USUAL_LIMIT if ended >= _ENOUGH else 2 * USUAL_LIMIT


def before_loop(tokens: Sequence[int]) -> tuple[int, ...]:
    """The tokens up to where they begin to repeat, for a while, what stood before."""
    seen: set[tuple[int, ...]] = set()
    for place in range(len(tokens) - _LOOP + 1):
        part = tuple(tokens[place : place + _LOOP])
        if part in seen:
            return tuple(tokens[:place])
        seen.add(part)
    return tuple(tokens)


def told_length(answer: Generation) -> int:
    """How long an answer is, in tokens, up to where it loops if it was cut off."""
    return len(answer.answer_ids if answer.finished else before_loop(answer.answer_ids))


def quantiles(lengths: Sequence[int]) -> list[int]:
    """The tenth, the half and the nine tenths of them, from the shortest; nothing of nothing."""
    order = sorted(lengths)
    return [order[round(share * (len(order) - 1))] for share in (0.1, 0.5, 0.9)] if order else []


def differ(lengths: Sequence[int], plain: Sequence[int]) -> bool:
    """Whether answers are much shorter or longer than plain ones, on average."""
    if not lengths or not plain:
        return False
    usual = sum(plain) / len(plain)
    return abs(sum(lengths) / len(lengths) - usual) > _FAR * usual


def matched(candidates: Sequence[Sequence[int]], plain: Sequence[int]) -> list[int]:
    """Which of the answers to each query to take, so that their lengths are like those of plain answers.

    Args:
        candidates: The lengths of the answers to each query, at least one.
        plain: The lengths of plain answers, whatever they answer.

    Returns:
        The place of the answer taken, for each query: the longest of as many evenly spaced quantiles of the plain
        lengths gets the answer nearest to it, then the next.
    """
    order, count = sorted(plain), len(candidates)
    aims = [order[min(len(order) - 1, int((place + 0.5) / count * len(order)))] for place in range(count)]
    taken: dict[int, int] = {}
    for aim in reversed(aims):
        _, query, place = min(
            (abs(length - aim), query, place)
            for query, lengths in enumerate(candidates)
            if query not in taken
            for place, length in enumerate(lengths)
        )
        taken[query] = place
    return [taken[query] for query in range(count)]

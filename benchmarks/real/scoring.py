"""What another model makes of the answers: their perplexity and their relevance, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.evaluate.cache import ContentCache
from trimtab.measure.scorer import Score, Scorer
from trimtab.progress import Tell

if TYPE_CHECKING:
    from trimtab.engines.base import Engine

AT_ONCE = 32
"""Answers between two savings: with a scorer of billions of weights each takes a second and more."""

SCORED = ("baseline", "steered")
"""The conditions whose answers are scored: what steering does to them is what is asked."""


def add_scores(
    measured: Sequence[dict[str, Any]],
    count: int,
    scorer: str,
    load: Callable[[str], Engine],
    folder: Path,
    tell: Tell,
) -> None:
    """Adds `scorer_nll` and `relevance` to the first answers, plain and steered, computed where they are not known.

    Args:
        measured: Of each instruction, its answers by condition.
        count: How many answers of each of the two conditions.
        scorer: The scorer's name.
        load: Loads it, if an answer is new.
        folder: Where scores are kept.
        tell: Is told of progress.
    """
    answers = [
        answer for one in measured for name in SCORED for answer in one["conditions"].get(name, ())[:count]
    ]
    cache = ContentCache(folder)
    judging = Scorer(scorer, load=load)
    known: dict[tuple[str, str], Score] = {}
    for asked in dict.fromkeys((answer["query"], answer["text"]) for answer in answers):
        if (kept := cache.get(_key(scorer, asked))) is not None:
            known[asked] = Score(*kept)
    new = [
        asked
        for asked in dict.fromkeys((answer["query"], answer["text"]) for answer in answers)
        if asked not in known
    ]
    tell(f"scoring answers by {scorer}", 0, len(new))
    for begin in range(0, len(new), AT_ONCE):
        part = new[begin : begin + AT_ONCE]
        found = judging.score([query for query, _ in part], [text for _, text in part])
        for asked, score in zip(part, found, strict=True):
            cache.put(_key(scorer, asked), list(score))
            known[asked] = score
        tell(f"scoring answers by {scorer}", min(begin + AT_ONCE, len(new)), len(new))
    for answer in answers:
        score = known[answer["query"], answer["text"]]
        answer["scorer_nll"], answer["relevance"] = score.nll, score.relevance


def _key(scorer: str, asked: tuple[str, str]) -> dict[str, Any]:
    return {"kind": "score", "scorer": scorer, "query": asked[0], "text": asked[1]}

"""What a scorer makes of the answers of a suite: each distinct one is scored once, and kept in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.evaluate.cache import ContentCache, model_key
from trimtab.measure.responses import scored_by
from trimtab.measure.scorer import NEUTRAL, Score
from trimtab.progress import Tell

if TYPE_CHECKING:
    from trimtab.measure.responses import Response
    from trimtab.measure.scorer import Scorer

SAVE_EVERY = 8
"""Answers between two savings, and two lines of progress: a large scorer takes seconds for each."""


def with_scores(
    responses: Sequence[Response], scorer: Scorer, cache: ContentCache, tell: Tell
) -> list[Response]:
    """The same responses with their scores.

    Args:
        responses: What was answered.
        scorer: The other model; it is loaded, since what it is made of is part of the key of what is kept.
        cache: Where scores are looked for and kept.
        tell: Told how many answers are scored.

    Raises:
        ModelError: The scorer cannot be loaded.
        PromptError: A question and its answer do not fit the scorer's context.
    """
    tell("loading the scorer", 0)
    base = {"kind": "score", "scorer": model_key(scorer.engine), "neutral": NEUTRAL}
    missing: list[tuple[str, str]] = []
    asked = dict.fromkeys((one.query, one.text) for one in responses)
    for query, text in asked:
        score = _read(cache.get({**base, "query": query, "text": text}))
        if score is None:
            missing.append((query, text))
        else:
            scorer.know(query, text, score)
    # Alike long ones together, so that little of a batch is padding.
    missing.sort(key=lambda one: len(one[1]))
    known = len(asked) - len(missing)
    tell("scoring answers", known, len(asked))
    for begin in range(0, len(missing), SAVE_EVERY):
        part = missing[begin : begin + SAVE_EVERY]
        scores = scorer.score([query for query, _ in part], [text for _, text in part])
        for (query, text), score in zip(part, scores, strict=True):
            cache.put({**base, "query": query, "text": text}, {"nll": score.nll, "alone": score.alone})
        tell("scoring answers", known + begin + len(part), len(asked))
    return scored_by(responses, scorer)


def _read(value: Any) -> Score | None:
    """The score of a cache entry; None where it is not one."""
    try:
        found = [value[name] for name in ("nll", "alone")]
        return Score(*(None if one is None else float(one) for one in found))
    except (TypeError, KeyError, ValueError):
        return None

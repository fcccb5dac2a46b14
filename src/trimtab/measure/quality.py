"""What following cost: repetition, length, perplexity under the unsteered model and under another, relevance, facts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.errors import PromptError
from trimtab.measure.statistics import mean, rounded
from trimtab.progress import Progress

if TYPE_CHECKING:
    from trimtab.engines import Engine, Model, Prompt

FactCheck = Callable[[str, str], float | None]
"""``(query, response) -> share of true sentences``, or None where it cannot be judged."""

NGRAM = 4
# A punctuation mark counts as a word of its own, so that "{{{{{{" and "- - - -" are seen as the loops they are.
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Quality:
    """The quality of a set of responses.

    Attributes:
        perplexity: ``exp`` of the mean negative log-likelihood per token (nats) under the unsteered model, averaged
            over responses: a geometric mean, so that one odd response does not carry it. None without a response
            to score.
        repetition: Mean share of repeated word 4-grams, in [0, 1].
        facts: Mean share of true sentences, in [0, 1], or of closed-book questions answered rightly; None where
            nothing could be judged.
        tokens: Mean number of tokens of an answer, without its end and its thought; None where they were not counted.
        scorer_perplexity: Perplexity as above, under another model, the scorer; None without one.
        relevance: How much more likely the question makes a response, nats per token under the scorer, averaged over
            responses (`trimtab.measure.scorer`); None without a scorer.
        taken: Mean probability that a constraint took away from the model's tokens, in [0, 1]: how much the answers
            had to be forced; None where they were held to none.
    """

    perplexity: float | None
    repetition: float
    facts: float | None
    tokens: float | None = None
    scorer_perplexity: float | None = None
    relevance: float | None = None
    taken: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The fields as JSON numbers, rounded to four digits."""
        return {
            "perplexity": rounded(self.perplexity),
            "repetition": rounded(self.repetition),
            "facts": rounded(self.facts),
            "tokens": rounded(self.tokens),
            "scorer_perplexity": rounded(self.scorer_perplexity),
            "relevance": rounded(self.relevance),
            "taken": rounded(self.taken),
        }


def repetition(text: str, n: int = NGRAM) -> float:
    """The share of word n-grams that repeat an earlier one: ``1 - distinct / all``.

    0 for a text that never says the same ``n`` words twice, towards 1 for a loop. Case is ignored and a punctuation
    mark is a word. (The measure of S. Welleck et al., Neural Text Generation with Unlikelihood Training, 2020,
    `seq-rep-n`.)

    Args:
        text: The response.
        n: Words per n-gram, at least 1.

    Returns:
        A share in [0, 1); 0 for a text shorter than ``n`` words.

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    words = _WORD.findall(text.lower())
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def negative_log_likelihoods(
    engine: Engine,
    prompts: Sequence[Prompt],
    responses: Sequence[str | Sequence[int]],
    *,
    batch_size: int | None = None,
    progress: Progress = False,
) -> list[float | None]:
    """Mean negative log-likelihood of each response under the *unsteered* model.

    Args:
        engine: The engine; no steering is applied.
        prompts: One prompt per response.
        responses: The responses: as the tokens that were generated, or as text, which is tokenised anew.
        batch_size: Rows per forward pass; None lets the engine choose.
        progress: See `trimtab.progress.Progress`.

    Returns:
        Nats per token, in the order of the responses; None for an empty response, which has no tokens to score, and
        for one whose likelihood is not a finite number.

    Raises:
        PromptError: The lengths differ.
    """
    prompts = arguments.listed(prompts, "prompts", "prompts, one for each response", PromptError)
    responses = arguments.listed(responses, "responses", "texts, or of token ids", PromptError)
    if len(prompts) != len(responses):
        raise PromptError(
            f"there are {len(prompts)} prompts but {len(responses)} responses; give one for each"
        )
    filled = [i for i, r in enumerate(responses) if (r.strip() if isinstance(r, str) else r)]
    result: list[float | None] = [None] * len(responses)
    if filled:
        scores = engine.score(
            [prompts[i] for i in filled],
            [responses[i] for i in filled],
            batch_size=batch_size,
            progress=progress,
        )
        for i, value in zip(filled, scores, strict=True):
            result[i] = value if math.isfinite(value) else None
    return result


def perplexity(
    model: Model,
    prompts: Sequence[Prompt],
    responses: Sequence[str | Sequence[int]],
    *,
    batch_size: int | None = None,
) -> float | None:
    """Geometric mean perplexity of responses under the unsteered model.

    Args:
        model: An engine, or a model of transformers and its tokenizer; no steering is applied.
        prompts: One prompt per response.
        responses: The responses, as tokens or as text.
        batch_size: Rows per forward pass; None lets the engine choose.

    Returns:
        ``exp`` of the mean of `negative_log_likelihoods`, at least 1; None when every response is empty.

    Raises:
        PromptError: The lengths differ.
    """
    return perplexity_of(
        negative_log_likelihoods(as_engine(model), prompts, responses, batch_size=batch_size)
    )


def perplexity_of(nlls: Sequence[float | None]) -> float | None:
    """Perplexity of negative log-likelihoods that are already known.

    Args:
        nlls: Nats per token of each response, None where there is none.

    Returns:
        ``exp`` of their mean, capped at the largest float; None without any.
    """
    average = mean(nlls)
    # exp overflows a float a little above 709 nats, which a broken half-precision model can reach.
    return None if average is None else math.exp(min(average, 709.0))

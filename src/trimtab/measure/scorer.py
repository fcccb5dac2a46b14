"""The scorer: another model, which says how well answers read and how much they have to do with their questions.

A steered model's own likelihoods tell little of a real model's answers: what loops is easy to predict, and what is
fluent may answer another question. A small model that has nothing to do with the steering sees both:

    perplexity = exp(-1/n log p(answer | question))
    relevance  = 1/n (log p(answer | question) - log p(answer))

over the `n` tokens that the answer has in the scorer's own tokenizer. Relevance is the pointwise mutual information of
answer and question, for each token: what the question alone makes likely. It is about 0 for an answer to nothing, and
unlike perplexity it hardly minds how an answer is written, since small letters are as odd without the question.
(J. Li et al.: A Diversity-Promoting Objective Function for Neural Conversation Models, 2016, choose answers by it.)

For `log p(answer)` the question is replaced by :data:`NEUTRAL` in the same chat template, not by nothing: that the
scorer is a model which answers, and where its answer begins, is then on both sides and cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.engines.batching import check_batch_size
from trimtab.errors import ModelError
from trimtab.measure.quality import negative_log_likelihoods
from trimtab.progress import Progress, part_of, shown

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.engines.base import Engine

NEUTRAL = "Say something."
"""What stands in for the question where an answer is scored on its own."""


class Score(NamedTuple):
    """What the scorer makes of one answer, nats per token; None for an empty one.

    Attributes:
        nll: `-log p(answer | question)`.
        alone: `-log p(answer)`.
    """

    nll: float | None
    alone: float | None

    @property
    def relevance(self) -> float | None:
        """How much more likely the question makes the answer; None for an empty answer."""
        return None if self.nll is None or self.alone is None else self.alone - self.nll


class Scorer:
    """Another model, which scores answers. It is loaded when it is first needed, and scores nothing twice.

    Args:
        model: Its name, folder or GGUF file, as `trimtab.load` takes it; or a model that is there: an engine, or a
            model of transformers and its tokenizer.
        load: What loads it by its name; None takes `trimtab.load`.
        batch_size: Answers per forward pass; None lets its engine choose.
    """

    def __init__(
        self,
        model: Model | str | Path,
        *,
        load: Callable[[str], Engine] | None = None,
        batch_size: int | None = None,
    ) -> None:
        if load is not None:
            arguments.function(load, "load", "a function from a name to an engine, or None", ModelError)
        check_batch_size(batch_size)
        self._load = load
        self._batch_size = batch_size
        self._model: Any = model
        self._engine: Engine | None = None if isinstance(model, str | Path) else as_engine(model)
        self._given: dict[tuple[str, str], float | None] = {}
        self._alone: dict[str, float | None] = {}

    @property
    def name(self) -> str:
        """What it is called, without loading it."""
        return str(self._model) if self._engine is None else self._engine.identity.id

    @property
    def engine(self) -> Engine:
        """What runs it.

        Raises:
            ModelError: It cannot be loaded.
        """
        if self._engine is None:
            if self._load is None:
                from trimtab.engines.loading import load

                self._load = load
            self._engine = self._load(str(self._model))
        return self._engine

    def know(self, query: str, text: str, score: Score) -> None:
        """Take a score that was computed before, by the same model."""
        self._given[query, text], self._alone[text] = score

    def score(
        self, queries: Sequence[str], texts: Sequence[str], *, progress: Progress = False
    ) -> list[Score]:
        """Scores answers.

        Args:
            queries: The bare questions.
            texts: An answer to each.
            progress: See `trimtab.progress.Progress`.

        Returns:
            One score for each answer, in order.

        Raises:
            ValueError: The lengths differ.
            ModelError: The scorer cannot be loaded.
            PromptError: A question and its answer do not fit the scorer's context.
        """
        asked = list(zip(queries, texts, strict=True))
        given = [one for one in dict.fromkeys(asked) if one not in self._given]
        alone = [text for text in dict.fromkeys(texts) if text not in self._alone]
        rows = [*given, *((NEUTRAL, text) for text in alone)]
        if rows:
            with shown(progress) as tell:
                found = negative_log_likelihoods(
                    self.engine,
                    [query for query, _ in rows],
                    [text for _, text in rows],
                    batch_size=self._batch_size,
                    progress=part_of(tell, "scoring answers"),
                )
            self._given.update(zip(given, found, strict=False))
            self._alone.update(zip(alone, found[len(given) :], strict=True))
        return [Score(self._given[one], self._alone[one[1]]) for one in asked]

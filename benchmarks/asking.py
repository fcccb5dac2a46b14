"""A model under measurement: the same test queries for every instruction, asked plain, told, steered and both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.learning import learned
from trimtab import prompts
from trimtab.evaluate.cache import ContentCache
from trimtab.evaluate.run import evaluate_suite
from trimtab.instructions import Instruction
from trimtab.measure.rows import Condition
from trimtab.progress import Tell, prefixed
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.results import Evaluation
    from trimtab.evaluate.suites import Suite

AT_ONCE = 1 << 20
"""All answers of a suite go to the engine in one call, which fills its batches with them."""


class AskedModel:
    """A model; its steerings and answers are kept in a folder, and not made again.

    Args:
        model: Its name, folder or GGUF file.
        folder: Where they are kept.
        load: Loads the model, when it is first needed.
        tell: Is told of progress.
        count: Test queries.
        tokens: Longest answer.
        seed: Chooses queries and phrasings.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        load: Callable[[], Engine],
        tell: Tell,
        *,
        count: int,
        tokens: int,
        seed: int,
    ) -> None:
        self.model = model
        self.folder = folder
        self.tell = tell
        self.seed = seed
        self._load = load
        self._count = count
        self._tokens = tokens
        self._cache = ContentCache(folder / "answers")

    @cached_property
    def engine(self) -> Engine:
        """The model."""
        return self._load()

    def forget_model(self) -> None:
        """Gives back the memory of the model, which is loaded again if it is needed."""
        self.__dict__.pop("engine", None)

    @cached_property
    def queries(self) -> list[str]:
        """The test queries, the same for all instructions, so that their plain answers are."""
        return prompts.draw_queries(self.engine.identity, test=self._count, seed=self.seed).test

    def learned(
        self, instruction: Instruction, options: Sequence[str], *, name: str = ""
    ) -> tuple[Steering | None, dict[str, Any]]:
        """The steering of an instruction and what learning told of it, learned if it is not there yet.

        None where it could not be learned.

        Args:
            instruction: What is learned.
            options: Of `trimtab learn`, beside its defaults.
            name: Of the way to learn, where there are several: a folder of its own.
        """
        tell = prefixed(self.tell, name) if name else self.tell
        where = self.folder / "steerings" / name
        place, told = learned(self.model, instruction, where, tell, options=options, seed=self.seed)
        return None if place is None else Steering.load(place, self.engine.identity), told

    def answers(
        self, label: str, suite: Suite, steerings: Any, conditions: Sequence[Condition]
    ) -> Evaluation:
        """What it answers to a suite.

        Args:
            label: What it is called where progress is told.
            suite: What is asked.
            steerings: As of `evaluate_suite`.
            conditions: Under which it answers.
        """
        return evaluate_suite(
            self.engine,
            suite,
            steerings,
            conditions=conditions,
            cache=self._cache,
            max_new_tokens=self._tokens,
            save_every=AT_ONCE,
            progress=prefixed(self.tell, label),
        )

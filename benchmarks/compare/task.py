"""What every method is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trimtab import learn, prompts
from trimtab.engines.base import (
    Capture,
    Engine,
    Generation,
    Prompt,
)
from trimtab.engines.transformers import TransformersEngine
from trimtab.instructions import Instruction
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response, respond, respond_baseline
from trimtab.prompts.pairs import PromptPair
from trimtab.steering.steering import Steering
from trimtab.tune.vector import learn_directions


@dataclass(frozen=True)
class Settings:
    """How much is learned from, chosen on and measured on.

    Attributes:
        pairs: Prompt pairs to learn from.
        validation: Questions on which every method's candidates are compared.
        test: Questions on which what was chosen is measured.
        max_new_tokens: Longest answer, in tokens.
        first: How many validation questions all candidates of a method are tried on.
        keep: How many of them are then tried on all.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Chooses questions and phrasings.
    """

    pairs: int = 64
    validation: int = 12
    test: int = 32
    max_new_tokens: int = 128
    first: int = 3
    keep: int = 6
    batch_size: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """One setting of a method: where it acts and how strongly.

    Attributes:
        settings: What tells it from the others, plain JSON.
        steering: What it does, as edits. The candidates of a method are searched as rows of the same batches.
        native: For another library: a context in which *its own* code changes the model to the same effect. What was
            chosen is then measured under it, and its answers are compared with those of the edits.
    """

    settings: dict[str, Any]
    steering: Steering
    native: Callable[[], AbstractContextManager[Any]] | None = None


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        key: Its name on the command line and in files.
        title: Its name in the table.
        candidates: Learns from a task's learning pairs; the first is what its authors would take, among equals the
            earlier one is chosen.
        source: Whose method it is.
        packages: What has to be installed, by the names of the package index.
    """

    key: str
    title: str
    candidates: Callable[[Task], Sequence[Candidate]]
    source: str
    packages: tuple[str, ...] = ()


@dataclass
class Task:
    """One instruction on one model: the same for every method.

    Attributes:
        engine: The model.
        instruction: What is to be followed.
        settings: How much of everything.
        facts: Judges the truth of an answer to a question; None leaves facts out.
        plain: Answers to bare questions, by questions; shared between tasks of one model.
    """

    engine: TransformersEngine
    instruction: Instruction
    settings: Settings
    facts: FactCheck | None = None
    plain: dict[tuple[str, ...], list[Response]] = field(default_factory=dict)

    def queries(self, split: prompts.Split) -> list[str]:
        """The bare questions of a split."""
        count = {
            "learning": self.settings.pairs,
            "validation": self.settings.validation,
            "test": self.settings.test,
        }
        return prompts.default_queries(self.engine.identity, split, count[split], self.settings.seed)

    @property
    def sign(self) -> int:
        """-1 where the direction of the pairs is to be turned round: an exclusion is learned from its inclusion."""
        return learn.learning_source(self.instruction).sign

    @cached_property
    def pairs(self) -> list[PromptPair]:
        """The learning pairs."""
        source = learn.learning_source(self.instruction).instruction
        return prompts.make_pairs(self.queries("learning"), source, "learning", self.settings.seed)

    def directions(self) -> learn.Directions:
        """The mean difference of the pairs at every block, standing for the instruction; learned at each call."""
        found = learn_directions(
            self.engine,
            self.instruction,
            self.queries("learning"),
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
        )
        return found.standing_for(self.instruction.label, self.instruction.to_dict())

    def instructed(self, split: prompts.Split) -> list[str]:
        """The questions of a split with the instruction in one of the split's phrasings."""
        made = prompts.make_pairs(self.queries(split), self.instruction, split, self.settings.seed)
        return [pair.instructed for pair in made]

    def answers(
        self,
        split: prompts.Split,
        given: Sequence[str],
        engine: Engine | None = None,
        steering: Steering | None = None,
    ) -> list[Response]:
        """Generates and measures, for every method and condition in the same way.

        Args:
            split: Whose bare questions `given` belongs to, in order, once or several times over.
            given: The prompts.
            engine: What generates; the plain model when None.
            steering: Applied to every row.
        """
        queries = self.queries(split)
        return respond(
            engine or self.engine,
            queries * (len(given) // len(queries)),
            given,
            steering=steering,
            facts=self.facts,
            max_new_tokens=self.settings.max_new_tokens,
            batch_size=self.settings.batch_size,
        )

    def baseline(self, split: prompts.Split) -> list[Response]:
        """The answers to the bare questions of a split; generated once for all instructions."""
        queries = tuple(self.queries(split))
        if queries not in self.plain:
            self.plain[queries] = respond_baseline(
                self.engine,
                list(queries),
                facts=self.facts,
                max_new_tokens=self.settings.max_new_tokens,
                batch_size=self.settings.batch_size,
            )
        return self.plain[queries]


class NativeEngine(Engine):
    """The plain engine, except that another library's code changes the model while it generates.

    Scores stay those of the unchanged model, as they are for every method.

    Args:
        engine: The engine.
        native: Entered for the time of each generation.
    """

    def __init__(self, engine: Engine, native: Callable[[], AbstractContextManager[Any]]) -> None:
        self.engine = engine
        self.native = native
        self.identity = engine.identity

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[Generation]:
        """As the engine, under the other library's code."""
        with self.native():
            return self.engine.generate(prompts, **options)

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[str]:
        """As the engine, under the other library's code until the last piece is taken."""
        with self.native():
            yield from self.engine.stream(prompt, **options)

    def capture(self, prompts: Sequence[Prompt], **options: Any) -> Capture:
        """As the engine."""
        return self.engine.capture(prompts, **options)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[Any], **options: Any) -> list[float]:
        """As the engine."""
        return self.engine.score(prompts, responses, **options)

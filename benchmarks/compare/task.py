"""What every method is given, and what it gives back."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.compare.native import Native, NativeEngine
from trimtab import learn, prompts
from trimtab.constraint import Constraint
from trimtab.engines.base import Prompt
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import SteeringError
from trimtab.instructions import Instruction
from trimtab.instructions.together import constraint_of
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response, respond, respond_baseline
from trimtab.measure.rows import Condition
from trimtab.prompts.pairs import PromptPair
from trimtab.steering.steering import Steering
from trimtab.tune.vector import learn_directions

Item = TypeVar("Item")


def depths(blocks: Sequence[int]) -> list[int]:
    """The blocks that a direction is tried in alone: all of a few, every third of 30; the middle ones first."""
    middle = blocks[len(blocks) // 2]
    return sorted(blocks[:: max(len(blocks) // 8, 1)], key=lambda block: abs(block - middle))


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
        candidates: How many candidates of a method are tried at most, drawn by the seed from all over its list beside
            the first; None for all.
        steps: Steps of every method that trains; None for those of `trimtab learn`.
        questions: Closed-book questions of a real model; 0 for none.
        speed: Whether speed is measured, which says nothing on a machine with other work.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Chooses questions and phrasings.
    """

    pairs: int = 64
    validation: int = 12
    test: int = 32
    max_new_tokens: int = 128
    first: int = 3
    keep: int = 6
    candidates: int | None = None
    steps: int | None = None
    questions: int = 0
    speed: bool = True
    batch_size: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """One setting of a method: where it acts and how strongly, or what it says.

    Attributes:
        settings: What tells it from the others, plain JSON.
        steering: What it does, as edits; None where it does it in another way. Candidates without code of their own are
            searched as rows of the same batches.
        native: For another library: a context in which *its own* code changes the model to the same effect. What was
            chosen is then measured under it, and its answers are compared with those of the edits, if it has any.
        prompt: What the model is given for a question; None for the bare question.
        constrained: Whether the answer is held to the instruction's constraint.
        weights: How many numbers were learned and how many bytes they take in a file, where they are no edits.
    """

    settings: dict[str, Any]
    steering: Steering | None = None
    native: Native | None = None
    prompt: Callable[[str], Prompt] | None = None
    constrained: bool = False
    weights: tuple[int, int] | None = None

    def given(self, query: str) -> Prompt:
        """What the model is given for a question."""
        return query if self.prompt is None else self.prompt(query)


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
        condition: What it does to a prompt. One that steers is measured on top of the instruction too.
        chosen: Whether there is a choice to be made; if not, its one candidate is taken without trying it.
    """

    key: str
    title: str
    candidates: Callable[[Task], Sequence[Candidate]]
    source: str
    packages: tuple[str, ...] = ()
    condition: Condition = "steered"
    chosen: bool = True


@dataclass
class Task:
    """One instruction on one model: the same for every method.

    Attributes:
        engine: The model.
        instruction: What is to be followed.
        settings: How much of everything.
        facts: Judges the truth of an answer to a question; None leaves facts out.
        plain: Answers to bare questions, by questions; shared between tasks of one model.
        folder: Where what several methods share is kept, such as lessons; None keeps nothing.
        spent: Seconds that went into what was learned for another method, and is used again.
    """

    engine: TransformersEngine
    instruction: Instruction
    settings: Settings
    facts: FactCheck | None = None
    plain: dict[tuple[str, ...], list[Response]] = field(default_factory=dict)
    folder: Path | None = None
    spent: float = 0.0
    _told_answers: dict[str, list[Response]] = field(default_factory=dict)

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

    def pairs_of(self, split: prompts.Split, queries: Sequence[str]) -> list[PromptPair]:
        """Questions without and with the instruction, in phrasings of a split."""
        return prompts.make_pairs(queries, self.instruction, split, self.settings.seed)

    @cached_property
    def _told(self) -> dict[str, str]:
        """What the instructed model is given for each question that it is measured or chosen on."""
        splits: tuple[prompts.Split, ...] = ("validation", "test")
        return {
            pair.plain: pair.instructed
            for split in splits
            for pair in self.pairs_of(split, self.queries(split))
        }

    def told(self, query: str) -> str:
        """A question with the instruction in words, as the instructed model is given it."""
        if query not in self._told:
            seed = zlib.crc32(query.encode())  # which phrasing: another for each question
            self._told[query] = prompts.make_pairs([query], self.instruction, "test", seed)[0].instructed
        return self._told[query]

    def constraint(self, query: str) -> Constraint:
        """What an answer to a question is held to.

        Raises:
            SteeringError: The instruction has no constraint.
        """
        found = constraint_of([self.instruction], query)
        if found is None:
            raise SteeringError(f"{self.instruction.label} has no constraint")
        return found

    def some(self, items: Sequence[Item]) -> list[Item]:
        """Those of a method's candidates that are tried: all, or the first and one of each of equal parts of the rest.

        A list goes through one setting after the other, so that its parts differ in what matters, such as strength.
        """
        most = self.settings.candidates
        if most is None or len(items) <= most:
            return list(items)
        rng, parts, rest = random.Random(self.settings.seed), most - 1, len(items) - 1
        ends = [1 + part * rest // max(parts, 1) for part in range(parts + 1)]
        return [items[0], *(items[rng.randrange(*part)] for part in pairwise(ends))]

    def ask(self, candidate: Candidate, asked: Sequence[tuple[str, Prompt]]) -> list[Response]:
        """What a candidate answers, measured for every method and condition in the same way.

        Args:
            candidate: The candidate; another library's steers by its own code.
            asked: The bare questions, and what the model is given for each.
        """
        native = candidate.native
        return respond(
            self.engine if native is None else NativeEngine(self.engine, native),
            [query for query, _ in asked],
            [given for _, given in asked],
            steering=candidate.steering if native is None else None,
            constraints=[self.constraint(query) for query, _ in asked] if candidate.constrained else None,
            facts=self.facts,
            max_new_tokens=self.settings.max_new_tokens,
            batch_size=self.settings.batch_size,
        )

    def told_answers(self, split: prompts.Split) -> list[Response]:
        """The answers to the questions of a split with the instruction in words; generated once."""
        if split not in self._told_answers:
            asked = [(query, self.told(query)) for query in self.queries(split)]
            self._told_answers[split] = self.ask(Candidate({}), asked)
        return self._told_answers[split]

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

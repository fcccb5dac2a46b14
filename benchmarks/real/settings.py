"""What is measured on which model, and how much of it."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.instructions import Instruction
from trimtab.instructions.spelling import resolve_all

SCORER = "qwen2.5-coder-1.5b"
"""The model under which answers are scored; of another family than the models measured, or larger."""

FAMILIES = (
    "json,bullets(num_bullets=3),title,highlights(num_highlights=2),quotes,postscript(postscript_marker='P.S.'),"
    "lowercase,uppercase,no_commas,sentences(at_most=2),words(at_most=50),include(word=river),exclude(word=people),"
    "language(language=es)"
)
FEW = "no_commas,lowercase,quotes,bullets(num_bullets=3)"


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        model: Its name, folder or GGUF file.
        instructions: What is learned, one by one.
        queries: Test queries.
        tokens: Longest answer.
        constrained: Whether answers are also held to the instruction's constraint, plain and steered.
        facts: Closed-book questions asked plain and steered; 0 for none.
        pairs: Compatible pairs of instructions, each by the union of two steerings; 0 for none.
        scorer: The other model that scores answers; None for none.
        scored: How many of the test queries' answers it scores, plain and steered, of each instruction.
        learn: Options of `trimtab learn` beside its defaults.
        compose: Options of `trimtab compose`, by which pairs are also put together; None measures their unions alone.
        seed: Chooses queries, phrasings and pairs.
        trial: Whether it is but a trial of a larger measurement.
    """

    model: str
    instructions: tuple[Instruction, ...]
    queries: int = 48
    tokens: int = 160
    constrained: bool = True
    facts: int = 138
    pairs: int = 15
    scorer: str | None = SCORER
    scored: int = 12
    learn: tuple[str, ...] = ()
    compose: tuple[str, ...] | None = None
    seed: int = 0
    trial: bool = False

    def shared(self, share: float) -> Settings:
        """The same with so much of everything, learning included; 1 changes nothing."""
        if share >= 1:
            return self

        def part(count: int, least: int = 1) -> int:
            return max(least, round(count * share)) if count else 0

        pairs, validation, steps = part(64, 16), part(24, 4), part(80, 8)
        learning = f"--pairs {pairs} --validation {validation} --steps {steps}".split()
        return dataclasses.replace(
            self,
            queries=part(self.queries, 2),
            facts=part(self.facts, 2),
            pairs=part(self.pairs),
            scored=part(self.scored),
            learn=(*learning, *self.learn),
            compose=None if self.compose is None else (*learning, *self.compose),
            trial=True,
        )

    def of(self, instruction: Instruction) -> dict[str, Any]:
        """All that decides what is measured of an instruction, as JSON."""
        return {
            "model": self.model,
            "instruction": instruction.to_dict(),
            "queries": self.queries,
            "tokens": self.tokens,
            "constrained": self.constrained,
            "facts": self.facts,
            "learn": list(self.learn),
            "seed": self.seed,
        }

    def combinations(self) -> list[tuple[Instruction, Instruction]]:
        """The compatible pairs that are measured, drawn by the seed and in the order of the instructions."""
        compatible = [
            (one, other)
            for one, other in itertools.combinations(self.instructions, 2)
            if not one.conflicts_with(other)
        ]
        chosen = random.Random(self.seed).sample(range(len(compatible)), min(self.pairs, len(compatible)))
        return [compatible[number] for number in sorted(chosen)]

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON, without the instructions."""
        return {
            one.name: getattr(self, one.name)
            for one in dataclasses.fields(self)
            if one.name != "instructions"
        }


def instructions_for(model: str, spelled: str | None) -> tuple[Instruction, ...]:
    """The instructions that were named, or those that are measured on a model: of every family on small chat models."""
    found: Sequence[Instruction] = resolve_all(spelled or (FAMILIES if model == "smollm2" else FEW))
    return tuple(dict.fromkeys(found))

"""Learning and answering: each tone by each method, and the first one together with what a program checks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.asking import AskedModel
from benchmarks.tones.settings import Settings
from trimtab import prompts
from trimtab.evaluate import suites
from trimtab.instructions import Instruction
from trimtab.measure.quality import perplexity_of
from trimtab.measure.rows import CONDITIONS, Condition
from trimtab.measure.statistics import mean, rounded
from trimtab.progress import Tell
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.accuracy import Answer
    from trimtab.measure.judges import InstructionJudge

STEERED: tuple[Condition, ...] = ("steered", "instructed+steered")


class Bench(AskedModel):
    """A model under measurement. Steerings and answers are kept in a folder, and not made again.

    Args:
        settings: What is measured.
        folder: Where they are kept.
        engine: The model.
        judge: Judges the tones.
        tell: Is told of progress.
    """

    def __init__(
        self, settings: Settings, folder: Path, engine: Engine, judge: InstructionJudge, tell: Tell
    ) -> None:
        super().__init__(
            settings.model,
            folder,
            lambda: engine,
            tell,
            count=settings.queries,
            tokens=settings.tokens,
            seed=settings.seed,
        )
        self.settings = settings
        self.judge = judge

    def steering(self, instruction: Instruction, method: str) -> tuple[Steering | None, dict[str, Any]]:
        """The steering of an instruction and what learning told of it; None where it could not be learned.

        Args:
            instruction: A tone, or what it is composed with.
            method: One of the settings, or `checked`.
        """
        settings = self.settings
        options = settings.checked if method == "checked" else settings.methods[method]
        return self.learned(instruction, options, name=method)

    def tone(self, tone: Instruction) -> dict[str, Any]:
        """One tone, plain, told, and by each method steered and both."""
        suite = suites.from_queries(
            "the test queries", self.queries, [tone.judged_by(self.judge)], seed=self.seed
        )
        evaluation = self.answers(tone.label, suite, None, CONDITIONS)
        agreed = [one.to_dict() for found in evaluation.agreements.values() for one in found]
        rows = [
            {"condition": condition, "method": None, "seconds": None, **figures(evaluation.of(condition))}
            for condition in evaluation.conditions
        ]
        refused = {}
        for method in self.settings.methods:
            steering, told = self.steering(tone, method)
            if steering is None:
                refused[method] = told["refused"]
                continue
            evaluation = self.answers(f"{tone.label} by {method}", suite, {tone: steering}, STEERED)
            rows += [
                {
                    "condition": condition,
                    "method": method,
                    "seconds": told["seconds"],
                    "edits": len(steering.edits),
                    **figures(evaluation.of(condition)),
                }
                for condition in evaluation.conditions
            ]
        agreement = agreed[0] if agreed else None
        return {"tone": tone.label, "agreement": agreement, "rows": rows, "refused": refused}

    def composed(self, tone: Instruction, other: Instruction, method: str) -> dict[str, Any] | None:
        """A tone together with another instruction, by the union of their steerings; None where one is lacking."""
        union = {tone: self.steering(tone, method)[0], other: self.steering(other, "checked")[0]}
        if None in union.values():
            return None
        told = prompts.make_pairs(self.queries, tone, "test", seed=self.seed)
        also = prompts.make_pairs(self.queries, other, "test", seed=self.seed)
        items = [
            suites.Item(
                key=f"#{number}",
                query=one.plain,
                instructed=f"{one.instructed} {two.phrasing}",
                instructions=(tone.judged_by(self.judge), other),
            )
            for number, (one, two) in enumerate(zip(told, also, strict=True))
        ]
        suite = suites.Suite("the test queries", tuple(items), "test queries")
        evaluation = self.answers(f"{tone.label} and {other.label}", suite, union, CONDITIONS)
        rows = [
            {"condition": condition, **figures(evaluation.of(condition))}
            for condition in evaluation.conditions
        ]
        return {"tone": tone.label, "other": other.label, "method": method, "rows": rows}


def figures(answers: Iterable[Answer]) -> dict[str, Any]:
    """Of answers under one condition: how many follow each instruction and all of them, and their quality."""
    found = list(answers)
    verdicts = [answer.strict for answer in found]
    responses = [answer.response for answer in found]
    return {
        "n": len(found),
        "followed": [sum(one) for one in zip(*verdicts, strict=True)],
        "all": sum(all(one) for one in verdicts),
        "repetition": rounded(mean(one.repetition for one in responses)),
        "perplexity": rounded(perplexity_of([one.nll for one in responses])),
        "tokens": rounded(mean(one.tokens for one in responses)),
        "answers": [{"query": one.query, "text": one.text} for one in responses],
    }

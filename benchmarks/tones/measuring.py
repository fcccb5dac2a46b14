"""Learning and answering: each tone by each method, and the first one together with what a program checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.real.learning import learned
from benchmarks.real.settings import Settings as Learning
from benchmarks.tones.settings import Settings
from trimtab import prompts
from trimtab.evaluate import suites
from trimtab.evaluate.cache import ContentCache
from trimtab.evaluate.run import evaluate_suite
from trimtab.instructions import Instruction
from trimtab.measure.quality import perplexity_of
from trimtab.measure.rows import CONDITIONS, Condition
from trimtab.measure.statistics import mean, rounded
from trimtab.progress import Tell, prefixed
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.accuracy import Answer
    from trimtab.evaluate.results import Evaluation
    from trimtab.measure.judges import InstructionJudge

AT_ONCE = 1 << 20
"""All answers of a tone go to the engine in one call, which fills its batches with them."""


STEERED: tuple[Condition, ...] = ("steered", "instructed+steered")


class Bench:
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
        self.settings = settings
        self.folder = folder
        self.engine = engine
        self.judge = judge
        self.tell = tell
        self._cache = ContentCache(folder / "answers")
        self._queries = prompts.draw_queries(engine.identity, test=settings.queries, seed=settings.seed).test

    def steering(self, instruction: Instruction, method: str) -> tuple[Steering | None, dict[str, Any]]:
        """The steering of an instruction and what learning told of it, learned if it is not there yet.

        None where it could not be learned.

        Args:
            instruction: A tone, or what it is composed with.
            method: One of the settings, or `checked`.
        """
        settings = self.settings
        options = settings.checked if method == "checked" else settings.methods[method]
        how = Learning(settings.model, (instruction,), learn=options, seed=settings.seed)
        tell = prefixed(self.tell, method)
        place, told = learned(how, instruction, self.folder / "steerings" / method, tell)
        return None if place is None else Steering.load(place, self.engine.identity), told

    def tone(self, tone: Instruction) -> dict[str, Any]:
        """One tone, plain, told, and by each method steered and both."""
        suite = suites.from_queries(
            "the test queries", self._queries, [tone.judged_by(self.judge)], seed=self.settings.seed
        )
        evaluation = self._answers(suite, None, tone.label)
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
            evaluation = self._answers(suite, {tone: steering}, f"{tone.label} by {method}", STEERED)
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
        told = prompts.make_pairs(self._queries, tone, "test", seed=self.settings.seed)
        also = prompts.make_pairs(self._queries, other, "test", seed=self.settings.seed)
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
        evaluation = self._answers(suite, union, f"{tone.label} and {other.label}")
        rows = [
            {"condition": condition, **figures(evaluation.of(condition))}
            for condition in evaluation.conditions
        ]
        return {"tone": tone.label, "other": other.label, "method": method, "rows": rows}

    def _answers(
        self, suite: suites.Suite, steerings: Any, label: str, conditions: Sequence[Condition] = CONDITIONS
    ) -> Evaluation:
        return evaluate_suite(
            self.engine,
            suite,
            steerings,
            conditions=conditions,
            cache=self._cache,
            max_new_tokens=self.settings.tokens,
            save_every=AT_ONCE,
            progress=prefixed(self.tell, label),
        )


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

"""What the model answers: every condition of an instruction, pairs by the union of two steerings, closed-book facts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.asking import AskedModel
from benchmarks.learning import composed, place
from benchmarks.real.settings import Settings
from trimtab.evaluate import suites
from trimtab.files import write_text
from trimtab.instructions import Instruction
from trimtab.measure import facts as closed_book
from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS
from trimtab.progress import Tell, part_of
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.accuracy import Answer


class Bench(AskedModel):
    """A model under measurement; what is finished is kept in a folder, and not done again.

    Args:
        settings: What is measured.
        folder: Where steerings, answers and results are kept.
        load: Loads the model, when it is first needed.
        tell: Is told of progress.
    """

    def __init__(self, settings: Settings, folder: Path, load: Callable[[], Engine], tell: Tell) -> None:
        super().__init__(
            settings.model,
            folder,
            load,
            tell,
            count=settings.queries,
            tokens=settings.tokens,
            seed=settings.seed,
        )
        self.settings = settings

    def steering(self, instruction: Instruction) -> tuple[Steering | None, dict[str, Any]]:
        """The steering of an instruction and what learning told of it; None where it could not be learned."""
        return self.learned(instruction, self.settings.learn)

    def instruction(self, instruction: Instruction) -> dict[str, Any]:
        """Everything about one instruction: how it was learned, its answers under every condition, its facts."""

        def measure() -> dict[str, Any]:
            steering, told = self.steering(instruction)
            suite = suites.from_queries(
                "the test queries", self.queries, [instruction], seed=self.settings.seed
            )
            found = None if steering is None else {instruction: steering}
            conditions = ALL_CONDITIONS if self.settings.constrained else CONDITIONS
            answers = self.answers(instruction.label, suite, found, conditions).answers
            told_of = ("seconds", "refused", "teacher", "teachers", "method", "settings", "measurements")
            return {
                "learned": {key: told[key] for key in told_of if key in told},
                "edits": 0 if steering is None else len(steering.edits),
                "facts": None if steering is None else self._facts(instruction, steering),
                "conditions": by_condition(answers),
            }

        return self._kept(place([instruction]), self.settings.of(instruction), measure)

    def _facts(self, instruction: Instruction, steering: Steering) -> dict[str, Any] | None:
        """The shares of closed-book questions that are answered rightly; None where there are none to ask."""
        if not self.settings.facts:
            return None
        path = self.folder / "facts.json"
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        found = closed_book.measure(
            self.engine,
            steering,
            n=self.settings.facts,
            instructions=[instruction],
            known=known,
            seed=self.settings.seed,
            progress=part_of(self.tell, f"{instruction.label}: answering closed-book questions"),
        )
        write_text(path, json.dumps(known, ensure_ascii=False, indent=1))
        if found is None:
            return None
        return {"n": found.n, "baseline": found.right_plain, "steered": found.right_steered}

    def pair(self, pair: tuple[Instruction, Instruction]) -> dict[str, Any] | None:
        """The untold answers of the union of two steerings and, where asked for, of their composition.

        None where it has not both steerings.
        """
        what: dict[str, Any] = {"of": [self.settings.of(one) for one in pair]}

        def parts() -> dict[Instruction, Steering | None]:
            return {one: self.steering(one)[0] for one in pair}

        def united() -> dict[str, Any]:
            union = parts()
            return {"conditions": {} if None in union.values() else self._together(pair, union)}

        def fitted() -> dict[str, Any]:
            parts()
            settings = self.settings
            place, told = composed(
                settings.model,
                pair,
                self.folder / "steerings",
                self.tell,
                learn=settings.learn,
                options=settings.compose or (),
                seed=settings.seed,
            )
            if place is None:
                return {"refused": told["refused"], "conditions": {}}
            steering = Steering.load(place, self.engine.identity)
            return {"composed": told, "conditions": self._together(pair, steering)}

        found = self._kept(place(pair), what, united)
        if not found["conditions"]:
            return None
        if self.settings.compose is None:
            return found
        what |= {"compose": list(self.settings.compose)}
        after = self._kept(f"{place(pair)}+composed", what, fitted)
        return found | {"composed": after["conditions"].get("steered")}

    def _together(self, pair: tuple[Instruction, Instruction], steerings: Any) -> dict[str, Any]:
        items = [
            suites.Item(key=str(number), query=query, instructed=None, instructions=pair)
            for number, query in enumerate(self.queries)
        ]
        suite = suites.Suite("the test queries", tuple(items), "test queries")
        label = " and ".join(one.label for one in pair)
        return by_condition(self.answers(label, suite, steerings, ("steered",)).answers)

    def _kept(self, name: str, what: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured under a name, from its file where that is of the same settings."""
        path = self.folder / "measured" / f"{name}.json"
        if path.is_file():
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if kept["what"] == what:
                return kept
        found = {"what": what, **measure()}
        write_text(path, json.dumps(found, ensure_ascii=False, indent=1), make_folder=True)
        return found


def by_condition(answers: Iterable[Answer]) -> dict[str, list[dict[str, Any]]]:
    """The answers of each condition, with all that figures are made of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for answer in answers:
        response = answer.response
        found.setdefault(answer.condition, []).append(
            {
                "query": response.query,
                "text": response.text,
                "tokens": response.tokens,
                "finished": response.finished,
                "nll": response.nll,
                "repetition": response.repetition,
                "taken": response.taken,
                "strict": all(answer.strict),
                "loose": all(answer.loose),
            }
        )
    return found

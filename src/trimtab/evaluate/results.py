"""What a suite measured: answers under their conditions, and every figure that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from trimtab.evaluate.accuracy import Accuracy, Answer, accuracy_of
from trimtab.measure import significance
from trimtab.measure.rows import ALL_CONDITIONS, Condition, Row, compare_with_plain
from trimtab.measure.significance import Paired
from trimtab.measure.statistics import rounded

if TYPE_CHECKING:
    from trimtab.evaluate.suites import Suite
    from trimtab.measure.facts import Facts
    from trimtab.measure.judges import Agreement
    from trimtab.steering.record import ModelIdentity

PAIRS: tuple[tuple[Condition, Condition], ...] = (
    ("baseline", "steered"),
    ("instructed", "instructed+steered"),
    ("constrained", "steered+constrained"),
)
"""Which condition each steered one is compared with: the same prompt without the steering."""


@dataclass(frozen=True)
class Comparison:
    """A steered condition against the same prompts without the steering.

    Attributes:
        label: Which instruction; None for whole prompts of the whole suite.
        first: The condition without the steering.
        second: The condition with it.
        paired: The difference and its test.
        p_adjusted: The p-value, adjusted for the number of instructions compared; equal to it for whole prompts.
    """

    label: str | None
    first: Condition
    second: Condition
    paired: Paired
    p_adjusted: float

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "label": self.label,
            "first": self.first,
            "second": self.second,
            "n": self.paired.n,
            "gained": self.paired.gained,
            "lost": self.paired.lost,
            "difference": round(self.paired.difference, 4),
            "interval": self.paired.interval.to_list(),
            "p": self.paired.p,
            "p_adjusted": self.p_adjusted,
        }


@dataclass
class Evaluation:
    """What was measured on a suite.

    Attributes:
        suite: What was asked, after items that cannot be measured were left out.
        model: Which model answered.
        answers: One for each item, condition and strength.
        strengths: The strengths of the `steered` condition; the first is the one that tables show.
        left_out: Why items were left out, and how many.
        closed_book: Closed-book questions plain and under each steering, by what that is for; empty without any.
        agreements: By the name of each judge in the place of a check, how far it agrees with a person; empty without
            any. An instruction of which there are no labelled answers is not in it.
        settings: How it was done, for the report.
        new: How many answers were generated and not found in the cache.
        seconds: Time it took.
    """

    suite: Suite
    model: ModelIdentity
    answers: list[Answer] = field(repr=False)
    strengths: tuple[float, ...] = (1.0,)
    left_out: dict[str, int] = field(default_factory=dict)
    closed_book: dict[str, Facts] = field(default_factory=dict)
    agreements: dict[str, list[Agreement]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    new: int = 0
    seconds: float = 0.0

    def of(self, condition: Condition, strength: float | None = None) -> list[Answer]:
        """The answers of one condition in the order of the items, at the strength that tables show or another one."""
        wanted = self.strengths[0] if "steered" in condition else None
        wanted = wanted if strength is None else strength
        return [a for a in self.answers if a.condition == condition and a.strength == wanted]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that were measured."""
        present = {answer.condition for answer in self.answers}
        return tuple(condition for condition in ALL_CONDITIONS if condition in present)

    def rows(self, strength: float | None = None, *, bootstrap: bool = True) -> list[Row]:
        """One row for each instruction (all parameters of a type together) and condition.

        Args:
            strength: Of the steered condition; None takes the one that tables show.
            bootstrap: Intervals bootstrapped over prompts; else Wilson's, which need no scipy.

        Raises:
            TrimtabError: scipy is missing.
        """
        rows = []
        for label, members in self._groups().items():
            for condition in self.conditions:
                found = [
                    (answer, i)
                    for answer in self.of(condition, strength if condition == "steered" else None)
                    for i in members.get(answer.item.key, ())
                ]
                if found:
                    row = _row(label, condition, found, bootstrap=bootstrap)
                    rows.append(replace(row, closed_book=self._right(label, condition, strength)))
        return rows

    def _right(self, label: str, condition: Condition, strength: float | None) -> float | None:
        """The share of closed-book questions answered rightly; they were asked at the strength that tables show."""
        facts = self.closed_book.get(label)
        if facts is None or condition not in ("baseline", "steered"):
            return None
        if condition == "baseline":
            return facts.right_plain
        return facts.right_steered if strength in (None, self.strengths[0]) else None

    def _groups(self) -> dict[str, dict[str, list[int]]]:
        """Which instructions of which items belong together: those of one type, named by it if parameters differ."""
        types: dict[str, dict[str, list[int]]] = {}
        labels: dict[str, set[str]] = {}
        for item in self.suite.items:
            for i, one in enumerate(item.instructions):
                # Suites of single instructions with fixed parameters keep these apart, as one row each.
                name = one.label if self.suite.by_label else one.name
                types.setdefault(name, {}).setdefault(item.key, []).append(i)
                labels.setdefault(name, set()).add(one.label)
        return {
            (min(labels[name]) if len(labels[name]) == 1 else name): members
            for name, members in types.items()
        }

    def accuracies(self) -> list[Accuracy]:
        """IFEval's accuracies of every condition; of the steered one for every strength.

        Raises:
            TrimtabError: scipy is missing.
        """
        found = []
        for condition in self.conditions:
            for strength in self.strengths if condition == "steered" else (None,):
                answers = self.of(condition, strength)
                if answers:
                    found.append(accuracy_of(condition, answers))
        return found

    def comparisons(self) -> list[Comparison]:
        """Every steered condition against the same prompts without steering: of whole prompts, then by instruction.

        Raises:
            TrimtabError: scipy is missing.
        """
        found = []
        by_label: dict[str, dict[Condition, Row]] = {}
        for row in self.rows():
            by_label.setdefault(row.label, {})[row.condition] = row
        for first, second in PAIRS:
            if first not in self.conditions or second not in self.conditions:
                continue
            before = {answer.item.key: all(answer.strict) for answer in self.of(first)}
            after = {answer.item.key: all(answer.strict) for answer in self.of(second)}
            keys = [key for key in before if key in after]
            paired = significance.compare([before[key] for key in keys], [after[key] for key in keys])
            found.append(Comparison(None, first, second, paired, paired.p))
            tests = {
                label: significance.compare(rows[first].strict, rows[second].strict)
                for label, rows in by_label.items()
                if first in rows and second in rows and rows[first].n == rows[second].n
            }
            adjusted = significance.adjusted([test.p for test in tests.values()])
            found += [
                Comparison(label, first, second, test, p)
                for (label, test), p in zip(tests.items(), adjusted, strict=True)
            ]
        return found

    def judged_by(self, scores: Sequence[float | None]) -> Evaluation:
        """The same evaluation with a judge's scores, one for each answer.

        Raises:
            ValueError: The lengths differ.
        """
        answers = [
            replace(answer, response=replace(answer.response, judged=score))
            for answer, score in zip(self.answers, scores, strict=True)
        ]
        return replace(self, answers=answers)

    def to_dict(self, *, answers: bool = True) -> dict[str, Any]:
        """The document of `trimtab evaluate --json`.

        Args:
            answers: Whether to give every single answer too.

        Raises:
            TrimtabError: scipy is missing.
        """
        document = {
            "model": self.model.id,
            "suite": self.suite.name,
            "items": len(self.suite.items),
            "left_out": self.left_out,
            "strengths": list(self.strengths),
            "overall": [accuracy.to_dict() for accuracy in self.accuracies()],
            "rows": _row_dicts(self.rows()),
            "comparisons": [comparison.to_dict() for comparison in self.comparisons()],
            "closed_book": {
                label: facts.to_dict(answers=answers) for label, facts in self.closed_book.items()
            },
            "judges": {
                name: [agreement.to_dict() for agreement in found] for name, found in self.agreements.items()
            },
            "settings": self.settings,
            "new_answers": self.new,
            "seconds": round(self.seconds, 2),
        }
        if answers:
            document["answers"] = [answer.to_dict() for answer in self.answers]
        return document


def _row(label: str, condition: Condition, found: Sequence[tuple[Answer, int]], *, bootstrap: bool) -> Row:
    strict = tuple(answer.strict[i] for answer, i in found)
    first, position = found[0]
    return Row(
        instruction=first.item.instructions[position],
        condition=condition,
        method=first.method,
        responses=tuple(answer.response for answer, _ in found),
        strict=strict,
        loose=tuple(answer.loose[i] for answer, i in found),
        undecided=tuple(bool(answer.undecided) and answer.undecided[i] for answer, i in found),
        group=label,
        bounds=significance.share_interval([int(passed) for passed in strict]) if bootstrap else None,
    )


def _row_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON, the steered ones with how their quality compares with plain answers."""
    of = {(row.label, row.condition): row for row in rows}
    found = []
    for row in rows:
        plain = of.get((row.label, "baseline"))
        document = _row_dict(row)
        if plain is not None and "steered" in row.condition:
            document |= compare_with_plain(row, plain, of.get((row.label, "instructed"))).to_dict()
        found.append(document)
    return found


def _row_dict(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        **row.to_dict(),
        "interval": row.interval.to_list(),
        "judged": rounded(row.judged),
        "words": round(row.words, 1),
    }

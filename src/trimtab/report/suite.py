"""What the report of a suite shows beside the table of instructions: accuracies, comparisons, strength and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.measure.rows import CONSTRAINED, Condition, Row
from trimtab.report.plots import Sweep, length_histograms, strength_curves
from trimtab.report.svg import draw

if TYPE_CHECKING:
    from trimtab.evaluate.accuracy import Accuracy
    from trimtab.evaluate.results import Comparison, Evaluation

ACCURACIES = {
    "prompt_strict": "prompts, strict",
    "prompt_loose": "prompts, loose",
    "instruction_strict": "instructions, strict",
    "instruction_loose": "instructions, loose",
}


@dataclass(frozen=True)
class SuiteSection:
    """The parts of a suite's report.

    Attributes:
        accuracies: One for each condition, as the tables show them.
        comparisons: Steered against not.
        lengths: Words of every answer, by condition.
        sweep: The steering at several strengths; None without.
        remarks: What a reader must know: what was left out, what could not be measured.
    """

    accuracies: Sequence[Accuracy]
    comparisons: Sequence[Comparison]
    lengths: Mapping[Condition, Sequence[int]]
    sweep: Sweep | None = None
    remarks: Sequence[str] = ()


def section_of(evaluation: Evaluation) -> SuiteSection:
    """The section that shows an evaluation.

    Raises:
        TrimtabError: scipy is missing.
    """
    every = evaluation.accuracies()
    shown = [a for a in every if a.condition != "steered" or a.strength == evaluation.strengths[0]]
    steered = [a for a in every if a.condition == "steered"]
    sweep = None
    if len(steered) > 1:
        shares: dict[str, list[float]] = {}
        for accuracy in steered:
            for row in evaluation.rows(accuracy.strength):
                if row.condition == "steered":
                    shares.setdefault(row.label, []).append(row.followed)
        references: dict[Condition, Accuracy] = {
            a.condition: a for a in every if a.condition in ("baseline", "instructed")
        }
        sweep = Sweep(steered, references, shares)
    return SuiteSection(
        accuracies=shown,
        comparisons=evaluation.comparisons(),
        lengths={
            condition: [len(answer.response.text.split()) for answer in evaluation.of(condition)]
            for condition in evaluation.conditions
        },
        sweep=sweep,
        remarks=remarks_on(evaluation),
    )


def remarks_on(evaluation: Evaluation) -> list[str]:
    """What a reader of the figures must know, a sentence each."""
    remarks = [
        f"{count} {'prompt was' if count == 1 else 'prompts were'} left out: {reason}."
        for reason, count in evaluation.left_out.items()
    ]
    items, bare = len(evaluation.suite.items), evaluation.suite.bare
    if not bare:
        remarks.append(
            "The instructions stand only inside the prompts of this suite, so there is no bare query: baseline and "
            "steered were not measured, and perplexity is that of an answer to the whole prompt."
        )
    elif bare < items:
        remarks.append(
            f"{items - bare} of {items} prompts without a bare query count only in the instructed conditions."
        )
    held = [evaluation.of(condition) for condition in CONSTRAINED if condition in evaluation.conditions]
    free = items - max(map(len, held), default=items)
    if free:
        remarks.append(
            f"{free} of {items} prompts count not in the constrained conditions: an instruction of theirs has no "
            "constraint, or there is no bare query."
        )
    return remarks + judge_remarks(evaluation) + undecided_remark(evaluation.rows())


def judge_remarks(evaluation: Evaluation) -> list[str]:
    """By which judge instructions without a check were judged, and how far it agrees with a person; none without."""
    by_judge: dict[str, list[str]] = {}
    for one in evaluation.suite.instructions:
        if one.judge_in_place is not None:
            names = by_judge.setdefault(one.judge_in_place.name, [])
            if one.name not in names:
                names.append(one.name)
    remarks = []
    for judge, names in by_judge.items():
        known = {one.tone: one for one in evaluation.agreements.get(judge, ())}
        told = ", ".join(
            f"{name} {known[name].agreed} of {known[name].n}" if name in known else f"{name} unknown"
            for name in names
        )
        remarks.append(
            f"Judged by {judge} and not checked, also in the shares of whole prompts: {', '.join(names)}. It agrees "
            f"with a person on labelled answers: {told}."
        )
    return remarks


def undecided_remark(rows: Sequence[Row]) -> list[str]:
    """How many answers no check can tell of, by condition, as a sentence; none where all are decided."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.condition] = counts.get(row.condition, 0) + sum(row.undecided)
    told = ", ".join(f"{count} {condition}" for condition, count in counts.items() if count)
    return [f"Undecided, too short to tell, and not among those that follow: {told}."] if told else []


def suite_view(section: SuiteSection) -> dict[str, Any]:
    """The section with its figures drawn, for the template."""
    return {
        "accuracies": section.accuracies,
        "names": ACCURACIES,
        "comparisons": section.comparisons,
        "remarks": section.remarks,
        "judged": any(accuracy.judged is not None for accuracy in section.accuracies),
        "taken": any(accuracy.quality.taken is not None for accuracy in section.accuracies),
        "instructions": len({c.label for c in section.comparisons if c.label is not None}),
        "lengths": draw("lengths", "Words in an answer, by condition", length_histograms, section.lengths),
        "sweep": section.sweep
        and draw(
            "strength", "Strength against share followed and perplexity", strength_curves, section.sweep
        ),
        "single": section.sweep is not None and len(section.sweep.by_label) > 1,
    }

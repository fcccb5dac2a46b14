"""From an evaluation to its report: heading, lead, tables and settings of one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trimtab._version import __version__
from trimtab.report.page import Report
from trimtab.report.suite import section_of

if TYPE_CHECKING:
    from trimtab.evaluate.results import Evaluation

_SAID = {
    "baseline": "when not told to",
    "instructed": "when told to",
    "steered": "when steered without being told",
    "instructed+steered": "when told and steered",
}


def report_of(
    evaluation: Evaluation, maps: Sequence[tuple[str, str]] = (), *, created: datetime | None = None
) -> Report:
    """The report of an evaluation, to be rendered or written by `report`.

    Args:
        evaluation: What was measured.
        maps: Drawings of the searches that the steerings came from, as `searches.drawings` gives them.
        created: When it was made; now when None.

    Raises:
        TrimtabError: scipy is missing.
    """
    made = created or datetime.now(UTC)
    return Report(
        title=f"trimtab evaluate: {evaluation.model.id} on {evaluation.suite.name}",
        lead=summary(evaluation),
        rows=evaluation.rows(),
        settings={
            **evaluation.settings,
            "trimtab": __version__,
            "made": f"{made:%Y-%m-%d %H:%M} UTC",
        },
        seconds={"answering": evaluation.seconds},
        footer="Intervals are 95 %, bootstrapped over prompts. One run, greedy decoding: they say nothing of "
        "other models, prompts or ways of decoding.",
        suite=section_of(evaluation, maps),
    )


def summary(evaluation: Evaluation) -> str:
    """What the figures say, in a sentence or two.

    Args:
        evaluation: What was measured.

    Raises:
        TrimtabError: scipy is missing.
    """
    strongest = evaluation.strengths[0]
    found = [
        f"{accuracy.shares['prompt_strict'][0]:.0%} {_SAID[accuracy.condition]}"
        for accuracy in evaluation.accuracies()
        if accuracy.strength in (None, strongest)
    ]
    followed = ", ".join(found[:-1]) + (" and " if len(found) > 1 else "") + found[-1]
    text = (
        f"{evaluation.model.id} answered {len(evaluation.suite.items)} prompts of {evaluation.suite.name}. All "
        f"instructions of a prompt are followed in {followed}."
    )
    for comparison in evaluation.comparisons():
        if comparison.label is None and comparison.first == "baseline":
            paired = comparison.paired
            text += f" Steering gains {paired.gained} prompts that the bare question fails, and loses {paired.lost}."
    return text

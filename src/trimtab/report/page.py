"""One self-contained HTML file: what was measured, what was searched, what came back, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__
from trimtab.evaluate.results import PAIRS
from trimtab.files import write_text
from trimtab.measure.rows import ALL_CONDITIONS, CONSTRAINED, Condition, Row, facts_judged
from trimtab.measure.statistics import mean
from trimtab.report.heatmap import SearchMap
from trimtab.report.pages import render_template
from trimtab.report.plots import BESIDE, COLOURS, by_instruction, followed_bars, quality_dots
from trimtab.report.quality import quality_view
from trimtab.report.suite import SuiteSection, section_of, suite_view
from trimtab.report.svg import draw

if TYPE_CHECKING:
    from trimtab.evaluate.results import Evaluation
    from trimtab.measure.facts import Facts

_UNFOLDED = 3
_SAID = {
    "baseline": "when not told to",
    "instructed": "when told to",
    "steered": "when steered without being told",
    "instructed+steered": "when told and steered",
    "constrained": "when held to the constraint",
    "steered+constrained": "when steered and held to the constraint",
}


@dataclass(frozen=True)
class Report:
    """Everything a report shows.

    Attributes:
        title: Its heading.
        lead: One or two sentences under the heading.
        rows: The measured rows, those of one instruction side by side; at least one.
        searches: How steerings were chosen.
        settings: Names and values, in the order to show them.
        seconds: Where the time went.
        steerings: Where each instruction's steering was saved, by label.
        footer: A closing line.
        suite: What the report of a whole suite shows besides.
        beside: Steered rows of another method, to stand beside `steered`; at most one for each instruction.
        facts: Closed-book questions plain and steered, by what the steering is for.
    """

    title: str
    lead: str
    rows: Sequence[Row]
    searches: Sequence[SearchMap] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    steerings: Mapping[str, str] = field(default_factory=dict)
    footer: str = ""
    suite: SuiteSection | None = None
    beside: Sequence[Row] = ()
    facts: Mapping[str, Facts] = field(default_factory=dict)


def render(report: Report) -> str:
    """Renders a report as one HTML page that needs nothing from outside.

    Without matplotlib the plots are left out, and the page says so.

    Raises:
        TrimtabError: jinja2 is missing.
        ValueError: The report has no rows.
    """
    if not report.rows:
        raise ValueError("a report needs at least one row")
    rows, groups = report.rows, by_instruction(report.rows)
    beside = {row.label: row for row in report.beside}
    return render_template(
        "report.html.j2",
        report=report,
        rows=_with_beside(rows, beside),
        beside=beside,
        beside_name=method_in_words(report.beside),
        beside_mean=mean(row.followed for row in report.beside),
        groups=groups,
        conditions=[
            condition for condition in ALL_CONDITIONS if any(row.condition == condition for row in rows)
        ],
        means=mean_followed(rows),
        worse=worse_than_baseline(rows),
        quality=quality_view(rows),
        scored=any(row.quality.relevance is not None for row in rows),
        judged=facts_judged(rows),
        taken=any(row.condition in CONSTRAINED for row in rows),
        colours={**COLOURS, "beside": BESIDE},
        tone=_tone,
        figures={
            "followed": draw(
                "followed",
                "Share of answers that follow, by instruction and condition",
                partial(followed_bars, beside=report.beside),
                rows,
            ),
            "quality": draw("quality", "Quality of the answers by instruction", quality_dots, rows),
        },
        suite=None if report.suite is None else suite_view(report.suite),
        searches=_folded(report.searches),
        samples=[sample_of(label, found) for label, found in groups],
    )


def write(report: Report, path: Path) -> None:
    """Renders a report into a file, in one step; the file's folder must exist.

    Raises:
        TrimtabError: jinja2 is missing, or the file cannot be written.
    """
    write_text(path, render(report))


def report_of(
    evaluation: Evaluation, searches: Sequence[SearchMap] = (), *, created: datetime | None = None
) -> Report:
    """The report of an evaluation.

    Args:
        evaluation: What was measured.
        searches: Those that the steerings came from, as `trimtab.report.search.read` gives them.
        created: When it was made; now when None.

    Raises:
        TrimtabError: scipy is missing.
    """
    return Report(
        title=f"trimtab evaluate: {evaluation.model.id} on {evaluation.suite.name}",
        lead=summary(evaluation),
        rows=evaluation.rows(),
        searches=searches,
        settings={**evaluation.settings, **made(created)},
        seconds={"answering": evaluation.seconds},
        footer="Intervals are 95 %, bootstrapped over prompts. One run, greedy decoding: they say nothing of "
        "other models, prompts or ways of decoding.",
        suite=section_of(evaluation),
        facts=evaluation.closed_book,
    )


def made(created: datetime | None) -> dict[str, str]:
    """By which version a report was made, and when (now when None), for its settings."""
    return {"trimtab": __version__, "made": f"{created or datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def summary(evaluation: Evaluation) -> str:
    """What the figures say, in a sentence or two.

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


def method_in_words(rows: Sequence[Row]) -> str:
    """What the rows beside `steered` were steered by, to stand in a heading; empty without rows."""
    return (rows[0].method or "steered").replace("_", " ") if rows else ""


def _folded(searches: Sequence[SearchMap]) -> list[tuple[SearchMap, bool]]:
    """Every search with whether it is shown unfolded: the first few that found something, which come first."""
    unfolded = [search for search in searches if search.found][:_UNFOLDED]
    return [(search, True) for search in unfolded] + [
        (search, False) for search in searches if not any(search is one for one in unfolded)
    ]


def _with_beside(rows: Sequence[Row], beside: Mapping[str, Row]) -> list[Row]:
    """The rows, each instruction's followed by the one beside."""
    found: list[Row] = []
    for label, conditions in by_instruction(rows):
        found += conditions.values()
        found += [beside[label]] if label in beside else []
    return found


def mean_followed(rows: Sequence[Row]) -> dict[Condition, float]:
    """The mean share followed over instructions, of each condition that occurs."""
    means = {c: mean(row.followed for row in rows if row.condition == c) for c in ALL_CONDITIONS}
    return {condition: value for condition, value in means.items() if value is not None}


def worse_than_baseline(rows: Sequence[Row]) -> set[tuple[str, Condition]]:
    """Where a steering does worse than doing without it.

    Returns:
        Label and condition of every steered row below that of the same prompts without steering.
    """
    return {
        (label, condition)
        for label, found in by_instruction(rows)
        for reference, condition in PAIRS
        if condition in found and reference in found and found[condition].followed < found[reference].followed
    }


def sample_of(label: str, rows: Mapping[Condition, Row]) -> dict[str, Any]:
    """One question with its answers under every condition, as typical as one question can be.

    Returns:
        `label`, `query`, and `answers`: condition, text, and whether it passed. The question is the first whose steered
        answer passes, if most of them do, or fails, if most do; so a sample neither flatters nor slanders.
    """
    judged = rows.get("steered") or next(iter(rows.values()))
    usual = judged.followed >= 0.5
    index = judged.strict.index(usual)
    query = judged.responses[index].query
    places = {c: _place(rows[c], index, query) for c in ALL_CONDITIONS if c in rows}
    return {
        "label": label,
        "query": query,
        "answers": [
            {"condition": c, "text": rows[c].responses[place].text, "passed": rows[c].strict[place]}
            for c, place in places.items()
            if place is not None
        ],
    }


def _place(row: Row, index: int, query: str) -> int | None:
    """Where a row answers a query: at `index`, unless conditions answer different numbers of them."""
    if index < row.n and row.responses[index].query == query:
        return index
    return next((i for i, response in enumerate(row.responses) if response.query == query), None)


def _tone(condition: Condition) -> str:
    """A condition in one word, for style classes and narrow columns."""
    return {"instructed+steered": "both", "steered+constrained": "steered-constrained"}.get(
        condition, condition
    )

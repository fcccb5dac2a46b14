"""One self-contained HTML file: what was measured, what was searched, what came back, and with which settings."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError
from trimtab.measure.rows import CONDITIONS, Condition, Row
from trimtab.measure.statistics import mean
from trimtab.report.plots import (
    BESIDE,
    COLOURS,
    SearchPoint,
    by_instruction,
    followed_bars,
    quality_dots,
    search_map,
)
from trimtab.report.suite import (
    SuiteSection,
    p_value,
    signed,
    suite_view,
)
from trimtab.report.svg import draw

if TYPE_CHECKING:
    import jinja2

# What HTML forbids in text, and halves of characters, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SAMPLE_LENGTH = 900


@dataclass(frozen=True)
class Search:
    """How an instruction's steering was chosen.

    Attributes:
        points: Every candidate tried.
        improved: Whether the chosen one beat steering nothing on the validation queries.
    """

    points: Sequence[SearchPoint]
    improved: bool = True


@dataclass(frozen=True)
class Report:
    """Everything a report shows.

    Attributes:
        title: Its heading.
        lead: One or two sentences under the heading.
        rows: The measured rows, those of one instruction side by side; at least one.
        searches: How each steering was chosen, by the instruction's label.
        settings: Names and values, in the order to show them.
        seconds: Where the time went.
        steerings: Where each instruction's steering was saved, by label.
        footer: A closing line.
        suite: What the report of a whole suite shows besides.
        beside: Steered rows of another method, to stand beside `steered`; at most one for each instruction.
    """

    title: str
    lead: str
    rows: Sequence[Row]
    searches: Mapping[str, Search] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    steerings: Mapping[str, str] = field(default_factory=dict)
    footer: str = ""
    suite: SuiteSection | None = None
    beside: Sequence[Row] = ()


def check_installed() -> None:
    """Makes sure a report can be rendered, before the work it would show is done.

    Raises:
        TrimtabError: jinja2 is missing.
    """
    if find_spec("jinja2") is None:
        raise TrimtabError("the report needs jinja2, which is not installed; pip install 'trimtab[report]'")


def render(report: Report) -> str:
    """Renders a report as one HTML page that needs nothing from outside.

    Without matplotlib the plots are left out, and the page says so.

    Args:
        report: What to show.

    Returns:
        The page.

    Raises:
        TrimtabError: jinja2 is missing.
        ValueError: The report has no rows.
    """
    check_installed()
    if not report.rows:
        raise ValueError("a report needs at least one row")
    groups = by_instruction(report.rows)
    beside = {row.label: row for row in report.beside}
    present = [
        condition for condition in CONDITIONS if any(row.condition == condition for row in report.rows)
    ]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            rows=_with_beside(report.rows, beside),
            beside=beside,
            beside_name=method_in_words(report.beside),
            beside_mean=mean(row.followed for row in report.beside),
            groups=groups,
            conditions=present,
            means=mean_followed(report.rows),
            worse=worse_than_baseline(report.rows),
            judged=any(row.quality.facts is not None for row in report.rows),
            colours={**COLOURS, "beside": BESIDE},
            tone=_tone,
            p_value=p_value,
            signed=signed,
            figures={
                "followed": draw(
                    "followed",
                    "Share of answers that follow, by instruction and condition",
                    partial(followed_bars, beside=report.beside),
                    report.rows,
                ),
                "quality": draw(
                    "quality", "Quality of the answers by instruction", quality_dots, report.rows
                ),
            },
            suite=None if report.suite is None else suite_view(report.suite),
            searches=[
                {
                    "label": label,
                    "caption": _caption(search),
                    "figure": draw(
                        f"search{i}", f"Search for {label}: block by strength", search_map, search.points
                    ),
                }
                for i, (label, search) in enumerate(report.searches.items())
                if search.points
            ],
            samples=[sample_of(label, rows) for label, rows in groups],
        )
    )


def method_in_words(rows: Sequence[Row]) -> str:
    """What the rows beside `steered` were steered by, to stand in a heading; empty without rows.

    Args:
        rows: Of one method.
    """
    return (rows[0].method or "steered").replace("_", " ") if rows else ""


def _with_beside(rows: Sequence[Row], beside: Mapping[str, Row]) -> list[Row]:
    """The rows, each instruction's followed by the one beside."""
    found: list[Row] = []
    for label, conditions in by_instruction(rows):
        found += conditions.values()
        found += [beside[label]] if label in beside else []
    return found


def write(report: Report, path: Path) -> None:
    """Renders a report into a file, in one step.

    Args:
        report: What to show.
        path: The file; its folder must exist.

    Raises:
        TrimtabError: jinja2 is missing, or the file cannot be written.
    """
    page = render(report)
    try:
        # Next to the target, so that the exchange stays on one disk and is atomic.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            draft.write_text(page, encoding="utf-8", newline="\n")
            draft.replace(path)
    except OSError as error:
        raise TrimtabError(f"cannot write {path}: {error.strerror or error}") from error


def mean_followed(rows: Sequence[Row]) -> dict[Condition, float]:
    """The mean share followed over instructions, by condition.

    Args:
        rows: The rows.

    Returns:
        One mean for each condition that occurs, in the order of the conditions.
    """
    means = {c: mean(row.followed for row in rows if row.condition == c) for c in CONDITIONS}
    return {condition: value for condition, value in means.items() if value is not None}


def worse_than_baseline(rows: Sequence[Row]) -> set[tuple[str, Condition]]:
    """Where a steering does worse than doing without it.

    Args:
        rows: The rows.

    Returns:
        Label and condition of every steered row below the baseline, and of every instructed+steered row below the
        instructed one.
    """
    pairs: tuple[tuple[Condition, Condition], ...] = (
        ("steered", "baseline"),
        ("instructed+steered", "instructed"),
    )
    return {
        (label, condition)
        for label, found in by_instruction(rows)
        for condition, reference in pairs
        if condition in found and reference in found and found[condition].followed < found[reference].followed
    }


def sample_of(label: str, rows: Mapping[Condition, Row]) -> dict[str, Any]:
    """One question with its answers under every condition, as typical as one question can be.

    Args:
        label: The instruction.
        rows: Its rows by condition.

    Returns:
        `label`, `query`, and `answers`: condition, text, and whether it passed. The question is the first whose steered
        answer passes, if most of them do, or fails, if most do; so a sample neither flatters nor slanders.
    """
    judged = rows.get("steered") or next(iter(rows.values()))
    usual = judged.followed >= 0.5
    index = judged.strict.index(usual)
    query = judged.responses[index].query
    places = {c: _place(rows[c], index, query) for c in CONDITIONS if c in rows}
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
    return "both" if condition == "instructed+steered" else condition


def _caption(search: Search) -> str:
    chosen = next((point for point in search.points if point.chosen), None)
    if chosen is None:
        return f"{len(search.points)} candidates, none chosen"
    text = f"{chosen.method.replace('_', ' ')}, block {chosen.block}, strength {chosen.strength:g}"
    return text if search.improved else f"{text}; no better than steering nothing"


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trimtab.report", "templates"),
        # Everything a model writes goes through here: it must not become markup.
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "clean": lambda text: _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text),
        "shorten": lambda text: (
            text if len(text) <= _SAMPLE_LENGTH else text[:_SAMPLE_LENGTH].rstrip() + " …"
        ),
        "share": lambda value: "–" if value is None else f"{value:.2f}",
        "perplexity": lambda value: "–" if value is None else format_perplexity(value),
    }
    return environment


def format_perplexity(value: float) -> str:
    """Three significant digits, no exponent below a million.

    Args:
        value: A perplexity.

    Returns:
        Text such as `3.14`, `31.4`, `3140`.
    """
    if value >= 1e6:
        return f"{value:.0e}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"

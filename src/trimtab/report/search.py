"""A search as one self-contained HTML page, and searches that were written down, read for their heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import InstructionError, TrimtabError
from trimtab.files import json_value, read_text
from trimtab.instructions import from_dict
from trimtab.report.heatmap import Point, SearchMap
from trimtab.report.pages import render_template
from trimtab.tune.tuned import Candidate, Measured, Tuned

if TYPE_CHECKING:
    from trimtab.instructions import Instruction

_SAMPLES = 4
BESIDE = "search.json"
"""A search that lies in a steering's own folder under this name is found by itself."""


@dataclass(frozen=True)
class Line:
    """One line of a table of candidates.

    Attributes:
        name: What it stands for, where it stands for something (`computed`).
        way: How the direction is applied.
        block: Where; empty for a steering of several blocks.
        strength: How strongly; None for no steering at all.
        weight: The same in units of the residual stream, where there is one direction.
        measured: What it measured.
        chosen: Whether it was chosen.
    """

    name: str
    way: str
    block: str
    strength: float | None
    weight: float | None
    measured: Measured
    chosen: bool = False


@dataclass(frozen=True)
class SearchReport:
    """Everything the page shows.

    Attributes:
        instruction: What was to be followed.
        found: What the search found.
        settings: Names and values, in the order to show them.
    """

    instruction: Instruction
    found: Tuned
    settings: Mapping[str, str] = field(default_factory=dict)


def search_map(instruction: Instruction, found: Tuned) -> SearchMap:
    """The candidates of a search for the heat map: accepted where not rejected; a rejected best is not chosen."""
    points = [
        Point(
            method=one.application or "scaled",
            block=one.block,
            strength=one.strength,
            n=one.n,
            good=one.good,
            accepted=not one.rejected,
            chosen=one is found.best and not one.rejected,
        )
        for one in found.candidates
    ]
    return SearchMap(instruction.label, points, found.improved)


def read(path: str | Path) -> SearchMap:
    """A search, from the document that `trimtab tune --json` or `trimtab learn --json` wrote.

    Raises:
        TrimtabError: The file cannot be read, or holds no search.
    """
    text = read_text(path)
    try:
        document = json_value(text)
        named = document.get("instruction") or (document.get("instructions") or [{}])[0]
        # The best one comes first.
        points = [_point(values, best=not number) for number, values in enumerate(document["candidates"])]
        improved = document.get("improved")
        label = _label(named)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise TrimtabError(
            f"{path} holds no search; give what `trimtab tune --json` or `trimtab learn --json` wrote"
        ) from error
    if not points:
        raise TrimtabError(
            f"the search in {path} has no candidates: block and strength were given, not searched"
        )
    return SearchMap(label, points, improved if isinstance(improved, bool) else None)


def beside(folders: Sequence[str | Path]) -> list[Path]:
    """The searches that lie in the folders of steerings, or in folders that hold such folders."""
    places = [place for folder in folders for place in (Path(folder), *sorted(Path(folder).glob("*")))]
    return [place / BESIDE for place in places if (place / BESIDE).is_file()]


def lines(found: Tuned) -> list[Line]:
    """Every candidate, best first."""
    return [_line("", one, chosen=one is found.best and not one.rejected) for one in found.candidates]


def weights(found: Tuned) -> list[Line]:
    """No steering, the computed, the manual and the searched weight; empty where they were not asked for."""
    compared = found.weights
    if compared is None:
        return []
    unsteered = Line("none", "", "", None, None, found.unsteered)
    three = [_line(name, getattr(compared, name)) for name in ("computed", "manual", "searched")]
    return [unsteered, *three]


def summary(report: SearchReport) -> str:
    """What came of the search, in a sentence or two."""
    found, label = report.found, report.instruction.label
    best = found.best
    tried = f"{len(found.candidates)} candidates were tried on up to {found.unsteered.n} validation questions"
    told = f"Told to, the model follows {label} in {found.instructed.followed:.0%}"
    if best.rejected:
        return (
            f"{tried}. Every finalist wrote degenerate text, so nothing was chosen: the steering has no edits. "
            f"{told}, unsteered in {found.baseline.followed:.0%}."
        )
    where = (
        f"{best.application.replace('_', ' ')} at block {best.block}, strength {best.strength:.3g}"
        if best.application is not None
        else f"strength {best.strength:.3g}"
    )
    text = (
        f"{tried}. Chosen: {where}. Not told to, but steered, the model follows {label} in {best.followed:.0%} of "
        f"its answers; unsteered in {found.baseline.followed:.0%}. {told}."
    )
    return text if found.improved else f"{text} No better than steering nothing."


def render(report: SearchReport) -> str:
    """Renders the page, which needs nothing from outside.

    Raises:
        TrimtabError: jinja2 is missing.
    """
    found = report.found
    return render_template(
        "search.html.j2",
        report=report,
        found=found,
        lead=summary(report),
        map=search_map(report.instruction, found).drawing,
        weights=weights(found),
        lines=lines(found),
        samples=_samples(found),
        judged=found.unsteered.quality.facts is not None,
    )


def _line(name: str, one: Candidate, *, chosen: bool = False) -> Line:
    way = (one.application or "scaled").replace("_", " ")
    block = "" if one.block is None else str(one.block)
    return Line(name, way, block, one.strength, one.weight, one, chosen)


def _samples(found: Tuned) -> Sequence[Mapping[str, Any]]:
    """The first questions with the plain and the steered answer."""
    return [
        {
            "query": found.baseline.responses[number].query,
            "answers": [
                {"name": name, "text": row.responses[number].text, "passed": row.strict[number]}
                for name, row in (("unsteered", found.baseline), ("steered", found.steered))
            ],
        }
        for number in range(min(_SAMPLES, found.baseline.n, found.steered.n))
    ]


def _point(values: dict[str, Any], *, best: bool) -> Point:
    block = values.get("block")
    rejected = values.get("rejected", False)
    return Point(
        method=str(values.get("application", "strength")),
        block=None if block is None else int(block),
        strength=float(values["strength"]),
        n=int(values["n"]),
        good=float(values["good"]),
        accepted=not rejected,
        chosen=best and not rejected,
    )


def _label(named: Any) -> str:
    try:
        return from_dict(named).label
    except InstructionError:  # of a plug-in that is not installed here, or of nothing
        return str(named.get("name", "a search"))

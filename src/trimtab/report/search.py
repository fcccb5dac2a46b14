"""A search as one self-contained HTML page: the heat map, the three weights, every candidate, and some answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError
from trimtab.report import heatmap
from trimtab.tune.guard import Candidate, Measured, Scaled

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.tune.grid import Refitted, Tuned

# What HTML forbids in text, and halves of characters, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SAMPLES, _SAMPLE_LENGTH = 4, 600


@dataclass(frozen=True)
class Point:
    """One candidate as the heat map shows it; see `trimtab.report.heatmap.Point`."""

    method: str
    block: int | None
    strength: float
    n: int
    good: float
    accepted: bool
    chosen: bool


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
    found: Tuned | Refitted
    settings: Mapping[str, str] = field(default_factory=dict)


def points(found: Tuned | Refitted) -> list[Point]:
    """The candidates of a search for `heatmap.svg`: accepted where they are not rejected.

    Args:
        found: What the search found.
    """
    taken = not found.best.rejected
    return [
        Point(
            method=one.application if isinstance(one, Candidate) else "scaled",
            block=one.block if isinstance(one, Candidate) else None,
            strength=one.strength,
            n=one.n,
            good=one.good,
            accepted=not one.rejected,
            chosen=taken and one is found.best,
        )
        for one in found.candidates
    ]


def lines(found: Tuned | Refitted) -> list[Line]:
    """Every candidate, best first.

    Args:
        found: What the search found.
    """
    return [_line("", one, chosen=one is found.best and not one.rejected) for one in found.candidates]


def weights(found: Tuned | Refitted) -> list[Line]:
    """No steering, the computed, the manual and the searched weight; empty where they were not asked for.

    Args:
        found: What the search found.
    """
    compared = getattr(found, "weights", None)
    if compared is None:
        return []
    unsteered = Line("none", "", "", None, None, found.unsteered)
    three = [_line(name, getattr(compared, name)) for name in ("computed", "manual", "searched")]
    return [unsteered, *three]


def summary(report: SearchReport) -> str:
    """What came of the search, in a sentence or two.

    Args:
        report: The search.
    """
    found, label = report.found, report.instruction.label
    best = found.best
    tried = f"{len(found.candidates)} candidates were tried on up to {found.unsteered.n} validation questions"
    told = f"Told to, the model follows {label} in {found.instructed_followed:.0%}"
    if best.rejected:
        return (
            f"{tried}. Every finalist wrote degenerate text, so nothing was chosen: the steering has no edits. "
            f"{told}, unsteered in {found.baseline_followed:.0%}."
        )
    where = (
        f"{best.application.replace('_', ' ')} at block {best.block}, strength {best.strength:.3g}"
        if isinstance(best, Candidate)
        else f"strength {best.strength:.3g}"
    )
    text = (
        f"{tried}. Chosen: {where}. Not told to, but steered, the model follows {label} in {best.followed:.0%} of "
        f"its answers; unsteered in {found.baseline_followed:.0%}. {told}."
    )
    return text if found.improved else f"{text} No better than steering nothing."


def check_installed() -> None:
    """Makes sure the page can be rendered, before the search it would show.

    Raises:
        TrimtabError: jinja2 is missing.
    """
    if find_spec("jinja2") is None:
        raise TrimtabError("the report needs jinja2, which is not installed; pip install 'trimtab[report]'")


def render(report: SearchReport) -> str:
    """Renders the page, which needs nothing from outside.

    Args:
        report: What to show.

    Returns:
        The page.

    Raises:
        TrimtabError: jinja2 is missing.
    """
    check_installed()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trimtab.report", "templates"),
        autoescape=True,  # what a model wrote must not become markup
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
        "number": lambda value: "–" if value is None else f"{value:.4g}",
    }
    found = report.found
    return environment.get_template("search.html.j2").render(
        report=report,
        found=found,
        lead=summary(report),
        map=heatmap.svg(points(found), description=f"Search for {report.instruction.label}"),
        weights=weights(found),
        lines=lines(found),
        samples=_samples(report.instruction, found),
        judged=found.unsteered.quality.facts is not None,
    )


def _line(name: str, one: Candidate | Scaled, *, chosen: bool = False) -> Line:
    if isinstance(one, Candidate):
        return Line(
            name, one.application.replace("_", " "), str(one.block), one.strength, one.weight, one, chosen
        )
    return Line(name, "scaled", "", one.strength, None, one, chosen)


def _samples(instruction: Instruction, found: Tuned | Refitted) -> Sequence[Mapping[str, Any]]:
    """The first questions with the plain and the steered answer."""
    return [
        {
            "query": plain.query,
            "answers": [
                {
                    "name": name,
                    "text": response.text,
                    "passed": instruction.for_query(plain.query).check(response.text),
                }
                for name, response in (("unsteered", plain), ("steered", steered))
            ],
        }
        for plain, steered in list(zip(found.baseline, found.responses, strict=False))[:_SAMPLES]
    ]

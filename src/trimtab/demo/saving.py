"""What a demonstration leaves behind: a report, and the steerings."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from trimtab.demo.demonstration import Demonstration
from trimtab.errors import TrimtabError
from trimtab.files import check_name, check_writable
from trimtab.measure.statistics import mean
from trimtab.report import page as reports

_REPORT, _STEERINGS, _VECTORS = "report.html", "steerings", "vectors"


def prepare_folder(folder: Path) -> None:
    """Makes the folder of a demonstration and tries it, before minutes are spent on what it shall hold.

    Raises:
        TrimtabError: It cannot be made, or something in it is in the way of the report or the steerings.
    """
    check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrimtabError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    if (folder / _REPORT).is_dir():
        raise TrimtabError(f"cannot write {folder / _REPORT}: it is a folder; choose another folder")
    check_writable(folder / _REPORT)
    for name in (_STEERINGS, _VECTORS):
        part = folder / name
        if part.is_symlink() or part.exists():
            if not part.is_dir():
                raise TrimtabError(f"cannot write into {part}: it is no folder; choose another folder")
            check_writable(part / "steering.json")


def save(demonstration: Demonstration, folder: Path, *, created: datetime | None = None) -> Path:
    """Writes the report and the steerings.

    Args:
        demonstration: What was measured.
        folder: Made when it is missing; gets `report.html`, `steerings/NAME` (distilled) and `vectors/NAME`.
        created: When the demonstration was made; now when None.

    Returns:
        The path of the report.

    Raises:
        TrimtabError: The folder cannot be written.
    """
    prepare_folder(folder)
    places: dict[str, str] = {}
    for one in demonstration.learned:
        name, count = one.instruction.name, 1
        while f"{_STEERINGS}/{name}" in places.values():
            count += 1
            name = f"{one.instruction.name}-{count}"
        places[one.instruction.label] = f"{_STEERINGS}/{name}"
        one.steering.save(folder / _STEERINGS / name)
        if one.vector is not None:
            one.vector.save(folder / _VECTORS / name)
    path = folder / _REPORT
    reports.write(make_report(demonstration, places, created), path)
    return path


def make_report(
    demonstration: Demonstration, places: dict[str, str], created: datetime | None = None
) -> reports.Report:
    """What the report of a demonstration shows, with the places of the steerings by label."""
    model, plan = demonstration.model, demonstration.plan
    return reports.Report(
        title=f"trimtab demo: {model.id}",
        lead=summary(demonstration),
        rows=demonstration.rows,
        beside=demonstration.vector_rows,
        facts=demonstration.closed_book,
        searches=[one.search for one in demonstration.learned if one.search is not None],
        settings={
            "model": str(model),
            "chat template": model.chat_template,
            "learned on": f"{plan.pairs} questions, each with a phrasing of the learning split",
            **_how(demonstration),
            "chosen on": f"{plan.validation} validation questions, with validation phrasings",
            "measured on": f"{plan.test} test questions, with test phrasings",
            **({} if demonstration.scorer is None else {"scorer": str(demonstration.scorer)}),
            "answers": f"greedy, at most {plan.max_new_tokens} tokens",
            "seed": str(plan.seed),
            **reports.made(created),
        },
        seconds=demonstration.seconds,
        steerings=places,
        footer="Queries and phrasings of learning, validation and test are disjoint; nothing was tuned on the test.",
    )


def _how(demonstration: Demonstration) -> dict[str, str]:
    """How the steerings were made, for the settings of the report."""
    difference = "of the last prompt token; block and strength found by a search"
    if all(one.steering.record.method != "distilled" for one in demonstration.learned):
        return {"steered by": f"the mean difference {difference}"}
    steps = demonstration.plan.training_steps
    how = {"steered by": "distilled edits" + ("" if steps is None else f", in at most {steps} steps")}
    return how | ({"mean difference": difference} if demonstration.vector_rows else {})


def summary(demonstration: Demonstration) -> str:
    """What the numbers say, in a sentence or two."""
    rows = demonstration.rows
    means = reports.mean_followed(rows)
    vectors = mean(row.followed for row in demonstration.vector_rows)
    beside = "" if vectors is None else f" (by the mean difference, in {vectors:.0%})"
    count = len(demonstration.learned)
    what = demonstration.learned[0].instruction.label if count == 1 else f"these {count} instructions"
    text = (
        f"Not told to, {demonstration.model.id} follows {what} in {means['baseline']:.0%} of its answers; "
        f"still not told to, but steered, in {means['steered']:.0%}{beside}. "
        f"Told to, it does in {means['instructed']:.0%}; told and steered, in {means['instructed+steered']:.0%}."
    )
    if demonstration.not_distilled:
        names = ", ".join(demonstration.not_distilled)
        text += f" {names}: too seldom followed, even when told to, to be distilled; steered is the mean difference."
    worse = [
        label for label, condition in sorted(reports.worse_than_baseline(rows)) if condition == "steered"
    ]
    if worse:
        text += f" For {', '.join(worse)} the steering does worse than doing nothing."
    return text

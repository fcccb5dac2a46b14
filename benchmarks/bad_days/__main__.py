"""`python -m benchmarks.bad_days`: tries bad days, and tells what was tried, how often, and what was wrong.

Every reader of files and every schema of requests is given damaged ones (`tests.fuzzing`, which the tests run with few
trials); commands are run on machines that lack something, killed, interrupted, and given ten thousand prompts.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.running import run
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.errors import TrimtabError
from trimtab.files import read_text, write_text

PARTS = ("files", "requests", "machines", "signals", "kills", "many")


@dataclass(frozen=True)
class Row:
    """One thing that was tried.

    Attributes:
        part: Of `PARTS`.
        what: What it was.
        times: How often.
        wrong: What was wrong.
        note: What else there is to say.
    """

    part: str
    what: str
    times: int
    wrong: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """How much is tried."""

    trials: int
    kills: int
    prompts: int
    seed: int


def _files(plan: Plan, folder: Path) -> Iterator[Row]:
    from tests.fuzzing.readers import READERS
    from tests.fuzzing.trials import trials

    for number, reader in enumerate(READERS):
        count = max(plan.trials // 10, 5) if reader.slow else plan.trials
        place = folder / f"files-{number}"
        yield _tried(
            "files", reader.name, count, lambda r=reader, p=place, n=count: trials(r, p, n, fixed=False)
        )


def _requests(plan: Plan, folder: Path) -> Iterator[Row]:
    from tests.fuzzing.schemas import SCHEMAS
    from tests.fuzzing.trials import request_trials

    for schema in SCHEMAS:
        count = max(plan.trials // 10, 5) if schema.slow else plan.trials
        yield _tried(
            "requests", schema.name, count, lambda s=schema, n=count: request_trials(s, n, fixed=False)
        )


def _tried(part: str, name: str, count: int, work: Callable[[], Any]) -> Row:
    """The row of a fuzzed reader: hypothesis raises one error, or several at once."""
    try:
        counts = work()
    except BaseExceptionGroup as group:
        return Row(part, name, count, tuple(f"{error}"[:300] for error in group.exceptions))
    except (AssertionError, Exception) as error:  # noqa: BLE001 (what a trial raises is what was wrong)
        return Row(part, name, count, (f"{error}"[:300],))
    return Row(part, name, sum(counts.values()), note=f"{counts['refused']} refused, {counts['read']} taken")


def _machines(plan: Plan, folder: Path) -> Iterator[Row]:
    from benchmarks.bad_days import days
    from benchmarks.bad_days.machines import machines

    found: dict[str, list[str | None]] = {}
    for number, day in enumerate(machines()):
        place = folder / f"day-{number}"
        wrong = days.tried(day, place)
        found.setdefault(day.name.partition(":")[0], []).append(wrong and f"{day.name}: {wrong}")
    for name, wrongs in found.items():
        yield Row("machines", name, len(wrongs), tuple(filter(None, wrongs)))
    several = [days.at_once(folder / f"once-{number}") for number in range(4)]
    yield Row("machines", "two processes with the same --out", len(several), tuple(filter(None, several)))
    locales = [days.in_locale(one, folder / f"locale-{number}") for number, one in enumerate(days.LOCALES)]
    yield Row("machines", "locales, encodings and terminals", len(locales), tuple(filter(None, locales)))


def _signals(plan: Plan, folder: Path) -> Iterator[Row]:
    from benchmarks.bad_days import days

    draw = random.Random(plan.seed)
    seconds = days.seconds_of(folder / "whole")
    for name, number in (("SIGINT", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
        places = [folder / f"{name}-{count}" for count in range(2 * plan.kills)]
        wrongs = [days.interrupted(number, draw.uniform(0.02, seconds), place) for place in places]
        yield Row("signals", f"{name} at a random moment of learn", len(wrongs), tuple(filter(None, wrongs)))


def _kills(plan: Plan, folder: Path) -> Iterator[Row]:
    from benchmarks.bad_days import kills

    given = folder / "given"
    kills.prepared(given)

    def row(work: kills.Work) -> Row:
        wrongs = list(kills.killed(work, given, folder / work.name, plan.kills, plan.seed))
        return Row("kills", f"kill -9 of {work.name}", len(wrongs), tuple(filter(None, wrongs)))

    for work in kills.works():
        yield row(work)
    with kills.push() as work:
        yield row(work)


def _many(plan: Plan, folder: Path) -> Iterator[Row]:
    from benchmarks.bad_days.many import many

    measured, wrong = many(folder / "many", plan.prompts)
    yield Row("many", f"{plan.prompts} prompts in a file", 1, (wrong,) if wrong else (), measured)


_WORK = {
    "files": _files,
    "requests": _requests,
    "machines": _machines,
    "signals": _signals,
    "kills": _kills,
    "many": _many,
}


def markdown(rows: list[Row]) -> list[str]:
    """The rows of the documentation's table."""
    lines = []
    for row in rows:
        wrong = "; ".join(row.wrong).replace("|", "\\|").replace("\n", " ") or "nothing"
        lines.append(f"| {row.part} | {row.what} | {row.times:,} | {wrong} |")
    return lines


def with_table(text: str, rows: list[Row]) -> str:
    """A page with rows in the table between its marks; those of parts that were not tried now stay."""
    before, opening, rest = text.partition("<!-- table -->")
    old, closing, after = rest.partition("<!-- end -->")
    if not opening or not closing:
        raise TrimtabError("the page has no place for the table: <!-- table --> and <!-- end -->")
    tried = {row.part for row in rows}
    kept = [line for line in old.splitlines() if line.startswith("| ") and line.split(" ")[1] in PARTS]
    lines = [line for line in kept if line.split(" ")[1] not in tried] + markdown(rows)
    lines.sort(key=lambda line: PARTS.index(line.split(" ")[1]))
    whole = "\n".join(["| part | tried | times | wrong |", "|---|---|---:|---|", *lines])
    return f"{before}{opening}\n\n{whole}\n\n{closing}{after}"


def command(
    parts: Annotated[str, typer.Option(help=f"Which, of {','.join(PARTS)}.")] = ",".join(PARTS),
    trials: Annotated[int, typer.Option(min=1, help="Trials of each reader and schema.")] = 300,
    kills: Annotated[int, typer.Option(min=1, help="Kills of each command.")] = 6,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts of the long file.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Draws the moments of kills and signals.")] = 0,
    page: Annotated[
        Path | None, typer.Option(metavar="MD", help="Put the table into this page, between its marks.")
    ] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Try bad days. Exit code 1 where something was wrong."""
    output = Output(json, quiet)
    wanted = parts.split(",")
    if unknown := [part for part in wanted if part not in PARTS]:
        raise TrimtabError(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    if set(wanted) - {"files", "requests"}:
        from benchmarks.bad_days import process

        process.warm()
    rows: list[Row] = []
    # What forks comes first: what the fuzzed readers run in this process makes threads, which a fork would lose.
    with tempfile.TemporaryDirectory(prefix="bad-days-") as name:
        for part in sorted(wanted, key=lambda one: one in ("files", "requests")):
            for row in _WORK[part](Plan(trials, kills, prompts, seed), Path(name)):
                output.note(
                    f"{row.part}: {row.what}: {row.times} times, {len(row.wrong)} wrong {row.note}".rstrip()
                )
                rows.append(row)
    rows.sort(key=lambda row: PARTS.index(row.part))
    shown = Table("part", "tried", "times", "wrong")
    for row in rows:
        shown.add_row(row.part, row.what, str(row.times), "; ".join(row.wrong) or "nothing")
    output.print(shown)
    if page is not None:
        write_text(page, with_table(read_text(page), rows))
    output.result({"rows": [asdict(row) for row in rows]})
    if any(row.wrong for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(run(command, "benchmarks.bad_days"))

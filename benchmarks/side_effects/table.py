"""What was measured, as a table: accuracy in the four conditions, and what of it is lost against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.measure.significance import compare

Outcomes = Mapping[str, Sequence[bool]]
"""By task: which items were right."""

BEGIN, END = "<!-- the table of benchmarks/side_effects -->", "<!-- end of the table -->"
"""What stands around the table in a page."""


def share(outcomes: Sequence[bool]) -> float:
    """The share of items that were right."""
    return sum(outcomes) / len(outcomes)


def compared(plain: Outcomes, other: Outcomes) -> dict[str, Any]:
    """Of each task the accuracy, and its difference to the baseline's with a 95 % bootstrap interval over items."""
    found = {}
    for task, outcomes in other.items():
        pair = compare(plain[task], outcomes)
        found[task] = {
            "accuracy": share(outcomes),
            "difference": pair.difference,
            "interval": pair.interval.to_list(),
            "p": pair.p,
            "items": pair.n,
        }
    return found


def markdown(result: Mapping[str, Any]) -> str:
    """The table, with what it says below."""
    tasks = list(result["baseline"])
    head = ["instruction", "condition"]
    for task in tasks:
        head += [task, f"{task}, lost (95 %)"]
    lines = [_line(head), _line(["---", "---", *["---:"] * (len(head) - 2)])]
    plain = [text for one in result["baseline"].values() for text in (f"{one['accuracy']:.3f}", "-")]
    lines.append(_line(["-", "baseline", *plain]))
    for one in result["instructions"]:
        for condition, by_task in one["conditions"].items():
            cells = [f"`{one['instruction']}`", condition]
            for task in tasks:
                found = by_task[task]
                low, high = found["interval"]
                lost = f"{0 - found['difference']:+.3f} ({0 - high:+.3f} to {0 - low:+.3f})"
                cells += [f"{found['accuracy']:.3f}", lost]
            lines.append(_line(cells))
    items = ", ".join(
        f"{task} {one['items']} items, chance {one['chance']:.2f}" for task, one in result["baseline"].items()
    )
    note = f"{result['model']}, {result['dtype']}: {items}. Accuracy by lm-eval's `acc`; *lost*: against the baseline."
    return "\n".join([*lines, "", note])


def into(page: str, table: str) -> str:
    """A page with the table in its place.

    Raises:
        TrimtabError: The page has no such place.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise TrimtabError(f"there is no place {BEGIN} ... {END} in the page")
    return f"{before}{begin}\n{table}\n{end}{after}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

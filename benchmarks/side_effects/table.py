"""What was measured, as a table: accuracy in the four conditions, and what of it is lost against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.pages import heading, into, line
from trimtab.measure.significance import compare

Outcomes = Mapping[str, Sequence[bool]]
"""By task: which items were right."""

PLACE = "the table of benchmarks/side_effects"
"""What the comment in front of the table says in a page."""


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
    lines = heading(head, 2)
    plain = [text for one in result["baseline"].values() for text in (f"{one['accuracy']:.3f}", "-")]
    lines.append(line(["-", "baseline", *plain]))
    for one in result["instructions"]:
        for condition, by_task in one["conditions"].items():
            cells = [f"`{one['instruction']}`", condition]
            for task in tasks:
                found = by_task[task]
                low, high = found["interval"]
                lost = f"{0 - found['difference']:+.3f} ({0 - high:+.3f} to {0 - low:+.3f})"
                cells += [f"{found['accuracy']:.3f}", lost]
            lines.append(line(cells))
    items = ", ".join(
        f"{task} {one['items']} items, chance {one['chance']:.2f}" for task, one in result["baseline"].items()
    )
    note = f"{result['model']}, {result['dtype']}: {items}. Accuracy by lm-eval's `acc`; *lost*: against the baseline."
    return "\n".join([*lines, "", note])


def into_page(page: str, table: str) -> str:
    """A page with the table in its place.

    Raises:
        TrimtabError: The page has no such place.
    """
    return into(page, PLACE, table, "end of the table")

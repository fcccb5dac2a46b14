"""What was measured, as a table: accuracy plain, told and steered, and what of it is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.measure.significance import compare

Outcomes = Mapping[str, Sequence[bool]]
"""By task: which items were right."""


def share(outcomes: Sequence[bool]) -> float:
    """The share of items that were right."""
    return sum(outcomes) / len(outcomes)


def compared(plain: Outcomes, other: Outcomes) -> dict[str, Any]:
    """Of each task the accuracy, and its difference to the plain model's with a 95 % bootstrap interval over items."""
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
    tasks = list(result["plain"])
    head = ["instruction"]
    for task in tasks:
        head += [f"{task}, told", f"{task}, **steered**", "lost by steering (95 %)"]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for one in result["instructions"]:
        cells = [f"`{one['instruction']}`"]
        for task in tasks:
            told, steered = one["told"][task], one["steered"][task]
            low, high = steered["interval"]
            lost = f"{0 - steered['difference']:+.3f} ({0 - high:+.3f} to {0 - low:+.3f})"
            cells += [f"{told['accuracy']:.3f}", f"{steered['accuracy']:.3f}", lost]
        lines.append(_line(cells))
    plain = ", ".join(
        f"{task} {one['accuracy']:.3f} ({one['items']} items, chance {one['chance']:.2f})"
        for task, one in result["plain"].items()
    )
    note = f"{result['model']}, {result['dtype']}: plain, {plain}. Accuracy by lm-eval's `acc`."
    return "\n".join([*lines, "", note])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""`trimtab inspect`: a saved steering as a readable card, with a bar for every block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeringArgument, read_steering
from trimtab.cli.when import described

if TYPE_CHECKING:
    from trimtab.learn import Directions
    from trimtab.steering.steering import Steering

BAR_WIDTH = 32
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def command(
    folder: SteeringArgument,
    *,
    output: Output,
) -> None:
    """Show what a saved steering does, for which model, how it was made and what it measured."""
    steering = read_steering(folder)
    directions = _directions(folder, steering)
    output.result(card(steering, directions))
    output.print(steering.describe())
    output.print()
    output.print(norm_plot(steering))
    if directions is not None:
        output.print()
        output.print(difference_plot(directions))


def _directions(folder: Path, steering: Steering) -> Directions | None:
    """The directions that `learn` keeps beside a steering, if they are there and are those it was made of."""
    from trimtab.learn import Directions
    from trimtab.steering.folder import DIRECTIONS

    if not DIRECTIONS.document_path(folder).exists():
        return None
    directions = Directions.load(folder)
    record = steering.record
    names = ("prompts", "method", "model")
    return directions if all(getattr(directions, one) == getattr(record, one) for one in names) else None


def card(steering: Steering, directions: Directions | None = None) -> dict[str, Any]:
    """What `inspect --json` writes.

    Returns:
        Its name, digest, record and `conditions` (when its edits act); one entry per edit with block, tokens, norms
        (units of the residual stream) and the number of its condition among those; and `differences`, the norm of the
        mean difference for each block (empty without directions).
    """
    from trimtab.steering.card import describe_edit

    differences: dict[int, float] = {}
    if directions is not None:
        differences = dict(zip(directions.blocks, directions.difference_norm.tolist(), strict=True))
    whens = steering.whens
    return {
        "name": steering.name,
        "digest": steering.digest(),
        **steering.record.to_dict(),
        "conditions": [described(when) for when in whens],
        "edits": [
            {
                "block": edit.block,
                "tokens": edit.tokens,
                "alpha": edit.alpha,
                "rectified": edit.rectified,
                "u_norm": float(edit.u.norm()),
                "p_norm": 0.0 if edit.p is None else float(edit.p.norm()),
                "added_norm": abs(edit.alpha) * float(edit.u.norm()),
                "does": describe_edit(edit),
                "condition": None if edit.when is None else whens.index(edit.when),
            }
            for edit in sorted(steering.edits, key=lambda edit: edit.block)
        ],
        "differences": differences,
    }


def norm_plot(steering: Steering) -> Table:
    """A bar for every block: how long its constant part, |alpha u|, and its gates, |u| |p|, are, all edits added up."""
    total = steering.record.model.blocks
    constant, gate = [0.0] * total, [0.0] * total
    for edit in steering.edits:
        norm = float(edit.u.norm())
        constant[edit.block] += abs(edit.alpha) * norm
        gate[edit.block] += 0.0 if edit.p is None else norm * float(edit.p.norm())
    table = Table(box=None, pad_edge=False, title="norms per block", title_justify="left", title_style="bold")
    table.add_column("block", justify="right")
    table.add_column("|alpha u|", justify="right")
    table.add_column("")
    table.add_column("|u| |p|", justify="right")
    longest = max(constant, default=0.0)
    for block in range(total):
        if block not in steering.blocks:
            table.add_row(Text(str(block), style="dim"), "", "", "")
            continue
        table.add_row(
            str(block), f"{constant[block]:.3g}", bar(constant[block], longest), f"{gate[block]:.3g}"
        )
    return table


def difference_plot(directions: Directions) -> Table:
    """A bar for every block: how far the instruction moves the last prompt token there."""
    table = Table(
        box=None, pad_edge=False, title="mean difference per block", title_justify="left", title_style="bold"
    )
    table.add_column("block", justify="right")
    table.add_column("norm", justify="right")
    table.add_column("")
    norms = directions.difference_norm.tolist()
    for block, norm in zip(directions.blocks, norms, strict=True):
        table.add_row(str(block), f"{norm:.3g}", bar(norm, max(norms)))
    return table


def bar(value: float, longest: float, width: int = BAR_WIDTH) -> str:
    """A horizontal bar of at most `width` block characters; none for 0."""
    if longest <= 0 or value <= 0:
        return ""
    eighths = max(1, round(8 * width * min(1.0, value / longest)))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()

"""The figures of the report: who follows what, what the search saw, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from trimtab.measure.rows import CONDITIONS, Condition, Row
from trimtab.report.svg import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by people with any kind of colour vision, and by lightness on a grey printer.
COLOURS: dict[Condition, str] = {
    "baseline": "#9aa5b1",
    "instructed": "#3f83d1",
    "steered": "#e8772e",
    "instructed+steered": "#7b4bb3",
}
BESIDE = "#f2bc94"
"""Of the rows of another method that stand beside `steered`: the same hue, paler."""
_GRID = "#8a93a0"
_PERPLEXITIES = [digit * 10.0**power for power in range(7) for digit in (1, 1.5, 2, 3, 5)]
_WIDTH = 5.2  # inches at 72 px: wide enough for a page's column, and still readable on a phone


@dataclass(frozen=True)
class SearchPoint:
    """One candidate of a search, as the heat map shows it.

    Attributes:
        method: How the edit acts.
        block: Decoder block, 0-based.
        strength: Its strength.
        n: On how many validation queries it was tried: the first few, or all.
        good: Share of its responses that follow the instruction and are sound.
        accepted: Whether the quality guard had nothing to object.
        chosen: Whether it became the steering.
    """

    method: str
    block: int
    strength: float
    n: int
    good: float
    accepted: bool
    chosen: bool


def by_instruction(rows: Sequence[Row]) -> list[tuple[str, dict[Condition, Row]]]:
    """Groups rows that follow each other by instruction.

    Args:
        rows: Rows, those of one instruction side by side.

    Returns:
        Each instruction's label with its rows by condition.
    """
    return [
        (label, {row.condition: row for row in group})
        for label, group in groupby(rows, key=lambda row: row.label)
    ]


def followed_bars(rows: Sequence[Row], beside: Sequence[Row] = ()) -> Figure:
    """Bars of the share followed, by instruction and condition, with 95 % intervals.

    Args:
        rows: At least one row.
        beside: Steered rows of another method, drawn below `steered`.

    Returns:
        The figure.
    """
    groups = by_instruction(rows)
    others = {row.label: row for row in beside}
    colours = [COLOURS[condition] for condition in CONDITIONS]
    if others:
        colours.insert(CONDITIONS.index("steered") + 1, BESIDE)
    figure, axes = new_figure(_WIDTH, 0.55 + (0.62 + 0.12 * bool(others)) * len(groups))
    bar = 0.8 / len(colours)
    for i, (label, conditions) in enumerate(groups):
        bars = [conditions.get(condition) for condition in CONDITIONS]
        if others:
            bars.insert(CONDITIONS.index("steered") + 1, others.get(label))
        for j, (row, colour) in enumerate(zip(bars, colours, strict=True)):
            if row is None:
                continue
            y = i + (j - (len(bars) - 1) / 2) * bar
            interval = row.interval
            # A share of 0 still shows a sliver, so that a measured nothing differs from a missing bar.
            axes.barh(y, max(row.followed, 0.004), height=bar * 0.88, color=colour, linewidth=0)
            axes.plot([interval.low, interval.high], [y, y], color=INK, linewidth=0.7, alpha=0.75)
    _label_rows(axes, [label for label, _ in groups])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel("share of answers that follow the instruction")
    return figure


def quality_dots(rows: Sequence[Row]) -> Figure:
    """Dots of what following costs: perplexity, and facts where they are judged (repetition elsewhere).

    Args:
        rows: At least one row.

    Returns:
        The figure.
    """
    groups = by_instruction(rows)
    judged = any(row.quality.facts is not None for row in rows)
    figure, (left, right) = new_figure(_WIDTH, 0.75 + 0.36 * len(groups), columns=2)
    for i, (_, conditions) in enumerate(groups):
        for j, (condition, row) in enumerate(
            sorted(conditions.items(), key=lambda item: CONDITIONS.index(item[0]))
        ):
            quality = row.quality
            # A little apart, so that equal values stay visible side by side.
            y = i + (j - (len(conditions) - 1) / 2) * 0.14
            second = quality.facts if judged else quality.repetition
            for axes, value in ((left, quality.perplexity), (right, second)):
                if value is not None:
                    axes.plot(value, y, "o", color=COLOURS[condition], markersize=5, markeredgewidth=0)
    _label_rows(left, [label for label, _ in groups])
    _label_rows(right, [""] * len(groups))
    left.set_xscale("log")
    low, high = left.get_xlim()
    # Logarithmic axes of less than a decade get no ticks by themselves.
    ticks = [t for t in _PERPLEXITIES if low <= t <= high]
    while len(ticks) > 5:
        ticks = ticks[::2]
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    left.set_xlabel("perplexity (log scale)")
    right.set_xlabel("true sentences" if judged else "repeated 4-grams")
    right.set_xlim(-0.04, 1.04)
    right.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    return figure


def search_map(points: Sequence[SearchPoint]) -> Figure:
    """The search as a map of block by strength, one panel per method.

    Every cell holds the share of good responses to validation queries; a cross marks what the quality guard objected
    to, a thin frame what was tried on all queries, a thick one what was chosen.

    Args:
        points: At least one candidate.

    Returns:
        The figure.
    """
    most = max(point.n for point in points)
    methods = sorted({point.method for point in points})
    blocks = sorted({point.block for point in points})
    strengths = {m: sorted({p.strength for p in points if p.method == m}) for m in methods}
    columns = max(len(strengths[m]) for m in methods)
    cell = 0.36 if columns * len(methods) > 8 else 0.44
    figure, panels = new_figure(
        max(2.6, 0.6 + len(methods) * (columns * cell + 0.25)), 0.9 + 0.3 * len(blocks), columns=len(methods)
    )
    for axes, method in zip(panels if len(methods) > 1 else [panels], methods, strict=True):
        for point in (p for p in points if p.method == method):
            _cell(
                axes,
                strengths[method].index(point.strength),
                blocks.index(point.block),
                point,
                point.n == most,
            )
        axes.set_xlim(-0.5, len(strengths[method]) - 0.5)
        axes.set_ylim(-0.5, len(blocks) - 0.5)
        axes.set_xticks(range(len(strengths[method])), [f"{strength:g}" for strength in strengths[method]])
        axes.set_yticks(range(len(blocks)), [str(block) for block in blocks])
        axes.set_title(method.replace("_", " "), fontsize=9, color=INK)
        axes.set_xlabel("strength")
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    first = panels[0] if len(methods) > 1 else panels
    first.set_ylabel("block")
    return figure


def _cell(axes: Axes, x: int, y: int, point: SearchPoint, finalist: bool) -> None:
    from matplotlib.patches import Rectangle

    # White to the colour of `steered`: the darker, the more answers were good.
    share = point.good
    low, high = (253, 244, 236), (214, 88, 16)
    colour = tuple((a + (b - a) * share) / 255 for a, b in zip(low, high, strict=True))
    axes.add_patch(
        Rectangle(
            (x - 0.47, y - 0.46),
            0.94,
            0.92,
            facecolor=colour if point.accepted else "#d9dde2",
            edgecolor=INK if finalist or point.chosen else "none",
            linewidth=2.2 if point.chosen else 0.6,
            zorder=3 if point.chosen else 2,
        )
    )
    label = f"{share:.2f}".removeprefix("0") if share < 1 else "1"
    axes.text(
        x,
        y,
        label if point.accepted else f"{label}×",
        ha="center",
        va="center",
        fontsize=7.5,
        color="#ffffff" if point.accepted and share > 0.6 else ("#33271f" if point.accepted else "#6b7480"),
        zorder=4,
    )


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, *, share_x: bool = False
) -> tuple[Figure, Any]:
    """A figure and its axes in the report's style, made without pyplot: no global state, no window system.

    Args:
        width: In inches, at 72 px each.
        height: The same.
        columns: Panels side by side, or
        rows: one below the other; not both.
        share_x: Whether all panels have one horizontal axis.

    Returns:
        The figure, and its axes or an array of them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=share_x)
    for axes in [panels] if rows * columns == 1 else panels:
        axes.tick_params(colors=INK, length=0, labelsize=9)
        axes.xaxis.label.set(color=INK, fontsize=9)
        axes.yaxis.label.set(color=INK, fontsize=9)
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=_GRID, alpha=0.35, linewidth=0.6)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "left")
            spine.set(color=_GRID, linewidth=0.8)
    return figure, panels


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)

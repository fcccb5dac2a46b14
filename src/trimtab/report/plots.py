"""The figures of the report: who follows what and what it cost, strength against both, how long answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS, Condition, Row, facts_judged
from trimtab.report.svg import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trimtab.evaluate.accuracy import Accuracy

# Told apart by people with any kind of colour vision, and by lightness on a grey printer.
COLOURS: dict[Condition, str] = {
    "baseline": "#9aa5b1",
    "instructed": "#3f83d1",
    "steered": "#e8772e",
    "instructed+steered": "#7b4bb3",
    "constrained": "#2f9e8f",
    "steered+constrained": "#a3542b",
}
BESIDE = "#f2bc94"
"""Of the rows of another method that stand beside `steered`: the same hue, paler."""
_GRID = "#8a93a0"
_PERPLEXITIES = [digit * 10.0**power for power in range(7) for digit in (1, 1.5, 2, 3, 5)]
_WIDTH = 5.2  # inches at 72 px: wide enough for a page's column, and still readable on a phone
_WIDE = 7.2
_BINS = 24
_ORANGE = COLOURS["steered"]


def by_instruction(rows: Sequence[Row]) -> list[tuple[str, dict[Condition, Row]]]:
    """Each instruction's label with its rows by condition; those of one instruction follow each other."""
    return [
        (label, {row.condition: row for row in group})
        for label, group in groupby(rows, key=lambda row: row.label)
    ]


def followed_bars(rows: Sequence[Row], beside: Sequence[Row] = ()) -> Figure:
    """Bars of the share followed with 95 % intervals, by instruction and condition; `beside` stands below `steered`."""
    groups = by_instruction(rows)
    others = {row.label: row for row in beside}
    # The first four keep their places where one was not measured; the constrained ones are there on request.
    shown = [c for c in ALL_CONDITIONS if c in CONDITIONS or any(row.condition == c for row in rows)]
    colours = [COLOURS[condition] for condition in shown]
    if others:
        colours.insert(shown.index("steered") + 1, BESIDE)
    more = len(shown) - len(CONDITIONS) + bool(others)
    figure, axes = new_figure(_WIDTH, 0.55 + (0.62 + 0.12 * more) * len(groups))
    bar = 0.8 / len(colours)
    for i, (label, conditions) in enumerate(groups):
        bars = [conditions.get(condition) for condition in shown]
        if others:
            bars.insert(shown.index("steered") + 1, others.get(label))
        for j, (row, colour) in enumerate(zip(bars, colours, strict=True)):
            if row is None:
                continue
            y = i + (j - (len(bars) - 1) / 2) * bar
            interval = row.interval
            # A share of 0 still shows a sliver, so that a measured nothing differs from a missing bar.
            axes.barh(y, max(row.followed, 0.004), height=bar * 0.88, color=colour, linewidth=0)
            axes.plot([interval.low, interval.high], [y, y], color=INK, linewidth=0.7, alpha=0.75)
    label_rows(axes, [label for label, _ in groups])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel("share of answers that follow the instruction")
    return figure


def quality_dots(rows: Sequence[Row]) -> Figure:
    """Dots of what following costs: perplexity, and facts where they are judged (repetition elsewhere)."""
    groups = by_instruction(rows)
    judged = facts_judged(rows)
    figure, (left, right) = new_figure(_WIDTH, 0.75 + 0.36 * len(groups), columns=2)
    for i, (_, conditions) in enumerate(groups):
        for j, (condition, row) in enumerate(
            sorted(conditions.items(), key=lambda item: ALL_CONDITIONS.index(item[0]))
        ):
            quality = row.quality
            # A little apart, so that equal values stay visible side by side.
            y = i + (j - (len(conditions) - 1) / 2) * 0.14
            second = quality.facts if judged else quality.repetition
            for axes, value in ((left, quality.perplexity), (right, second)):
                if value is not None:
                    axes.plot(value, y, "o", color=COLOURS[condition], markersize=5, markeredgewidth=0)
    label_rows(left, [label for label, _ in groups])
    label_rows(right, [""] * len(groups))
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


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, *, share_x: bool = False
) -> tuple[Figure, Any]:
    """A figure and its axes in the report's style, made without pyplot: no global state, no window system.

    Width and height are in inches, at 72 px each. There are columns or rows of panels, not both.
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


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names the rows of a chart, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


@dataclass(frozen=True)
class Sweep:
    """A steering at several strengths on the same prompts.

    Attributes:
        steered: The accuracies of the `steered` condition, one for each strength.
        references: Those of `baseline` and `instructed`, where they were measured.
        by_label: For each instruction, the share followed at each strength, in the order of `steered`.
    """

    steered: Sequence[Accuracy]
    references: Mapping[Condition, Accuracy]
    by_label: Mapping[str, Sequence[float]]


def strength_curves(sweep: Sweep) -> Figure:
    """Strength against the share of prompts followed, perplexity, and facts (repetition where none are judged).

    The thick line is all prompts, with its 95 % interval; thin lines are single instructions. Dashed lines are the
    conditions without steering.
    """
    figure, (left, middle, right) = new_figure(_WIDE, 2.5, columns=3)
    order = sorted(range(len(sweep.steered)), key=lambda i: sweep.steered[i].strength or 0.0)
    points = [sweep.steered[i] for i in order]
    x = [point.strength or 0.0 for point in points]
    for single in sweep.by_label.values() if len(sweep.by_label) > 1 else ():
        left.plot(x, [single[i] for i in order], color=_ORANGE, linewidth=0.8, alpha=0.35, zorder=2)
    shares = [point.shares["prompt_strict"] for point in points]
    left.fill_between(
        x, [i.low for _, i in shares], [i.high for _, i in shares], color=_ORANGE, alpha=0.16, linewidth=0
    )
    left.plot(x, [share for share, _ in shares], "o-", color=_ORANGE, linewidth=2, markersize=4.5, zorder=3)
    left.set_ylim(-0.03, 1.03)
    left.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    judged = any(point.quality.facts is not None for point in points)
    panels = ((middle, _perplexity), (right, _facts if judged else _repetition))
    for axes, value_of in panels:
        known = [(s, v) for s, p in zip(x, points, strict=True) if (v := value_of(p)) is not None]
        axes.plot(
            [s for s, _ in known], [v for _, v in known], "o-", color=_ORANGE, linewidth=2, markersize=4.5
        )
    left.set_ylabel("share of prompts followed")
    middle.set_ylabel("perplexity")
    right.set_ylabel("true sentences" if judged else "repeated 4-grams")
    right.set_ylim(-0.03, 1.03)
    right.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    for condition, reference in sweep.references.items():
        for axes, value_of in ((left, _followed), *panels):
            value = value_of(reference)
            if value is not None:
                axes.axhline(value, color=COLOURS[condition], linewidth=1.3, linestyle=(0, (4, 2)), zorder=1)
    if max((_perplexity(point) or 1.0) for point in points) > 30:  # a broken strength presses all others flat
        middle.set_yscale("log")
        middle.minorticks_off()
    for axes in (left, middle, right):
        axes.set_xlabel("strength")
        axes.grid(axis="y", color="#8a93a0", alpha=0.35, linewidth=0.6)
        axes.grid(visible=False, axis="x")
        axes.set_xticks(x, _spaced(x))
    return figure


def _spaced(values: Sequence[float]) -> list[str]:
    """Labels of ticks, blank where they would run into the one before."""
    labels: list[str] = []
    last = -float("inf")
    for value in values:
        far = value - last > 0.16 * (values[-1] - values[0])
        labels.append(f"{value:g}" if far else "")
        last = value if far else last
    return labels


def _followed(accuracy: Accuracy) -> float | None:
    return accuracy.shares["prompt_strict"][0]


def _perplexity(accuracy: Accuracy) -> float | None:
    return accuracy.quality.perplexity


def _facts(accuracy: Accuracy) -> float | None:
    return accuracy.quality.facts


def _repetition(accuracy: Accuracy) -> float | None:
    return accuracy.quality.repetition


def length_histograms(lengths: Mapping[Condition, Sequence[int]]) -> Figure:
    """How many words the answers have: one histogram for each condition, over one axis."""
    # Runaway answers of a broken steering share the last bin, or they would press all others into the first.
    everything = sorted(length for values in lengths.values() for length in values)
    top = max(1, everything[min(len(everything) - 1, int(0.99 * len(everything)))])
    width = max(1, -(-(top + 1) // _BINS))
    edges = [i * width for i in range(-(-(top + 1) // width) + 1)]
    figure, panels = new_figure(_WIDE, 0.55 + 0.62 * len(lengths), rows=len(lengths), share_x=True)
    for axes, (condition, values) in zip(
        panels if len(lengths) > 1 else [panels], lengths.items(), strict=True
    ):
        _histogram(axes, condition, [min(value, edges[-1] - 1) for value in values], edges)
    last = panels[-1] if len(lengths) > 1 else panels
    last.set_xlabel("words in an answer")
    last.tick_params(labelbottom=True)
    return figure


def _histogram(axes: Axes, condition: Condition, values: Sequence[int], edges: Sequence[int]) -> None:
    axes.hist(values, bins=list(edges), color=COLOURS[condition], rwidth=0.9, linewidth=0)
    middle = sorted(values)[len(values) // 2]
    axes.axvline(middle, color=INK, linewidth=1, alpha=0.7)
    axes.set_yticks([])
    axes.grid(visible=False)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel(condition.replace("+", "\n+"), rotation=0, ha="right", va="center", labelpad=8)
    axes.tick_params(labelbottom=False)

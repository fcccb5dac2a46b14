"""Two more figures of a suite's report: strength against what it brings and costs, and how long the answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.measure.rows import Condition
from trimtab.report.plots import COLOURS, new_figure
from trimtab.report.svg import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trimtab.evaluate.accuracy import Accuracy

_WIDTH = 7.2
_BINS = 24
_ORANGE = COLOURS["steered"]


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

    Args:
        sweep: At least two strengths.

    Returns:
        The figure.
    """
    figure, (left, middle, right) = new_figure(_WIDTH, 2.5, columns=3)
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
    """How many words the answers have: one histogram for each condition, over one axis.

    Args:
        lengths: The number of words of every answer, by condition; at least one.

    Returns:
        The figure.
    """
    # Runaway answers of a broken steering share the last bin, or they would press all others into the first.
    everything = sorted(length for values in lengths.values() for length in values)
    top = max(1, everything[min(len(everything) - 1, int(0.99 * len(everything)))])
    width = max(1, -(-(top + 1) // _BINS))
    edges = [i * width for i in range(-(-(top + 1) // width) + 1)]
    figure, panels = new_figure(_WIDTH, 0.55 + 0.62 * len(lengths), rows=len(lengths), share_x=True)
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

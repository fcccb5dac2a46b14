"""The charts of an experiment, and drawing them in the colours of the reports."""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from trimtab.report.plots import COLOURS
from trimtab.report.svg import matplotlib_quietly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PALETTE = (*COLOURS.values(), "#3a9d78", "#c2477f", "#b59b2a", "#5b6470")
_INK = "#2b333c"


@dataclass(frozen=True)
class Chart:
    """A chart, as numbers.

    Attributes:
        name: Part of its file name.
        title: What it shows.
        kind: Bars by group and series, or the distributions of the series as boxes.
        groups: Of bars: what stands side by side, one place for each.
        series: Of bars: a value for each group, or None. Of boxes: all the values.
        label: What is measured.
    """

    name: str
    title: str
    kind: Literal["bars", "boxes"]
    series: dict[str, tuple[float | None, ...]]
    label: str
    groups: tuple[str, ...] = ()


def draw(chart: Chart) -> str | None:
    """A chart as SVG; None without matplotlib."""
    if find_spec("matplotlib") is None:
        return None
    with matplotlib_quietly():
        import matplotlib as mpl
        from matplotlib.figure import Figure

        places = len(chart.groups) if chart.kind == "bars" else len(chart.series)
        figure = Figure(figsize=(7.2, 0.9 + 0.42 * max(places, 2)), layout="constrained")
        axes = figure.subplots()
        (_bars if chart.kind == "bars" else _boxes)(axes, chart)
        axes.set_title(chart.title, fontsize=10, color=_INK, loc="left")
        axes.set_xlabel(chart.label, fontsize=9, color=_INK)
        axes.tick_params(colors=_INK, length=0, labelsize=9)
        axes.set_axisbelow(True)
        axes.grid(axis="x", color="#8a93a0", alpha=0.35, linewidth=0.6)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "left")
        buffer = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.name}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()


def _bars(axes: Axes, chart: Chart) -> None:
    width = 0.8 / len(chart.series)
    for number, (name, values) in enumerate(chart.series.items()):
        shift = (number - (len(chart.series) - 1) / 2) * width
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        axes.barh(
            [place + shift for place, _ in known],
            [value for _, value in known],
            height=width * 0.9,
            color=_PALETTE[number % len(_PALETTE)],
            label=name,
        )
    axes.set_yticks(range(len(chart.groups)), chart.groups)
    axes.set_ylim(len(chart.groups) - 0.5, -0.5)
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _boxes(axes: Axes, chart: Chart) -> None:
    names = list(chart.series)
    for place, name in enumerate(names):
        values = [value for value in chart.series[name] if value is not None]
        axes.boxplot(
            [values],
            positions=[place],
            orientation="horizontal",
            widths=0.6,
            showfliers=True,
            medianprops={"color": COLOURS["steered"], "linewidth": 2},
            flierprops={"markersize": 3},
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)

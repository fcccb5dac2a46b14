"""The charts of an experiment, and drawing them in the colours of the reports."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from trimtab.report.plots import COLOURS, label_rows, new_figure
from trimtab.report.svg import INK, file_svg, matplotlib_quietly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PALETTE = (*COLOURS.values(), "#3a9d78", "#c2477f", "#b59b2a", "#5b6470")


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
        bars = chart.kind == "bars"
        places = chart.groups if bars else tuple(chart.series)
        figure, axes = new_figure(7.2, 0.9 + 0.42 * max(len(places), 2))
        (_bars if bars else _boxes)(axes, chart)
        label_rows(axes, places)
        axes.set_title(chart.title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel(chart.label)
        return file_svg(figure, name=chart.name)


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
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _boxes(axes: Axes, chart: Chart) -> None:
    for place, values in enumerate(chart.series.values()):
        axes.boxplot(
            [[value for value in values if value is not None]],
            positions=[place],
            orientation="horizontal",
            widths=0.6,
            showfliers=True,
            medianprops={"color": COLOURS["steered"], "linewidth": 2},
            flierprops={"markersize": 3},
        )

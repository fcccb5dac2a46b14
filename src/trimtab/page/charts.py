"""Charts of the page: curves, bars and strips as inline SVG and HTML that take the page's colours, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Colour = Literal["without", "told", "steered", "quality"]
_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 12, 36


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: What it shows.
        points: Its points, in order.
        colour: Which of the page's colours it has.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: Colour = "steered"


def curves(
    title: str,
    lines: Sequence[Curve],
    *,
    across: str,
    up: str,
    top: float | None = None,
    levels: Mapping[str, float] | None = None,
    right: float | None = None,
) -> str:
    """A chart of some curves, with a table of the same for who does not see it.

    Args:
        title: What it shows.
        lines: The curves.
        across: What goes to the right.
        up: What goes up; from 0 on.
        top: The highest value; that of the curves when None.
        levels: Dashed lines by name.
        right: Where the chart ends; the last point when None.
    """
    shown = [one for one in lines if one.points]
    xs = [x for one in shown for x, _ in one.points]
    ys = [y for one in shown for _, y in one.points] + list((levels or {}).values())
    low, high = (min([0.0, *xs]), max([*xs, right or 0.0]) or 1.0)
    highest = top or max(ys, default=1.0) * 1.08 or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across_share = (x - low) / ((high - low) or 1)
        return (
            _LEFT + across_share * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - min(y / highest, 1.0) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = []
    for share in (0, 0.5, 1):
        _, y = place(low, highest * share)
        parts.append(f'<line class="tt-grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(highest * share)}</text>'
        )
    for share in (0, 0.5, 1):
        value = low + share * (high - low)
        x, _ = place(value, 0)
        anchor = ("start", "middle", "end")[int(share * 2)]
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 16}" text-anchor="{anchor}">{_short(value)}</text>')
    parts.append(
        f'<text class="tt-axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 2}" text-anchor="end">{escape(across)}</text>'
    )
    for name, value in (levels or {}).items():
        _, y = place(low, value)
        parts.append(
            f'<line class="tt-level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT + 6}" y="{y - 4:.1f}">{escape(name)}</text>')
    for one in shown:
        points = [place(x, y) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="tt-line tt-c-{one.colour}" points="{path}"/>')
        if len(points) < 30:
            parts += [
                f'<circle class="tt-dot tt-c-{one.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
                for x, y in points
            ]
    keys = "".join(
        f'<li><span class="tt-key tt-c-{one.colour}"></span>{escape(one.name)}</li>' for one in lines
    )
    legend = f'<ul class="tt-legend" aria-hidden="true">{keys}</ul>' if len(lines) > 1 else ""
    return (
        f'<figure class="tt-chart"><figcaption>{escape(title)} <span>{escape(up)}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>{legend}'
        f"{_table(title, shown, across)}</figure>"
    )


def _table(title: str, lines: Sequence[Curve], across: str) -> str:
    """The points as a table that only a screen reader finds: at most twelve of a long curve."""
    xs = sorted({x for one in lines for x, _ in one.points})
    xs = xs[:: max(1, len(xs) // 12)]
    head = "".join(f'<th scope="col">{escape(one.name)}</th>' for one in lines)
    values = [dict(one.points) for one in lines]
    rows = "".join(
        f'<tr><th scope="row">{_short(x)}</th>'
        + "".join(f"<td>{_short(one[x]) if x in one else ''}</td>" for one in values)
        + "</tr>"
        for x in xs
    )
    return (
        f'<table class="tt-hidden"><caption>{escape(title)}</caption>'
        f'<thead><tr><th scope="col">{escape(across)}</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def bars(title: str, rows: Sequence[tuple[str, float, str]], *, unit: str = "") -> str:
    """Horizontal bars: a label, a length from 0 on, and what is said of it."""
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    lines = "".join(
        f'<li><span class="tt-bar-label">{escape(label)}</span><span class="tt-bar" aria-hidden="true">'
        f'<i style="width:{100 * value / most:.1f}%"></i></span><span class="tt-bar-value">{escape(words)}</span></li>'
        for label, value, words in rows
    )
    return (
        f'<figure class="tt-chart"><figcaption>{escape(title)} <span>{escape(unit)}</span></figcaption>'
        f'<ol class="tt-bars">{lines}</ol></figure>'
    )


def strip(title: str, pieces: Sequence[tuple[str, float]], unit: str) -> str:
    """A text whose pieces are the darker the larger their value is; each tells it when it is pointed at."""
    most = max((value for _, value in pieces), default=0.0) or 1.0
    marks = "".join(
        f'<span class="tt-heat" style="--heat:{value / most:.2f}" title="{escape(unit)}: {value:.2f}">'
        f"{escape(piece)}</span>"
        for piece, value in pieces
    )
    strongest = sorted(pieces, key=lambda one: -one[1])[:5]
    words = ", ".join(f"{piece.strip() or 'space'} ({value:.2f})" for piece, value in strongest)
    return (
        f'<figure class="tt-chart"><figcaption>{escape(title)} <span>{escape(unit)}, 0 to {most:.2f}</span>'
        f'</figcaption><p class="tt-strip">{marks}</p><p class="tt-small">Strongest at: {escape(words)}</p></figure>'
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"

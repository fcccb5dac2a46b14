"""A search as a heat map of block by strength: SVG written by hand, so that it needs no plotting library.

Every cell is a candidate, darker the more of its responses were good; grey with a cross what the guard rejected; a
thin frame around what was tried on all queries, a thick one around what was chosen. Resting on a cell shows its
numbers. Text and frames take the colour of the page, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_CELL_WIDTH, _CELL_HEIGHT, _GAP = 46, 30, 2
_LEFT, _TOP, _BOTTOM, _BETWEEN = 44, 26, 44, 30
_FEW, _MANY = (253, 244, 236), (214, 88, 16)
_REJECTED = "#d9dde2"


@dataclass(frozen=True)
class Point:
    """One candidate of a search.

    Attributes:
        method: How the edit acts: one panel for each.
        block: Decoder block, 0-based: one line for each. None for a steering of several blocks.
        strength: Its strength: one column for each.
        n: On how many validation queries it was tried: the first few, or all.
        good: Share of its responses that follow the instruction and are sound, in [0, 1].
        accepted: Whether the guard let it pass.
        chosen: Whether it became the steering.
    """

    method: str
    block: int | None
    strength: float
    n: int
    good: float
    accepted: bool
    chosen: bool


@dataclass(frozen=True)
class SearchMap:
    """A search, as reports show it.

    Attributes:
        label: What was to be followed.
        points: Every candidate tried; at least one.
        improved: Whether the chosen one beat steering nothing on the validation queries; None if that is not known.
    """

    label: str
    points: Sequence[Point]
    improved: bool | None = None

    @property
    def caption(self) -> str:
        """What was chosen."""
        chosen = next((point for point in self.points if point.chosen), None)
        if chosen is None:
            return f"{len(self.points)} candidates, none chosen"
        where = "" if chosen.block is None else f"block {chosen.block}, "
        text = f"{chosen.method.replace('_', ' ')}, {where}strength {chosen.strength:g}"
        return f"{text}; no better than steering nothing" if self.improved is False else text

    @property
    def found(self) -> bool:
        """Whether there is something to see: a candidate was chosen that is better than steering nothing."""
        return self.improved is not False and any(point.chosen and point.good > 0 for point in self.points)

    @property
    def drawing(self) -> str:
        """The heat map, as an `<svg>` element."""
        return svg(self.points, description=f"Search for {self.label}")


def svg(points: Sequence[Point], *, description: str = "Share of good answers by block and strength") -> str:
    """Draws a search, in any order, as an `<svg>` element for an HTML page.

    It has no ids and no addresses, scales with its column, and can stand in a page several times.

    Raises:
        ValueError: There are no points.
    """
    if not points:
        raise ValueError("a heat map needs at least one candidate")
    blocks = sorted({point.block for point in points}, key=lambda block: -1 if block is None else block)
    methods = sorted({point.method for point in points})
    most = max(point.n for point in points)
    parts: list[str] = []
    left = _LEFT
    for method in methods:
        found = [point for point in points if point.method == method]
        strengths = sorted({point.strength for point in found})
        panel = len(strengths) * _CELL_WIDTH
        parts.append(_text(left + panel / 2, 14, method.replace("_", " "), size=13))
        for point in found:
            x = left + strengths.index(point.strength) * _CELL_WIDTH
            y = _TOP + (len(blocks) - 1 - blocks.index(point.block)) * _CELL_HEIGHT
            parts.append(_cell(x, y, point, tried_on_all=point.n == most))
        for number, strength in enumerate(strengths):
            middle = left + (number + 0.5) * _CELL_WIDTH
            parts.append(_text(middle, _TOP + len(blocks) * _CELL_HEIGHT + 16, f"{strength:.3g}", size=12))
        parts.append(_text(left + panel / 2, _TOP + len(blocks) * _CELL_HEIGHT + 36, "strength", size=12))
        left += panel + _BETWEEN
    for number, block in enumerate(blocks):
        line = _TOP + (len(blocks) - 0.5 - number) * _CELL_HEIGHT + 4
        parts.append(_text(_LEFT - 8, line, "all" if block is None else str(block), size=12, anchor="end"))
    middle = _TOP + len(blocks) * _CELL_HEIGHT / 2
    parts.append(_text(12, middle, "block", size=12, more=f' transform="rotate(-90 12 {middle:g})"'))
    width, height = left - _BETWEEN + 8, _TOP + len(blocks) * _CELL_HEIGHT + _BOTTOM
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}" '
        f'style="width:100%;max-width:{width * 1.2:.0f}px;font-family:system-ui,sans-serif">'
        f"{''.join(parts)}</svg>"
    )


def _cell(x: float, y: float, point: Point, *, tried_on_all: bool) -> str:
    share = min(max(point.good, 0.0), 1.0)
    colour = "#" + "".join(
        f"{round(low + (high - low) * share):02x}" for low, high in zip(_FEW, _MANY, strict=True)
    )
    frame = 2.6 if point.chosen else 0.8 if tried_on_all else 0
    ink = "#5a6470" if not point.accepted else "#ffffff" if share > 0.6 else "#33271f"
    label = ("1" if round(share, 2) == 1 else f"{share:.2f}"[1:]) + ("" if point.accepted else "×")
    where = "" if point.block is None else f"block {point.block}, "
    verdict = "chosen" if point.chosen else "" if point.accepted else "rejected"
    title = f"{where}strength {point.strength:.4g}: {share:.2f} good of {point.n}" + (
        verdict and f", {verdict}"
    )
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="{x + _GAP / 2:g}" y="{y + _GAP / 2:g}" width="{_CELL_WIDTH - _GAP}" '
        f'height="{_CELL_HEIGHT - _GAP}" rx="3" fill="{colour if point.accepted else _REJECTED}"'
        + (f' stroke="currentColor" stroke-width="{frame:g}"' if frame else "")
        + "/>"
        + _text(x + _CELL_WIDTH / 2, y + _CELL_HEIGHT / 2 + 4, label, size=11.5, ink=ink)
        + "</g>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    ink: str = "currentColor",
    anchor: str = "middle",
    more: str = "",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{ink}"{more}>'
        f"{escape(text)}</text>"
    )

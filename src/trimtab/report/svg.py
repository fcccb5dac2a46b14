"""A matplotlib figure as SVG that can stand inside an HTML page: no external names, no clashing ids, page colours."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Drawn in this colour, text and lines take the colour of the page's text, in a light or a dark page."""

_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(?::\w+)?="[^"]*"')
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)')


@contextmanager
def matplotlib_quietly() -> Iterator[None]:
    """Keeps matplotlib from remarking on its font cache, as it does where it was never used before."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def draw(name: str, description: str, make: Callable[[Any], Figure], data: Any) -> str | None:
    """The figure that is made of data, as an `<svg>` element (see `inline_svg`); None without matplotlib."""
    if find_spec("matplotlib") is None:
        return None
    with matplotlib_quietly():
        return inline_svg(make(data), name=name, description=description)


def file_svg(figure: Figure, *, name: str, transparent: bool = False) -> str:
    """Turns a figure into an SVG file: text stays text, and the same figure gives the same file."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(figure: Figure, *, name: str, description: str) -> str:
    """Turns a figure into an `<svg>` element for an HTML page.

    Text stays text (it can be selected, and takes the page's font); the element scales with its column; namespaces
    and metadata, which carry the only external addresses, go, as HTML needs neither. The name, unique in the
    page, is the prefix of every id inside.
    """
    text = file_svg(figure, name=name, transparent=True)
    text = text[text.index("<svg") :]
    text = _METADATA.sub("", text)
    text = _NAMESPACES.sub("", text)
    text = _ID.sub(lambda match: f'id="{name}-{match[1]}"', text)
    text = _REFERENCE.sub(lambda match: f"{match[1]}{name}-", text)
    text = text.replace(INK, "currentColor")
    width, height = figure.get_size_inches() * 72
    # The size moves into a style, where the page can overrule it.
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    return (
        f'{opening} role="img" aria-label="{escape(description)}" '
        f'style="width:100%;max-width:{width * 1.5:.0f}px;aspect-ratio:{width:.0f}/{height:.0f}">{rest.strip()}'
    )

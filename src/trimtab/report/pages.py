"""Pages of HTML from templates: one set-up for all of them. Everything a model writes goes through it as text."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from trimtab.errors import TrimtabError

# What HTML forbids in text, and halves of characters, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def check_installed() -> None:
    """Makes sure a page can be rendered, before the work it would show is done.

    Raises:
        TrimtabError: jinja2 is missing.
    """
    if find_spec("jinja2") is None:
        raise TrimtabError("the report needs jinja2, which is not installed; pip install 'trimtab[report]'")


def render_template(name: str, **values: Any) -> str:
    """Renders one of the templates as a page that needs nothing from outside.

    Args:
        name: The template's file.
        **values: What it shows.

    Raises:
        TrimtabError: jinja2 is missing.
    """
    check_installed()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trimtab.report", "templates"),
        autoescape=True,  # what a model wrote must not become markup
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "clean": lambda text: _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text),
        "shorten": lambda text, most: text if len(text) <= most else text[:most].rstrip() + " …",
        "share": lambda value: "–" if value is None else f"{value:.2f}",
        "number": lambda value: "–" if value is None else f"{value:.4g}",
        "perplexity": lambda value: "–" if value is None else format_perplexity(value),
        "signed": signed,
        "p_value": p_value,
    }
    return environment.get_template(name).render(**values)


def format_perplexity(value: float) -> str:
    """Three significant digits, no exponent below a million: `3.14`, `31.4`, `3140`."""
    if value >= 1e6:
        return f"{value:.0e}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def signed(value: float) -> str:
    """A difference as text, with a true minus."""
    return f"{value:+.2f}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value as text: three digits after the point, or an upper bound."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"

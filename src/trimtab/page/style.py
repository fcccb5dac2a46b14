"""How the page looks: Gradio's theme without fonts from elsewhere, and the page's own style sheet and script."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.themes import Base

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Ubuntu", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def source(name: str) -> str:
    """The text of a file of this package."""
    return resources.files("trimtab.page").joinpath(name).read_text(encoding="utf-8")


def theme() -> Base:
    """Gradio's plainest theme in the page's colours, with the fonts of the machine alone."""
    from gradio.themes import Base, sizes

    light = {
        "body_background_fill": "var(--tt-paper)",
        "body_text_color": "var(--tt-ink)",
        "body_text_color_subdued": "var(--tt-soft)",
        "background_fill_primary": "var(--tt-card)",
        "background_fill_secondary": "var(--tt-paper)",
        "block_background_fill": "transparent",
        "block_border_width": "0px",
        "block_padding": "0px",
        "block_shadow": "none",
        "block_label_text_color": "var(--tt-ink)",
        "block_title_text_color": "var(--tt-ink)",
        "block_info_text_color": "var(--tt-soft)",
        "border_color_primary": "var(--tt-line)",
        "border_color_accent": "var(--tt-accent)",
        "color_accent": "var(--tt-accent)",
        "color_accent_soft": "var(--tt-tint)",
        "input_background_fill": "var(--tt-card)",
        "input_border_color": "var(--tt-edge)",
        "input_border_width": "1px",
        "input_border_color_focus": "var(--tt-accent)",
        "input_placeholder_color": "var(--tt-soft)",
        "input_shadow": "none",
        "button_primary_background_fill": "var(--tt-accent)",
        "button_primary_background_fill_hover": "var(--tt-accent-strong)",
        "button_primary_text_color": "var(--tt-on-accent)",
        "button_primary_border_color": "transparent",
        "button_secondary_background_fill": "var(--tt-card)",
        "button_secondary_background_fill_hover": "var(--tt-tint)",
        "button_secondary_text_color": "var(--tt-ink)",
        "button_secondary_border_color": "var(--tt-edge)",
        "panel_background_fill": "transparent",
        "link_text_color": "var(--tt-accent)",
    }
    base = Base(font=list(FONT), font_mono=list(MONO), radius_size=sizes.radius_md, text_size=sizes.text_md)
    known = [*light, *(f"{name}_dark" for name in light if hasattr(base, f"{name}_dark"))]
    return base.set(**{name: light[name.removesuffix("_dark")] for name in known})


def head() -> str:
    """What stands in the head of the page: its scripts."""
    return "".join(f"<script>{source(name)}</script>" for name in ("stream.js", "page.js"))


def style() -> str:
    """The page's style sheet."""
    return source("style.css")

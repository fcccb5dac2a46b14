"""The list of instructions, with its search and its sliders, as a component of Gradio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from trimtab.page.choosing import choices
from trimtab.page.style import source

if TYPE_CHECKING:
    from trimtab.page.workplace import Workplace

_TEMPLATE = """<section class="tt-picker" aria-labelledby="tt-picker-title">
<h3 id="tt-picker-title">What the answer shall be like</h3>
<p id="tt-strength-help" class="tt-hidden">1 is what was taught, 0 is nothing, less than 0 is the opposite.</p>
<ul class="tt-picked" aria-label="Chosen"></ul>
<label class="tt-hidden" for="tt-search">Search the instructions</label>
<input class="tt-search" id="tt-search" type="search" autocomplete="off" placeholder="Search: lowercase, JSON, short…">
<p class="tt-count" role="status"></p>
<ul class="tt-list" aria-label="Instructions" tabindex="0"></ul>
<button type="button" class="tt-more"></button>
</section>"""


def picker(workplace: Workplace) -> gr.HTML:
    """The component: its value is what is chosen, by key, with strengths; `select` and `release` tell of changes."""
    return gr.HTML(
        value={},
        html_template=_TEMPLATE,
        js_on_load=source("picker.js"),
        apply_default_css=False,
        options=options(workplace),
        elem_id="tt-choices",
    )


def options(workplace: Workplace) -> list[dict[str, Any]]:
    """What there is to choose, for the component's `options`."""
    return [one.to_dict() for one in choices(workplace)]

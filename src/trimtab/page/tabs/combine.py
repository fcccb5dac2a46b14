"""The tab that combines: two steerings at once, and whether they disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from trimtab.errors import TrimtabError
from trimtab.page import cards, panels
from trimtab.page.composing import QUESTIONS, fit, together
from trimtab.page.tabs.picker import options

if TYPE_CHECKING:
    from trimtab.page.tabs.ask import AskTab
    from trimtab.page.workplace import Workplace

_LEAD = (
    '<div class="tt-lead"><h2>Combine two</h2><p>Steerings add up: both push at once. Mostly they leave each other '
    "alone. Whether these two do is tried on questions that nothing was learned from.</p></div>"
)
_QUIET: dict[str, Any] = {"show_progress": "hidden"}


class CombineTab:
    """The tab, and what its controls do.

    Args:
        workplace: The model and its steerings.
        asking: The tab that asks, whose list gets what is made.
    """

    def __init__(self, workplace: Workplace, asking: AskTab) -> None:
        self._workplace = workplace
        self._asking = asking

    def add(self, blocks: gr.Blocks) -> None:
        """Adds the tab to the page that is being built."""
        names = self._workplace.library.names()
        first = "lowercase" if "lowercase" in names else next(iter(names), None)
        second = "no_commas" if "no_commas" in names else next(iter(names[1:]), None)
        with gr.Tab("Combine", id="combine") as tab:
            gr.HTML(_LEAD)
            tab.select(None, None, None, js="() => window.trimtabTab('combine')")
            with gr.Row():
                with gr.Column(scale=4, min_width=290, elem_classes="tt-panel"):
                    one = gr.Dropdown(names, value=first, label="First steering", filterable=True)
                    other = gr.Dropdown(names, value=second, label="Second steering", filterable=True)
                    go = gr.Button("Try them together", variant="primary")
                    gr.HTML(f'<p class="tt-small">Four times the same {QUESTIONS} questions.</p>')
                    train = gr.Button("Make them go together")
                    gr.HTML(
                        '<p class="tt-small">A short training of both at once, in the background. What comes of '
                        "it is in the list then.</p>"
                    )
                with gr.Column(scale=9, min_width=320, elem_classes="tt-panel"):
                    table = gr.HTML(panels.together(None), elem_id="tt-together")
                    work = gr.HTML("", elem_id="tt-fit")
            timer = gr.Timer(1.0, active=False)
        go.click(self.together, [one, other], table, **_QUIET)
        train.click(self.fit, [one, other], [work, timer, self._asking.choices], **_QUIET)
        timer.tick(self.picture, None, [work, timer, self._asking.choices], **_QUIET)
        tab.select(self.renew, [one, other], [one, other], **_QUIET)

    def together(self, one: str, other: str) -> Iterator[str]:
        """One row of the table after the other."""
        try:
            for found in together(self._workplace, one, other):
                yield panels.together(found)
        except TrimtabError as error:
            yield cards.note(str(error), "wrong")

    def fit(self, one: str, other: str) -> tuple[Any, ...]:
        """Begins the training of both."""
        try:
            fit(self._workplace, one, other)
        except TrimtabError as error:
            return cards.note(str(error), "wrong"), gr.Timer(active=False), gr.skip()
        return self.picture()

    def picture(self) -> tuple[Any, ...]:
        """How the training stands."""
        found = self._workplace.job.now()
        listed = gr.HTML(options=options(self._workplace)) if found.state == "done" else gr.skip()
        return panels.work(found), gr.Timer(active=found.is_running), listed

    def renew(self, one: str | None, other: str | None) -> tuple[Any, ...]:
        """The lists, with what was taught since."""
        names = self._workplace.library.names()
        kept = [value if value in names else None for value in (one, other)]
        return tuple(gr.Dropdown(choices=names, value=value) for value in kept)

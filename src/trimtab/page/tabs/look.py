"""The tab that looks inside: what strength does, what each word was pushed by, and where in the depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from trimtab.errors import TrimtabError
from trimtab.page import cards, panels
from trimtab.page.asking import examples
from trimtab.page.choosing import check_question
from trimtab.page.looking import QUESTIONS, Strength, pushes, sweep

if TYPE_CHECKING:
    from trimtab.page.tabs.ask import AskTab
    from trimtab.page.workplace import Workplace

_LEAD = (
    '<div class="tt-lead"><h2>Look inside</h2><p>A steering is a handful of small changes, one or two in each '
    "block (layer) of it. "
    "Each measures the model's inner state, and pushes it as far as it still has to go. See how hard it pushes at "
    "which word, and what more or less strength does.</p></div>"
)
_EMPTY = '<p class="tt-empty">Choose a steering, and press a button.</p>'


class LookTab:
    """The tab, and what its controls do.

    Args:
        workplace: The model and its steerings.
        asking: The tab that asks.
    """

    def __init__(self, workplace: Workplace, asking: AskTab) -> None:
        self._workplace = workplace
        self._asking = asking

    def add(self) -> None:
        """Adds the tab to the page that is being built."""
        names = self._workplace.library.names()
        with gr.Tab("Look inside", id="look") as tab:
            gr.HTML(_LEAD)
            tab.select(None, None, None, js="() => window.trimtabTab('look')")
            with gr.Row():
                with gr.Column(scale=4, min_width=290, elem_classes="tt-panel"):
                    name = gr.Dropdown(
                        names, value=names[0] if names else None, label="Steering", filterable=True
                    )
                    strength = gr.Slider(-1, 3, value=1, step=0.1, label="Strength")
                    question = gr.Textbox(
                        next(iter(examples(self._workplace)), ""), label="Question", lines=2
                    )
                    push = gr.Button("Show the pushes", variant="primary")
                    sweeping = gr.Button("Try all strengths")
                    gr.HTML(
                        f'<p class="tt-small">Seven strengths, each on {QUESTIONS} questions it never saw.</p>'
                    )
                with gr.Column(scale=9, min_width=320, elem_classes="tt-panel"):
                    pushed = gr.HTML(_EMPTY, elem_id="tt-pushed")
                    swept = gr.HTML("", elem_id="tt-swept")
        push.click(self.push, [name, strength, question], pushed, show_progress="hidden")
        sweeping.click(self.sweep, name, swept, show_progress="hidden")
        tab.select(self.renew, name, name, show_progress="hidden")

    def push(self, name: str, strength: float, question: str) -> Iterator[str]:
        """Answers, and shows what was pushed where."""
        yield cards.note("Answering, and reading what was pushed…")
        try:
            query = check_question(question)
            yield panels.pushed(pushes(self._workplace, query, self._workplace.steering(name) * strength))
        except TrimtabError as error:
            yield cards.note(str(error), "wrong")

    def sweep(self, name: str) -> Iterator[str]:
        """One strength after the other."""
        found: list[Strength] = []
        try:
            yield cards.note("Answering at one strength after the other…")
            for one in sweep(self._workplace, self._workplace.steering(name)):
                found.append(one)
                yield panels.swept(name, found)
        except TrimtabError as error:
            yield cards.note(str(error), "wrong")

    def renew(self, name: str | None) -> Any:
        """The list, with what was taught since."""
        names = self._workplace.library.names()
        return gr.Dropdown(choices=names, value=name if name in names else next(iter(names), None))

"""The tab that asks: a question, the list of instructions, and three answers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from trimtab.errors import TrimtabError
from trimtab.page import cards, sharing
from trimtab.page.asking import Asked, ask, examples
from trimtab.page.choosing import chosen
from trimtab.page.tabs.picker import options, picker

if TYPE_CHECKING:
    from trimtab.page.workplace import Workplace

_LEAD = (
    '<div class="tt-lead"><h2>Ask once, get three answers</h2><p>Choose what the answer shall be like. '
    "The model answers as it is, when it is told, and when it is steered: its inner state is nudged at every word, and "
    "nobody tells it anything.</p></div>"
)
_SHARE = '<div class="tt-actions"><button type="button" data-copy-address>Copy a link to this</button></div>'
_SHOWN: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}


class AskTab:
    """The tab, and what its controls do.

    Args:
        workplace: The model and its steerings.
        key: Whether the server asks for an API key.

    Attributes:
        choices: The list of instructions.
        question: The question.
    """

    choices: gr.HTML
    question: gr.Textbox

    def __init__(self, workplace: Workplace, *, key: bool) -> None:
        self._workplace = workplace
        self._key = key

    def add(self, blocks: gr.Blocks, tabs: gr.Tabs) -> None:
        """Adds the tab to the page that is being built."""
        with gr.Tab("Ask", id="ask") as tab:
            gr.HTML(_LEAD)
            tab.select(None, None, None, js="() => window.trimtabTab('ask')")
            with gr.Row(elem_classes="tt-ask"):
                with gr.Column(scale=4, min_width=290):
                    self.choices = picker(self._workplace)
                    with gr.Accordion("Load steerings", open=False, elem_classes="tt-load"):
                        place = gr.Textbox(
                            label="A folder, or owner/name on the Hub",
                            placeholder="./my-steering",
                            elem_id="tt-place",
                        )
                        load = gr.Button("Load", size="md")
                        upload = gr.UploadButton("Upload a zip", file_types=[".zip"], size="md")
                        loaded = gr.HTML("")
                with gr.Column(scale=9, min_width=320):
                    self.question = gr.Textbox(
                        label="Your question",
                        lines=2,
                        max_lines=6,
                        placeholder="Ask anything",
                        elem_id="tt-question",
                    )
                    with gr.Row(elem_classes="tt-examples"):
                        shown = [gr.Button(text, size="sm") for text in examples(self._workplace)]
                    with gr.Row(elem_classes="tt-go"):
                        go = gr.Button("Answer", variant="primary", elem_id="tt-answer")
                        gr.HTML(_SHARE)
                    message = gr.HTML("", elem_id="tt-message")
                    answers = gr.HTML(cards.answers(None), elem_id="tt-answers")
                    said = gr.HTML('<p class="tt-hidden" role="status"></p>', elem_id="tt-said")
                    with gr.Accordion("The same in Python, on the command line, by curl", open=False):
                        code = gr.HTML(self._code("", {}, None), elem_id="tt-code")
                    address = gr.Textbox(visible="hidden", label="Address")
                    before = gr.State(None)  # outside the tab it would count as one
        inputs = [self.question, self.choices, before]
        outputs = [answers, message, said, code, before, address]
        told: dict[str, Any] = {"js": "(state) => window.trimtabAddress(state)"}
        for event in (go.click, self.question.submit):
            event(self.ask, inputs, outputs, **_SHOWN).then(None, address, None, **told)
        for event in (self.choices.select, self.choices.release):
            event(self.again, inputs, outputs, **_SHOWN).then(None, address, None, **told)
        for button in shown:
            taken = button.click(lambda text: text, button, self.question, show_progress="hidden")
            taken.then(self.ask, inputs, outputs, **_SHOWN).then(None, address, None, **told)
        load.click(self.load, place, [loaded, self.choices], show_progress="minimal")
        upload.upload(self.upload, upload, [loaded, self.choices], show_progress="minimal")
        opened = [self.question, self.choices, message, tabs]
        shared = blocks.load(self.opened, None, opened, show_progress="hidden")
        shared.then(self.shared, inputs, outputs, **_SHOWN)

    def ask(
        self, question: str, picked: dict[str, Any], before: Asked | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answers, step by step."""
        code = state = gr.skip()
        asked = None
        try:
            choice = chosen(self._workplace, picked)
            state = sharing.State(question or "", choice.strengths).address()
            code = self._code(question, picked, request)
            hint = cards.note(choice.clash or "")
            for asked in ask(self._workplace, question, picked, before):
                yield cards.answers(asked), hint, gr.skip(), code, gr.skip(), state
        except TrimtabError as error:
            yield cards.answers(None), cards.note(str(error), "wrong"), gr.skip(), code, gr.skip(), state
            return
        if asked is not None:
            said = f'<p class="tt-hidden" role="status">{cards.said(asked)}</p>'
            yield cards.answers(asked), hint, said, code, asked, state

    def again(
        self, question: str, picked: dict[str, Any], before: Asked | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answers anew what was answered already, with another choice; else only the code follows."""
        if before is not None and before.question == (question or "").strip():
            yield from self.ask(question, picked, before, request)
            return
        try:
            choice = chosen(self._workplace, picked)
        except TrimtabError as error:
            yield gr.skip(), cards.note(str(error), "wrong"), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        state = sharing.State(question or "", choice.strengths).address()
        code = self._code(question, picked, request)
        yield gr.skip(), cards.note(choice.clash or ""), gr.skip(), code, gr.skip(), state

    def shared(
        self, question: str, picked: dict[str, Any], before: Asked | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answers what the address asks, if it asks anything."""
        if (question or "").strip():
            yield from self.ask(question, picked, before, request)
        else:
            yield (gr.skip(),) * 6

    def opened(self, request: gr.Request) -> tuple[Any, ...]:
        """What the address says, as the page is opened."""
        state = sharing.read(dict(request.query_params))
        choice = chosen(self._workplace, state.picked)
        missing = ", ".join(choice.missing)
        hint = f"The link names what is not here: {missing}. Teach or load it first." if missing else ""
        tab = gr.Tabs(selected=state.tab) if state.tab else gr.skip()
        return state.question or gr.skip(), dict(choice.strengths) or gr.skip(), cards.note(hint), tab

    def load(self, place: str) -> tuple[Any, ...]:
        """Adds the steerings of a folder or of the Hub to the list."""
        if not (place or "").strip():
            return cards.note("Name a folder, or owner/name on the Hub.", "wrong"), gr.skip()
        return self._added(lambda: self._workplace.load(place))

    def upload(self, path: str) -> tuple[Any, ...]:
        """Adds the steerings of a zip file to the list."""
        return self._added(lambda: self._workplace.load_zip(path))

    def _added(self, add: Callable[[], list[str]]) -> tuple[Any, ...]:
        try:
            names = add()
        except TrimtabError as error:
            return cards.note(str(error), "wrong"), gr.skip()
        return cards.note(f"In the list now: {', '.join(names)}."), gr.HTML(options=options(self._workplace))

    def _code(self, question: str | None, picked: dict[str, Any], request: gr.Request | None) -> str:
        choice = chosen(self._workplace, picked)
        there = set(self._workplace.library.names())
        strengths = {name: one for name, one in choice.strengths.items() if name in there}
        url = "http://127.0.0.1:8000" if request is None else str(request.base_url)
        shown = cards.code(sharing.snippets(self._workplace.name, question or "", strengths, url, self._key))
        return shown + cards.download(list(strengths), "Download these steerings (zip)")

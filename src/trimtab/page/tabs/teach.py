"""The tab that teaches: what to ask for, what will be asked, and how it is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from trimtab import prompts
from trimtab.errors import TrimtabError
from trimtab.instructions import InstructionType
from trimtab.page import cards, panels, sharing, teaching
from trimtab.page.tabs.picker import options

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.page.tabs.ask import AskTab
    from trimtab.page.workplace import Workplace

_LEAD = (
    '<div class="tt-lead"><h2>Teach it something new</h2><p>The model answers some questions while it is told what you '
    "ask for. Then a few small changes of its inner state are learned, until it answers so without being told.</p>"
    "</div>"
)
_CATALOGUE, _OWN = "From the catalogue", "In my own words"
_QUIET: dict[str, Any] = {"show_progress": "hidden"}


class TeachTab:
    """The tab, and what its controls do.

    Args:
        workplace: The model and its steerings.
        asking: The tab that asks, whose list gets what is taught.
    """

    def __init__(self, workplace: Workplace, asking: AskTab) -> None:
        self._workplace = workplace
        self._asking = asking

    def add(self, blocks: gr.Blocks, tabs: gr.Tabs) -> None:
        """Adds the tab to the page that is being built."""
        kinds = [(f"{kind.name}: {kind.summary}", kind.name) for kind in teaching.teachable()]
        with gr.Tab("Teach", id="teach") as tab:
            gr.HTML(_LEAD)
            tab.select(None, None, None, js="() => window.trimtabTab('teach')")
            with gr.Row():
                with gr.Column(scale=5, min_width=300, elem_classes="tt-panel"):
                    source = gr.Radio([_CATALOGUE, _OWN], value=_CATALOGUE, label="What to teach")
                    with gr.Column() as listed:
                        kind = gr.Dropdown(kinds, value="words", label="Instruction", filterable=True)
                        spelling = gr.Textbox(
                            _spelled("words"),
                            label="With its values",
                            info="Change the values in the brackets.",
                            elem_id="tt-spelling",
                        )
                    with gr.Column(visible=False) as own:
                        name = gr.Textbox("greeting", label="Name", info="Small letters, digits and _.")
                        phrases = gr.Textbox(
                            "Begin your answer with Hello.\nStart with the word Hello.",
                            label="How you would ask for it",
                            info="One way a line; three or more are better.",
                            lines=3,
                        )
                        pattern = gr.Textbox(
                            "^Hello", label="How to tell that it is followed", info="A regular expression."
                        )
                        ignore = gr.Checkbox(label="In small or capital letters")
                        sample = gr.Textbox("Hello, it is a bird.", label="Try it on an answer")
                        tried = gr.HTML(self.matches("^Hello", "Hello, it is a bird.", False))
                    wrong = gr.HTML("")
                    asked = gr.HTML(self._preview(_spelled("words")))
                    gr.HTML(f'<p class="tt-small">{teaching.EFFORT.in_words()}</p>')
                    with gr.Row():
                        go = gr.Button("Teach", variant="primary", elem_id="tt-teach")
                        cancel = gr.Button("Cancel", visible=False)
                        resume = gr.Button("Resume", visible=False)
                with gr.Column(scale=8, min_width=320, elem_classes="tt-panel"):
                    shown = gr.HTML(panels.work(self._workplace.job.picture), elem_id="tt-work")
                    use = gr.Button("Ask with it", visible=False)
                    with gr.Accordion("The same in Python and on the command line", open=False):
                        code = gr.HTML(self._code(_spelled("words")))
            timer = gr.Timer(1.0, active=False)
        form = [source, spelling, name, phrases, pattern, ignore]
        state = [shown, timer, cancel, resume, use, self._asking.choices]
        source.change(_forms, source, [listed, own], **_QUIET)
        kind.change(_spelled, kind, spelling, **_QUIET)
        for control in (source, spelling, phrases):
            control.change(self.look, form, [asked, code], **_QUIET)
        for one in (pattern, sample, ignore):
            one.change(self.matches, [pattern, sample, ignore], tried, **_QUIET)
        go.click(self.teach, form, [wrong, *state], **_QUIET)
        cancel.click(self.cancel, None, state, **_QUIET)
        resume.click(self.resume, None, state, **_QUIET)
        timer.tick(self.picture, None, state, **_QUIET)
        blocks.load(self.picture, None, state, **_QUIET)
        use.click(self.use, None, [self._asking.choices, tabs], **_QUIET)

    def matches(self, pattern: str, sample: str, ignore: bool) -> str:
        """What a regular expression says of an answer."""
        return cards.note(teaching.matches(pattern, sample, ignore_case=bool(ignore)))

    def look(
        self, source: str, spelling: str, name: str, phrases: str, pattern: str, ignore: bool
    ) -> tuple[str, str]:
        """Some prompts, and the same in code, as the form is filled in."""
        if source == _CATALOGUE:
            return self._preview(spelling), self._code(spelling)
        lines = [line.strip() for line in phrases.splitlines() if line.strip()]
        queries = _questions(self._workplace)
        shown = (
            [f"{query} {lines[number % len(lines)]}" for number, query in enumerate(queries)] if lines else []
        )
        return panels.asked(shown), cards.note("The code is here once it is taught.")

    def teach(
        self, source: str, spelling: str, name: str, phrases: str, pattern: str, ignore: bool
    ) -> tuple[Any, ...]:
        """Begins."""
        try:
            one: Instruction
            if source == _CATALOGUE:
                one = teaching.catalogued(spelling)
            else:
                one = teaching.own_instruction(
                    self._workplace, name, phrases, pattern, ignore_case=bool(ignore)
                )
            teaching.teach(self._workplace, self._workplace.job, one, teaching.EFFORT)
        except TrimtabError as error:
            return (cards.note(str(error), "wrong"), *self.picture())
        return ("", *self.picture())

    def cancel(self) -> tuple[Any, ...]:
        """Has it end; what is learned so far is kept to go on from."""
        self._workplace.job.cancel()
        return self.picture()

    def resume(self) -> tuple[Any, ...]:
        """Goes on."""
        self._workplace.job.resume()
        return self.picture()

    def picture(self) -> tuple[Any, ...]:
        """How it stands, for the panel, the timer, the buttons and the list."""
        found = self._workplace.job.now()
        listed = gr.HTML(options=options(self._workplace)) if found.state == "done" else gr.skip()
        return (
            panels.work(found),
            gr.Timer(active=found.is_running),
            gr.Button(visible=found.state == "working"),
            gr.Button(visible=found.state in ("cancelled", "failed")),
            gr.Button(visible=bool(found.made)),
            listed,
        )

    def use(self) -> tuple[Any, ...]:
        """To the tab that asks, with what was taught chosen."""
        return {self._workplace.job.picture.made: 1.0}, gr.Tabs(selected="ask")

    def _preview(self, spelling: str) -> str:
        try:
            return panels.asked(teaching.preview(self._workplace, teaching.catalogued(spelling)))
        except TrimtabError as error:
            return cards.note(str(error), "wrong")

    def _code(self, spelling: str) -> str:
        try:
            one = teaching.catalogued(spelling)
        except TrimtabError:
            return ""
        name = teaching.name_for(self._workplace, one)
        return cards.code(sharing.taught_snippets(self._workplace.name, one.label, name))


def _questions(workplace: Workplace) -> list[str]:
    return prompts.default_queries(workplace.engine.identity, "learning", teaching.SHOWN)


def _spelled(name: str) -> str:
    """The spelling of an instruction with its example's values."""
    found: list[InstructionType] = [kind for kind in teaching.teachable() if kind.name == name]
    return found[0](**found[0].example).label if found else name


def _forms(source: str) -> tuple[Any, Any]:
    """Which of the two forms is shown."""
    return gr.Column(visible=source == _CATALOGUE), gr.Column(visible=source == _OWN)

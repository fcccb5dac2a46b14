"""Answers, verdicts and messages as HTML: escaped, labelled, and readable without colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from trimtab.page.asking import WAYS

if TYPE_CHECKING:
    from trimtab.page.asking import Answer, Asked, Way
    from trimtab.page.checking import Span, Verdict
    from trimtab.page.sharing import Snippets

_TITLES: dict[Way, tuple[str, str]] = {
    "without": ("Without", "Only the question."),
    "told": ("Told", "The instruction stands in the prompt."),
    "steered": ("Steered", "Only the question; the model is steered inside."),
}


def answers(asked: Asked | None) -> str:
    """The three cards, filled as far as they are written."""
    cards = "".join(
        _card(way, None if asked is None else asked.answers[number]) for number, way in enumerate(WAYS)
    )
    return f'<div class="tt-answers" aria-busy="{"false" if asked is None or asked.ended else "true"}">{cards}</div>'


def _card(way: Way, answer: Answer | None) -> str:
    title, hint = _TITLES[way]
    if answer is None:
        body = '<p class="tt-empty">The answer will stand here.</p>'
    elif answer.note:
        body = f'<p class="tt-empty">{escape(answer.note)}</p>'
    else:
        spans = [span for one in answer.verdicts for span in one.places]
        caret = "" if answer.ended else '<span class="tt-caret" aria-hidden="true"></span>'
        body = f'<p class="tt-text">{marked(answer.text, spans)}{caret}</p>'
        if answer.cut:
            body += '<p class="tt-small">Cut off here: this is the longest answer the page asks for.</p>'
        if way == "told" and answer.prompt:
            prompt = f"<summary>What it was told</summary><p>{escape(answer.prompt)}</p>"
            body += f'<details class="tt-prompt">{prompt}</details>'
        body += verdict_list(answer.verdicts)
    return (
        f'<section class="tt-card tt-{way}" aria-labelledby="tt-{way}"><h3 id="tt-{way}">{title}</h3>'
        f'<p class="tt-hint">{hint}</p>{body}</section>'
    )


def verdict_list(found: Sequence[Verdict]) -> str:
    """What the checks say, a line each; nothing for none."""
    if not found:
        return ""
    signs = {
        True: ("yes", "✓", "Followed"),
        False: ("no", "✕", "Not followed"),
        None: ("open", "?", "Not decided"),
    }
    lines = []
    for one in found:
        kind, sign, word = signs[one.followed]
        why = f" <span>{escape(one.why)}</span>" if one.why else ""
        lines.append(
            f'<li class="tt-{kind}"><span class="tt-sign" aria-hidden="true">{sign}</span>'
            f"<div><b>{word}:</b> {escape(one.asked)}{why}</div></li>"
        )
    return f'<ul class="tt-verdicts">{"".join(lines)}</ul>'


def marked(text: str, spans: Sequence[Span]) -> str:
    """A text with parts of it marked."""
    parts, place = [], 0
    for start, end in _joined(spans):
        parts.append(escape(text[place:start]))
        parts.append(f"<mark>{escape(text[start:end])}</mark>")
        place = end
    return "".join([*parts, escape(text[place:])])


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def said(asked: Asked) -> str:
    """What a screen reader says when all answers are there."""
    parts = []
    for one in asked.answers:
        if one.note or not one.verdicts:
            continue
        states = {one.followed for one in one.verdicts}
        state = "not followed" if False in states else "followed" if states == {True} else "not decided"
        parts.append(f"{_TITLES[one.way][0]}: {state}")
    return "The answers are there. " + ". ".join(parts)


def note(text: str, kind: str = "note") -> str:
    """A message: a `note`, or something `wrong`; nothing for an empty text."""
    if not text:
        return ""
    role = "alert" if kind == "wrong" else "status"
    return f'<p class="tt-note tt-{kind}" role="{role}">{escape(text)}</p>'


def code(shown: Snippets) -> str:
    """The same in code, three times, each with a button that copies it."""
    parts = [("Python", shown.python), ("Command line", shown.command), ("curl", shown.curl)]
    blocks = "".join(
        f'<div class="tt-code"><div class="tt-code-head"><h4>{name}</h4>'
        f'<button type="button" data-copy aria-label="Copy {name}">Copy</button></div>'
        f'<pre tabindex="0" role="region" aria-label="{name}"><code>{escape(text)}</code></pre></div>'
        for name, text in parts
        if text
    )
    return f'<div class="tt-codes">{blocks}</div>'


def download(names: Sequence[str], words: str = "Download") -> str:
    """A link to the zip file of some steerings; nothing for none."""
    if not names:
        return ""
    address = urlencode([("name", name) for name in names])
    return f'<a class="tt-link" href="download?{escape(address)}" download>{escape(words)}</a>'

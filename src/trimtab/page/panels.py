"""What is learned, measured and read, as HTML with charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from trimtab.page import charts
from trimtab.page.cards import download, note

if TYPE_CHECKING:
    from trimtab.page.composing import Together
    from trimtab.page.looking import Pushes, Strength
    from trimtab.page.working import Picture


def asked(prompts: Sequence[str]) -> str:
    """Some prompts that the model will be given."""
    lines = "".join(f"<li>{escape(prompt)}</li>" for prompt in prompts)
    return (
        f'<div class="tt-asked"><h3>What it will ask, for example</h3><ul>{lines}</ul></div>' if lines else ""
    )


def work(picture: Picture) -> str:
    """How work in the background stands: what is done, the curves, and what came of it."""
    if picture.state == "idle":
        return '<p class="tt-empty">Nothing is being learned. What is, can be watched here.</p>'
    words = {
        "working": "under way",
        "cancelling": "ending",
        "cancelled": "cancelled",
        "done": "done",
        "failed": "did not work",
    }[picture.state]
    title = f'{escape(picture.title)} <span class="tt-state tt-is-{picture.state}">{words}</span>'
    parts = [f"<h3>{title}</h3>", f'<p class="tt-small">{picture.seconds:.0f} seconds so far</p>']
    if picture.is_running:
        label = escape(picture.stage or "beginning")
        value = f' value="{picture.done}" max="{picture.of}"' if picture.of else ""
        count = f", {picture.done} of {picture.of}" if picture.of else ""
        count += f", {escape(picture.note)}" if picture.note else ""
        parts.append(f'<label class="tt-progress">{label}{count}<progress{value}></progress></label>')
    if picture.message:
        kind = "wrong" if picture.state == "failed" else "note"
        parts.append(note(picture.message, kind))
    if picture.loss or picture.followed:
        end = float(picture.of or 0) if picture.is_running and picture.stage.find("learning") >= 0 else None
        loss = charts.curves(
            "Loss",
            [charts.Curve("loss", picture.loss, "told")],
            across="step",
            up="how far it is from its teacher, nats per token",
            right=end,
        )
        followed = charts.curves(
            "Followed",
            [charts.Curve("followed", picture.followed, "steered")],
            across="step",
            up="share of answers to new questions",
            top=1.0,
            right=end or (picture.loss[-1][0] if picture.loss else None),
        )
        parts.append(f'<div class="tt-two">{loss}{followed}</div>')
    if picture.made:
        parts.append(
            f'<p class="tt-made">It is in the list now, as <b>{escape(picture.made)}</b>. '
            f"{download([picture.made], 'Download it (zip)')}</p>"
        )
    return f'<div class="tt-stack">{"".join(parts)}</div>'


def together(found: Together | None) -> str:
    """A table of how often two steerings are followed, alone and at once."""
    if found is None:
        return '<p class="tt-empty">Choose two steerings, and try them together.</p>'
    one, other = found.names
    rows = []
    for name, title in (("", "no steering"), (one, one), (other, other), (found.both, "both at once")):
        shares = found.shares.get(name)
        cells = "".join(
            f"<td>{'…' if shares is None else f'{share:.0%}'}</td>" for share in shares or (0, 0, 0)
        )
        rows.append(f'<tr><th scope="row">{escape(title)}</th>{cells}</tr>')
    head = "".join(
        f'<th scope="col">{escape(title)}</th>'
        for title in ("steered by", *(f"follows {one.label}" for one in found.asked), "follows both")
    )
    return (
        f'<table class="tt-table"><caption class="tt-hidden">Share of answers that follow</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note(found.verdict())}"
    )


def swept(title: str, found: Sequence[Strength]) -> str:
    """Strength against followed, and against the quality of the answers."""
    followed = [(one.strength, one.followed) for one in found if one.followed is not None]
    perplexity = [(one.strength, one.perplexity) for one in found if one.perplexity is not None]
    first = charts.curves(
        f"{title}: followed",
        [
            charts.Curve("followed", followed, "steered"),
            charts.Curve("repeated", [(one.strength, one.repetition) for one in found], "without"),
        ],
        across="strength",
        up="share of answers that follow, of four words in a row that repeat",
        top=1.0,
    )
    second = charts.curves(
        f"{title}: how unusual the answers are",
        [charts.Curve("perplexity", perplexity, "quality")],
        across="strength",
        up="perplexity under the model as it is",
    )
    return f'<div class="tt-two">{first}{second}</div>'


def pushed(found: Pushes) -> str:
    """A heat strip over the answer's tokens, and a bar for each block."""
    strip = charts.strip(
        "What each word was pushed by",
        list(zip(found.pieces, found.by_token, strict=True)),
        "push, relative to the inner state",
    )
    rows = [
        (f"block {number}", value, f"{value:.2f}" if value else "no edit")
        for number, value in enumerate(found.by_block)
    ]
    bars = charts.bars(
        "Where in the depth", rows, unit="mean push over the answer; the model computes from the top down"
    )
    return f'<div class="tt-stack">{strip}{bars}</div>'

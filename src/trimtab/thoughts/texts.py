"""The answer in a text of a model of which nothing is known, by any of trimtab's own marks."""

from __future__ import annotations

from trimtab.thoughts.formats import own_marks


def answer_of(text: str) -> str | None:
    """What stands behind a thought, whose opening mark may be lacking: chat templates write it.

    Returns:
        The text behind the first closing mark; the text itself without a thought; None where the thought has no end.
    """
    begins = text.lstrip()
    for opening, closing in own_marks():
        if closing in text:
            return text.split(closing, 1)[1].lstrip()
        if begins and (begins.startswith(opening) or opening.startswith(begins)):
            return None
    return text

"""How long an answer may be: words, sentences, paragraphs."""

from __future__ import annotations

import math

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import ANY, INK, answer, literal, spelled

# So many words before the most allowed, no new sentence begins.
ROOM = 20


def words(low: float, high: float) -> Constraint:
    """From `low` to `high` of IFEval's words: runs of what the package regex calls word characters, as Rust does."""
    low = max(1, int(low))
    if high == math.inf:
        return answer(rf"\W*(\w+\W+){{{low - 1}}}\w{ANY}", exact=True)
    free = int(high) if high <= low else max(low, int(high) - ROOM, int(high) // 2)
    end = r"[^\w\n]{0,6}\n?"
    few = rf"\W*(\w+\W+){{{low - 1},{free - 1}}}\w+{end}"
    if free < high:
        # From here on no line break between words, and no mark with white space behind it.
        few = rf"{few}|\W*(\w+\W+){{{free - 1}}}\w+(([^\w\n.!?]+|\.)\w+){{1,{int(high) - free}}}{end}"
    return answer(few, exact=True)


# A mark inside a sentence has a letter, a digit or the like directly after it: 3.14, example.com.
_INSIDE = r"([^.!?\n]|\.[\w,\-\/%$&+=_])*[^.!?\s\x1c-\x1f]([^.!?\n]|\.[\w,\-\/%$&+=_])*"
_END = r"(\.{3}|[.!?])[\"')\]]{0,3}"
_BREAK = r"([ ]|\n{1,2}[ \t]{0,4})"


def sentences(low: float, high: float) -> Constraint:
    """From `low` to `high` sentences.

    For the most there may be, every mark before white space ends one, as after an abbreviation; for the least, a mark
    after five letters does.
    """
    low = max(1, int(low))
    least = rf"({ANY}[A-Za-z]{{5}}[.!?]\s{{1,2}}){{{low - 1}}}[\p{{L}}\p{{N}}]{ANY}"
    if high == math.inf:
        return answer(least, exact=True)
    most = rf"({_INSIDE}{_END}{_BREAK}){{0,{int(high) - 1}}}{_INSIDE}({_END})?\n?"
    return answer(most, exact=True) if low == 1 else answer(most, least, exact=True)


def divided_paragraphs(count: int, divider: str) -> Constraint:
    """So many texts, with the divider on a line of its own between them."""
    mark = literal(divider)
    text = r"([^*]|\*{1,2}[^*])*"
    one = rf"{text}([^*\s\x1c-\x1f]){text}"
    return answer(rf"{one}(\n{{1,2}}{mark}\n{{1,2}}{one}){{{count - 1}}}\n?", exact=True)


def paragraph_with_first_word(count: int, place: int, word: str) -> Constraint | None:
    """So many blocks of lines with one blank line between each two, of which one starts with a word."""
    if word.split() != [word.strip()] or word.strip()[0] in "'\"":
        return None
    line = rf"[^\n]*{INK}[^\n]*"
    block = rf"{line}(\n{line})*"
    starting = rf"{spelled(word.strip())}([.,?!'\" ][^\n]*)?(\n{line})*"
    blocks = [starting if number == place else block for number in range(1, count + 1)]
    return answer(r"\n\n".join(blocks) + r"\n?", exact=True)

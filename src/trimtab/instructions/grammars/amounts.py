"""How many words and paragraphs an answer may have for our own types, as `instructions.wordcount` counts them."""

from __future__ import annotations

import math

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.length import ROOM
from trimtab.instructions.grammars.pieces import ANY, SPACE, answer
from trimtab.instructions.occurrence import UNSPACED
from trimtab.instructions.wordcount import FRACTIONS

_OTHER = rf"[{UNSPACED}]"
# The box of a number in one makes an emoji of it.
_LETTER = rf"[[\w&&[^_\u20E3{UNSPACED}]]{FRACTIONS}]"
# Between two words where there may be fewer: whatever is no word. A letter of a script without blanks is one itself.
_APART = rf"[\W_&&[^{UNSPACED}{FRACTIONS}]]"
_APART_IN_SENTENCE = rf"[\W_&&[^{UNSPACED}{FRACTIONS}\n.!?]]"
_END = rf"[\W_&&[^{UNSPACED}{FRACTIONS}\n]]{{0,6}}\n?"
# Where there may not be fewer: words between blanks, of one piece, and no number as before an item of a list.
_NUMBER = r"([\p{Nd}]{4,}|[\p{Nd}]{1,3}([.,][\p{Nd}]{1,3})*)"
_BEFORE, _BEHIND = r"[\"'“‘*_]{0,3}", r"[\"'”’*_,;:!?]{0,4}"
_NAME = rf"[\p{{L}}&&[^{UNSPACED}]][\p{{L}}\p{{M}}\p{{Nd}}&&[^{UNSPACED}]]*"
_SOLID = rf"{_BEFORE}(({_NAME}(['’\-]{_NAME})*)[.]?|{_NUMBER}){_BEHIND}"
_BLANK = r"([ ]|\n{1,2}([*\-#]{1,3} )?)"
# At least a word: what has a letter between blanks and is in no tag, code, link or entity.
_INK = r"[^\s\x1c-\x1f<>\[\]()`~&\p{L}]"
_WORD = rf"{_INK}*\p{{L}}({_INK}|\p{{L}})*"
_BLANKS = rf"{SPACE}+({_INK}+{SPACE}+)?"


def words(low: float, high: float) -> Constraint:
    """From `low` to `high` words, at least one."""
    low = max(1, int(low))
    if high == math.inf:
        return answer(rf"{SPACE}*({_WORD}{_BLANKS}){{{low - 1}}}{_WORD}({SPACE}{ANY})?", exact=True)
    free = int(high) if high <= low else max(low, int(high) - ROOM, int(high) // 2)
    left = int(high) - free
    if low > 1:
        few = rf"({_SOLID}{_BLANK}){{{low - 1},{free - 1}}}{_SOLID}[.]?\n?"
        inside = rf"{_BEFORE}({_NAME}(['’\-]{_NAME})*|{_NUMBER})[\"'”’*_,;:]{{0,4}}[ ]"
        near = rf"({_SOLID}{_BLANK}){{{free - 1}}}({inside}){{1,{left}}}{_SOLID}[.]?\n?"
        return answer(f"{few}|{near}" if left else few, exact=True)
    start = rf"{_APART}*({_LETTER}+{_APART}+|{_OTHER}{_APART}*){{0,{free - 1}}}"
    last = rf"({_LETTER}+|{_OTHER})"
    few = rf"{start}{last}{_END}"
    if left:
        # From here on no line break between words, and no mark with white space behind it.
        rest = rf"(({_APART_IN_SENTENCE}+|\.){_LETTER}+|{_APART_IN_SENTENCE}*{_OTHER}){{1,{left}}}"
        few = rf"{few}|{start}{last}{rest}{_END}"
    return answer(few, exact=True)


def paragraphs(low: float, high: float) -> Constraint:
    """From `low` to `high` blocks of lines, each starting with a letter after a mark or two, parted by blank lines."""
    line = r"[^\n\r\x0b\x0c\x85\u2028\u2029]*"
    # No heading, no line that underlines one, and none that is blank but for what is not seen.
    first = rf"[ ]{{0,3}}[!-~&&[^`~#<>&\[\p{{L}}\p{{N}}]]{{0,3}}[ ]?[\p{{L}}\p{{N}}]{line}"
    block = rf"{first}(\n[ ]{{0,3}}([!-~\p{{L}}\p{{N}}&&[^`~<>&=\-]]|-[ ]){line})*"
    parted = r"\n[ \t]{0,8}\n([ \t]{0,8}\n)?"
    low = max(1, int(low))
    more = "" if high == math.inf else str(int(high) - 1)
    return answer(rf"\n{{0,2}}{block}({parted}{block}){{{low - 1},{more}}}\n?", exact=True)

"""How many sentences an answer may have, as `trimtab.instructions.sentences` counts them."""

from __future__ import annotations

import math

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import answer
from trimtab.instructions.lexicon import LONG_WORD

# Marks that can end a sentence without white space behind them, and the line ends that are no line feed.
_ALONE = r"。！？｡．।॥؟۔\u{589}\u{1362}\u{1367}\u{1368}\u{104b}\u{17d4}\u{17d5}\u{f0d}\u{f0e}\u{1803}\u{1c7e}\u{1c7f}"
_LINE_ENDS = r"\n\r\x0b\x0c\x1c-\x1e\u{85}\u{2028}\u{2029}"
_ENDING = rf"<.!?\u{{2026}}\u{{203c}}\u{{2047}}-\u{{2049}};\u{{37e}}|{_ALONE}{_LINE_ENDS}"
_SMILES = (
    r"\u{a9}\u{ae}\u{200d}\u{fe0f}\u{2100}-\u{214f}\u{2190}-\u{2bff}"
    r"\u{3030}\u{303d}\u{3297}\u{3299}\u{1f000}-\u{1faff}"
)
_FREE = rf"[^{_ENDING}{_SMILES}:]"
# A mark inside a sentence has a letter, a digit or the like directly after it: 3.14, example.com. A colon with a
# bracket behind it is a smile, and that can end a sentence; so can a capital that starts a word.
_INSIDE = rf"({_FREE}|[A-Z ](\.[A-Z])+|\.[a-z0-9,\-\/%&+=_]|:[ \"'*0-9\[{{a-z])"
_LETTER = r"[\p{L}\p{N}]"
_CLOSING = r"[\"'\u{2019}\u{201d}\u{bb})\]*_」』）]{0,3}"
_END = rf"[.!?]{{1,3}}{_CLOSING}([ ]|\n{{1,2}}[ \t]{{0,4}})"
_END_ALONE = rf"[{_ALONE}]{_CLOSING}\n{{0,2}}[ ]?"
_LAST = rf"([.!?]{{1,3}}|[{_ALONE}]){_CLOSING}"

# Nothing that takes text out of the count: code, tables, headings and what underlines them, tags, images, formulas. A
# title inside of a sentence has marks that end none, so quotation marks stand in pairs that count for none, and
# emphasis and single quotation marks are left out.
_TAKES_OUT = r"`~|<#\n=!$\\*_'\"\u{ab}\u{201c}\u{201e}\u{300a}\u{3008}"
_QUOTED = r"[^`~|<#\n=!$\\*_\"\u{ab}\u{bb}\u{201c}-\u{201f}\u{300a}\u{3008}]"
_SPEECH = rf"(\"[^ `~|<#\n=!$\\*_\"]({_QUOTED}*[^ `~|<#\n=!$\\*_\"])?\"|\u{{201c}}{_QUOTED}*\u{{201d}})"
_PROSE = rf"([^{_TAKES_OUT}]|[A-Za-z]'|{_SPEECH}|![^\[{_TAKES_OUT}]|\n[^{_TAKES_OUT}\-]|\n-[ ])"
# A last word that is no abbreviation, or no name with a mark such as Yahoo!, and a capital after it.
_ENDED = rf"({LONG_WORD}\.|[A-Za-z]([A-Za-z]\?|[bd-lnp-xzBD-LNP-XZ]!))\s{{1,2}}"


def sentences(low: float, high: float) -> Constraint:
    """From `low` to `high` sentences.

    For the most there may be, every mark before white space ends one, as after an abbreviation; for the least, one
    does after a word of at least five letters and before a capital.
    """
    patterns = []
    if high != math.inf:
        sentence = rf"{_INSIDE}*{_LETTER}{_INSIDE}*"
        patterns.append(rf"({sentence}({_END}|{_END_ALONE})){{0,{int(high) - 1}}}{sentence}({_LAST})?\n?")
    if low >= 1:
        begun = r"[^\p{L}`~|<#&\n]{0,6}\p{L}"
        if low > 1:
            patterns.append(rf"{begun}({_PROSE}*{_ENDED}[A-Z]){{{int(low) - 1}}}{_PROSE}*")
        else:
            patterns.append(rf"{begun}(?s:.*)" if patterns else rf"{begun}{_PROSE}*")
    return answer(*patterns, exact=True)

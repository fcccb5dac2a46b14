"""How many words and paragraphs a person would count in a text."""

from __future__ import annotations

import math

import regex

from trimtab.instructions.demands import Range
from trimtab.instructions.occurrence import UNSPACED
from trimtab.instructions.text import FENCE, plain, unescaped, unmarked

# The boxes and the numbers of a list, tags, and where a link leads to are no words.
_BOXES = regex.compile(
    r"^([ \t]*(?:[-*+\u2022]|\(?\p{Nd}{1,3}[.)])[ \t]+)\[[ xX]\](?=[ \t])", regex.MULTILINE
)
_NUMBERS = regex.compile(r"^[ \t>]*\(?\p{Nd}{1,3}[.)](?=[ \t])", regex.MULTILINE)
_TARGETS = regex.compile(r"(?<=\])\([^()\s]*\)")
_TAGS = regex.compile(r"</?[A-Za-z][A-Za-z0-9]*\s*/?>")
# What parts words even without a blank, but for the comma and the dash inside of 1,000 and 2010–15.
_PARTING = regex.compile(
    r"[\s;!?()\[\]{}\"“”„«»|<>=+&\\…—―、。，；：！？「」『』（）・·]+|(?<!\p{Nd}),|,(?!\p{Nd})|(?<!\p{Nd})–|–(?!\p{Nd})|--+|\.{2,}"
)
_WORD = regex.compile(r"[\p{Alphabetic}\p{Nd}]")
_UNSPACED_LETTERS = regex.compile(rf"[{UNSPACED}](?:\p{{M}})*")
# Letters per word in scripts that do not part words: the most and the fewest on average over a text of some length.
_PER_WORD = (
    (regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}]"), 2.8, 1.2),
    (regex.compile(r"[\p{Script=Han}\p{Script=Bopomofo}\p{Script=Yi}]"), 2.2, 1.2),
    (regex.compile(rf"[{UNSPACED}]"), 5.0, 1.8),
)
_SOME_LENGTH = 12
# One word may be longer.
_LONGEST = 9
_RULE = regex.compile(r"[^\p{L}\p{N}\p{S}]*")


def count_words(text: str) -> Range:
    """The fewest and the most words that there can be said to be; they are one number where blanks part words.

    A word is what stands between blanks or marks and has a letter or digit: don't, well-known and 3.14 are one each. In
    scripts without blanks the letters tell about how many words they make.
    """
    seen = _NUMBERS.sub("", _BOXES.sub(r"\1", FENCE.sub("", unmarked(plain(text)))))
    seen = unescaped(_TAGS.sub(" ", _TARGETS.sub(" ", seen)))
    words = pieces = 0
    unparted = ""
    for piece in _PARTING.split(seen):
        letters = _UNSPACED_LETTERS.findall(piece)
        unparted += "".join(letters)
        pieces += bool(letters)
        words += sum(
            bool(_WORD.search(part)) for part in (_UNSPACED_LETTERS.split(piece) if letters else [piece])
        )
    fewest, most = _unparted_words(unparted)
    return words + max(fewest, pieces), words + max(most, pieces)


def _unparted_words(letters: str) -> tuple[int, int]:
    """The fewest and the most words of letters between which there are no blanks."""
    count = len(_UNSPACED_LETTERS.findall(letters))
    if count < _SOME_LENGTH:
        return math.ceil(count / _LONGEST), count
    high, low = next((high, low) for script, high, low in _PER_WORD if script.search(letters))
    return math.ceil(count / high), math.floor(count / low)


def count_paragraphs(text: str) -> int:
    """The number of blocks of text between blank lines; a block of code is one, and a rule across the page is none."""
    count, inside, opened = 0, False, ""
    for line in plain(text).split("\n"):
        fence = FENCE.match(line)
        if opened:
            if fence and fence[1].startswith(opened) and not fence[2].strip():
                opened = ""
        elif fence and not (fence[1][0] == "`" and "`" in fence[2]):
            opened = fence[1]
            count, inside = count + (not inside), True
        elif not unescaped(_TAGS.sub("", line)).strip():  # &nbsp; or <br> alone is a blank line too
            inside = False
        elif not inside and not _RULE.fullmatch(line):
            count, inside = count + 1, True
    return count

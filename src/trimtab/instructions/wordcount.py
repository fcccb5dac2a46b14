"""How many words and paragraphs a person would count in a text."""

from __future__ import annotations

import math

import regex

from trimtab.instructions.demands import Range
from trimtab.instructions.occurrence import UNSPACED
from trimtab.instructions.prose import HEADING, underlined
from trimtab.instructions.text import ADDRESS, FENCE, GERSHAYIM, plain, unescaped, unmarked, untagged

# The boxes and the numbers of a list, tags, and where a link leads to are no words.
_BOXES = regex.compile(
    r"^([ \t]*(?:[-*+\u2022]|\(?\p{Nd}{1,3}[.)])[ \t]+)\[[ xX]\](?=[ \t])", regex.MULTILINE
)
_NUMBERS = regex.compile(r"^[ \t>]*\(?\p{Nd}{1,3}[.)](?=[ \t])", regex.MULTILINE)
_TARGETS = regex.compile(r"(?<=\])\([^()\s]*(?:\s+(?:\"[^\"]*\"|'[^']*'))?\)")
_NOTES = regex.compile(r"\[\^[^\]\s]+\]:?")
_COMMENTS = regex.compile(r"<!--.*?-->", regex.DOTALL)
_COMMENT = regex.compile(r"\s*<!--")
# Where a link leads to, told on a line of its own, and the names by which links refer to it.
_DEFINITION = regex.compile(
    r"^[ ]{0,3}\[(?!\^)[^\]\n]+\]:[ \t]*<?(?:https?://|www\.|mailto:|[./#])\S+"
    r"(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*$",
    regex.MULTILINE,
)
_REFERENCES = regex.compile(r"(?<=\])\[[^\]\n]*\]")
# Numbers in boxes are an emoji each.
_KEYCAPS = regex.compile(r"(?<![\p{L}\p{M}\p{Nd}])\p{Nd}\u20e3")
# What parts words even without a blank, but for the comma and the dash inside of 1,000 and 2010–15.
_PARTING = regex.compile(
    r"[\s;!?()\[\]{}\"“”„«»|<>=+\\…—―、。，；：！？「」『』（）・·،؛؟।॥\u0589\u1361-\u1368]+"
    r"|(?<!\p{Nd}),|,(?!\p{Nd})|(?<!\p{Nd})–|–(?!\p{Nd})|--+|\.{2,}|(?<!\p{L})&|&(?!\p{L})"
)
FRACTIONS = "¼-¾⅐-⅞↉"
"""Characters that are numbers by themselves, as they stand in a class."""
_WORD = regex.compile(rf"[\p{{Alphabetic}}\p{{Nd}}{FRACTIONS}]")
_UNSPACED_LETTERS = regex.compile(rf"[{UNSPACED}](?:\p{{M}})*")
# Letters per word in scripts that do not part words: the most and the fewest on average over a text of some length.
_PER_WORD = (
    (regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}]"), 2.8, 1.2),
    (regex.compile(r"[\p{Script=Han}\p{Script=Bopomofo}\p{Script=Yi}]"), 2.2, 1.2),
    (regex.compile(rf"[{UNSPACED}]"), 5.0, 1.8),
)
# Tibetan parts syllables, of which a word has one or some.
_SYLLABLE = regex.compile(r"[\p{Script=Tibetan}&&[\p{L}\p{M}\p{Nd}]]+", regex.VERSION1)
_SYLLABLES = 2.5
_SOME_LENGTH = 12
# One word may be longer.
_LONGEST = 9
_RULE = regex.compile(r"[^\p{L}\p{N}\p{S}]*")


def count_words(text: str) -> Range:
    """The fewest and the most words that there can be said to be; they are one number where blanks part words.

    A word is what stands between blanks or marks and has a letter or digit: don't, well-known and 3.14 are one each. In
    scripts without blanks the letters tell about how many words they make.
    """
    # One word stands for each address.
    seen = _KEYCAPS.sub(" ", _COMMENTS.sub("", plain(text)))
    if _DEFINITION.search(seen):
        seen = _REFERENCES.sub("", _DEFINITION.sub("", seen))
    seen = _NOTES.sub(" ", ADDRESS.sub("a.b", seen))
    seen = _NUMBERS.sub("", _BOXES.sub(r"\1", FENCE.sub("", unmarked(seen))))
    seen = GERSHAYIM.sub("״", unescaped(untagged(_TARGETS.sub(" ", seen))))
    words = pieces = syllables = 0
    unparted = ""
    for piece in _PARTING.split(seen):
        if found := len(_SYLLABLE.findall(piece)):
            pieces, syllables = pieces + 1, syllables + found
            continue
        letters = _UNSPACED_LETTERS.findall(piece)
        unparted += "".join(letters)
        pieces += bool(letters)
        words += sum(
            bool(_WORD.search(part)) for part in (_UNSPACED_LETTERS.split(piece) if letters else [piece])
        )
    fewest, most = _unparted_words(unparted)
    fewest, most = fewest + math.ceil(syllables / _SYLLABLES), most + syllables
    return words + max(fewest, pieces), words + max(most, pieces)


def _unparted_words(letters: str) -> tuple[int, int]:
    """The fewest and the most words of letters between which there are no blanks."""
    count = len(_UNSPACED_LETTERS.findall(letters))
    if count < _SOME_LENGTH:
        return math.ceil(count / _LONGEST), count
    high, low = next((high, low) for script, high, low in _PER_WORD if script.search(letters))
    return math.ceil(count / high), math.floor(count / low)


def count_paragraphs(text: str) -> int:
    """The number of blocks of text between blank lines.

    A block of code is one; a rule across the page, a heading and what is not shown are none.
    """
    count = 0
    block: list[str] = []
    opened, hidden = "", False
    for line in plain(text).split("\n"):
        fence = FENCE.match(line)
        if hidden or (not opened and not block and _COMMENT.match(line)):
            hidden = "-->" not in line
        elif opened:
            if fence and fence[1].startswith(opened) and not fence[2].strip():
                opened = ""
        elif fence and not (fence[1][0] == "`" and "`" in fence[2]):
            opened = fence[1]
            count += not block
            block.append(line)
        elif not unescaped(untagged(line)).replace(">", " ").strip():  # &nbsp;, <br> or > alone is blank too
            block = []
        elif underlined(block, line):
            count, block = count - 1, []
        elif block or not any(unseen.fullmatch(line) for unseen in (HEADING, _RULE, _DEFINITION)):
            count += not block
            block.append(line)
    return count

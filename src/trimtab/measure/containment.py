"""Whether an answer contains what was asked for, whatever it looks like.

Case, accents, punctuation and articles do not count, and numbers are the same in words and in digits: so an instruction
that changes how an answer looks (lowercase, JSON, highlights) makes none wrong. What is looked for must stand there as
whole words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBERS = {word: number for number, word in enumerate(_ONES)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_SCALES = {"thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_ARTICLES = {"a", "an", "the"}
_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ı": "i"})
# As JSON writes what it cannot write plainly: a line break must not become the letter n of the word behind it.
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\[nrtbf]")
# A number keeps its decimal point; letters and digits are words of their own.
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_THOUSANDS = re.compile(r"\d{1,3}(?:[.,]\d{3})+")


def contains(text: str, wanted: str) -> bool:
    """Whether a text contains another as whole words, both `normalised`; nothing contains what has no words."""
    there, looked_for = normalised(text), normalised(wanted)
    return bool(looked_for) and f" {' '.join(looked_for)} " in f" {' '.join(there)} "


def normalised(text: str) -> list[str]:
    """The words of a text without case, accents, punctuation and articles, its numbers in digits.

    `The twenty-one Cafés` is `21 cafes`, `1,000` is `1000` and `4.0` is `4`; a comma or point before three digits is
    taken to group them. Number words are read as English has them.
    """
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else " ", text)
    split = unicodedata.normalize("NFKD", plain.casefold().translate(_LIGATURES))
    bare = "".join(mark for mark in split if not unicodedata.combining(mark))
    words = [_digits(word) if word[0].isdigit() else word for word in _WORD.findall(bare)]
    return [word for word in _numbers_in_digits(words) if word not in _ARTICLES]


def _digits(number: str) -> str:
    """A number as ASCII writes it, without the marks that group its digits."""
    ascii_digits = "".join(str(unicodedata.digit(mark)) if mark.isdigit() else mark for mark in number)
    if _THOUSANDS.fullmatch(ascii_digits):
        return re.sub(r"[.,]", "", ascii_digits)
    whole, point, rest = ascii_digits.replace(",", ".").partition(".")
    return f"{whole}{point}{rest}".rstrip("0").rstrip(".") if point else whole


def _numbers_in_digits(words: Sequence[str]) -> list[str]:
    found, place = [], 0
    while place < len(words):
        value, end = _number_at(words, place)
        if end == place:
            found.append(words[place])
            place += 1
        else:
            found.append(str(value))
            place = end
    return found


def _number_at(words: Sequence[str], start: int) -> tuple[int, int]:
    """The number whose words begin at a place, and where they end: at the place itself if none does."""
    total, place = 0, start
    while True:
        # Thousands, then what is below: each scale is smaller than the one before.
        group, end = _below_thousand(words, place)
        if end == place:
            break
        scale = _SCALES.get(words[end]) if end < len(words) else None
        if scale is None or (total and scale >= total):
            return total + group, end
        total += group * scale
        place = end + 1
        after = place + 1 if place < len(words) and words[place] == "and" else place
        place = after if _below_thousand(words, after)[1] > after else place
    return total, place


def _below_thousand(words: Sequence[str], start: int) -> tuple[int, int]:
    """`two hundred and five`, `forty-two`, `a hundred` or digits before a scale, and where the words end."""
    here = words[start] if start < len(words) else ""
    following = words[start + 1] if start + 1 < len(words) else ""
    if here in _ARTICLES and (following == "hundred" or following in _SCALES):
        value, place = 1, start + 1
    elif here == "hundred":
        value, place = 1, start
    elif here.isdecimal() and (following == "hundred" or following in _SCALES):
        value, place = int(here), start + 1
    else:
        value, place = _below_hundred(words, start)
        if place == start:
            return 0, start
    if place < len(words) and words[place] == "hundred":
        value, place = value * 100, place + 1
        after = place + 1 if place < len(words) and words[place] == "and" else place
        rest, end = _below_hundred(words, after)
        if end > after:
            value, place = value + rest, end
    return value, place


def _below_hundred(words: Sequence[str], start: int) -> tuple[int, int]:
    value = _NUMBERS.get(words[start]) if start < len(words) else None
    if value is None:
        return 0, start
    ones = _NUMBERS.get(words[start + 1], 0) if start + 1 < len(words) else 0
    return (value + ones, start + 2) if value >= 20 and 0 < ones < 10 else (value, start + 1)

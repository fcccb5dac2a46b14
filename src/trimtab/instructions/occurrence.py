"""Whether a word or phrase occurs in a text as a person would say it does.

Where a script parts words by blanks, no letter, mark or digit may stand beside the word. Where it does not (Han, Kana,
Thai, Lao, Khmer, Burmese and others, those whose line breaks Unicode leaves to dictionaries), any place between two
letters may be the edge of a word. What the package regex knows of the edges of words by Unicode's annex 29 (`(?w)`) is
not enough for that: it joins `_dragon_`, and parts Thai letter by letter.
"""

from __future__ import annotations

import functools
import unicodedata

import regex

from trimtab.instructions.text import MARKDOWN, folded, untagged

# Scripts without blanks between words, as they stand in a class, of Python and of Rust.
UNSPACED = "".join(
    rf"\p{{Script={script}}}"
    for script in (
        *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar"),
        *("Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom"),
    )
)

GREEK = regex.compile(r"\p{Script=Greek}")

_WORDLIKE = regex.compile(r"[\p{L}\p{M}\p{Nd}\p{Nl}\u2080-\u2089]")
_MARK = regex.compile(r"[\p{M}\u200d]")
_UNSPACED = regex.compile(rf"[{UNSPACED}]")
_KATAKANA = regex.compile(r"[\p{Script=Katakana}ー]")
_DIGIT = regex.compile(r"\p{Nd}")
# Letters of Thai and Lao that belong to the consonant after or before them, and consonants that close a syllable of
# Burmese or are written below one.
_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")
_TRAILING_VOWELS = frozenset("ะาำๅະາຳ")
_STACKED = regex.compile(r"\p{InCB=Linker}|\u1039")
_CLOSING = regex.compile(r"[\u1000-\u1021\u103f][\u1039\u103a]")
# Numbers that are one with their marks: decimals, groups of three, versions. The parts of a date are numbers too.
_NUMBER = regex.compile(
    r"(?<![\p{Nd}.,])(?!\p{Nd}{1,2}\.\p{Nd}{1,2}\.(?:\p{Nd}{4}|\p{Nd}{2})(?![.,]?\p{Nd}))"
    r"\p{Nd}+(?:(?:,\p{Nd}{3})+(?:\.\p{Nd}+)?|[.,]\p{Nd}+|(?:\.\p{Nd}+){2,})(?![.,]?\p{Nd})"
)

# What Korean writes behind a noun without a blank.
_PARTICLES = regex.compile(
    r"(?:들)?(?:께서|에게서|한테서|에서|에게|한테|으로써|으로서|으로|로써|로서|로|까지|부터|마저|조차|밖에|처럼|만큼|보다|마다"
    r"|이랑|랑|하고|이나|나|이라도|라도|이든|든|이야|야|이여|여|께|에|은|는|이|가|을|를|의|와|과|도|만|아|뿐|대로|씩|쯤|님)*"
    r"(?:입니다|입니까|이에요|예요|이다|다|인가요|인가|인데요?|이고요?|이며|이었(?:다|습니다|어요)|였(?:다|습니다|어요)|이라고|라고|이란|란"
    r"|이라서|라서|이니까|니까|이면|면|이지만|지만|이죠|죠|이네요|네요|인|일)?"
    r"(?![\p{L}\p{M}\p{Nd}])"
)
# What Arabic and Hebrew write before a noun without a blank: and, in, for, like, the.
_PROCLITICS = regex.compile(
    r"(?<![\p{L}\p{M}\p{Nd}])(?:[وف]?(?:[بك]?ال|لل)|[وفبلك]|ו?(?:כש|ש|מש)?[בלמכ]?ה?)$"
)
_TAKING_PROCLITICS = regex.compile(r"[\p{Script=Arabic}\p{Script=Hebrew}]")
# What English joins by an apostrophe is no word by itself.
_CONTRACTED = frozenset(("s", "t", "d", "m", "ll", "re", "ve"))
# C is another language than C++ and C#.
_NAMED_WITH_SIGNS = regex.compile(r"c\+\+|[cfjq]#(?![\p{L}\p{Nd}])")
_CONTRACTED_NOT = regex.compile(r"'t(?![\p{L}\p{M}\p{Nd}])")


def occurs(word: str, text: str) -> bool:
    """Whether a word or phrase occurs in a text, in any case, with the edges of words around it."""
    readings = [_Reading(word, text)]
    if (shown := untagged(text, prose=True)) != text:
        readings.append(_Reading(word, shown))
    if not MARKDOWN.isdisjoint(word):
        readings.append(_Reading(word, text, marked=True))
    if "ı" in word or "ı" in text or "İ" in word or "İ" in text:
        readings.append(_Reading(word, text, turkish=True))
    return any(reading.found() for reading in readings) or _in_greek_capitals(word, text)


class _Reading:
    """A word and a text folded in one way."""

    def __init__(self, word: str, text: str, *, marked: bool = False, turkish: bool = False) -> None:
        self.word = folded(word, marked=True, turkish=turkish).strip()
        self.text = folded(text, marked=marked, turkish=turkish)

    def found(self) -> bool:
        start = self.text.find(self.word) if self.word else -1
        while start >= 0:
            end = start + len(self.word)
            if self._free_before(start, end) and self._free_behind(start, end):
                return True
            start = self.text.find(self.word, start + 1)
        return False

    def _free_before(self, start: int, end: int) -> bool:
        if start == 0:
            return True
        before, first = self.text[start - 1], self.text[start]
        if not _WORDLIKE.match(first):
            return True
        if before == "_":
            return not regex.search(r"[\p{L}\p{M}\p{Nd}]_+$", self.text[:start], endpos=start)
        if before == "'":
            contracted = self.word in _CONTRACTED and start > 1 and _WORDLIKE.match(self.text[start - 2])
            return not contracted
        if before in ".,":
            return not (_DIGIT.match(first) and self._in_number(start, end))
        if not _WORDLIKE.match(before):
            return True
        if _UNSPACED.match(before) or _UNSPACED.match(first):
            return self._syllable_before(before, first)
        taking = len(self.word) > 2 and _TAKING_PROCLITICS.match(first)
        return bool(taking and _PROCLITICS.search(self.text[max(0, start - 6) : start]))

    def _syllable_before(self, before: str, first: str) -> bool:
        if _KATAKANA.match(before) and _KATAKANA.match(first):
            return False
        return before not in _LEADING_VOWELS and not _STACKED.match(before)

    def _free_behind(self, start: int, end: int) -> bool:
        last, behind = self.text[end - 1], self.text[end : end + 1]
        if not behind:
            return True
        if _MARK.match(behind):
            return False
        if not _WORDLIKE.match(last):
            # U.S. is not in U.S.A.
            return not (last == "." and "." in self.word[:-1] and _WORDLIKE.match(behind))
        if behind == "_":
            return not regex.match(r"_+[\p{L}\p{M}\p{Nd}]", self.text[end:])
        if behind == "'":
            return not (last == "n" and _CONTRACTED_NOT.match(self.text, end))
        if behind in ".,":
            return not (_DIGIT.match(last) and self._in_number(start, end))
        if behind in "+#" and len(self.word) == 1:
            return not _NAMED_WITH_SIGNS.match(self.text, start)
        if not _WORDLIKE.match(behind):
            return True
        if _UNSPACED.match(behind) or _UNSPACED.match(last):
            return self._syllable_behind(last, behind, end)
        return bool("\uac00" <= last <= "\ud7a3" and _PARTICLES.match(self.text, end))

    def _syllable_behind(self, last: str, behind: str, end: int) -> bool:
        if _KATAKANA.match(behind) and _KATAKANA.match(last):
            return False
        return behind not in _TRAILING_VOWELS and not _CLOSING.match(self.text, end)

    def _in_number(self, start: int, end: int) -> bool:
        """Whether the word begins or ends inside of a number."""
        return any(
            found.start() < edge < found.end()
            for found in _NUMBER.finditer(self.text)
            for edge in (start, end)
        )


def _in_greek_capitals(word: str, text: str) -> bool:
    """Whether a Greek word occurs where one of the two is in capitals, which are written without accents."""
    if not GREEK.search(word) or not regex.search(r"\p{Script=Greek}{2}", text):
        return False
    if not word.isupper():
        text = regex.sub(r"\p{Ll}", "x", text)
    return _Reading(bare(word), bare(text)).found()


@functools.lru_cache(maxsize=512)
def bare(text: str) -> str:
    """A Greek text without accents."""
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", regex.sub(r"[\u0300\u0301\u0313\u0314\u0342\u0345]", "", parts))

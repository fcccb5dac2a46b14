"""A full stop, the word before it, and what stands around it."""

from __future__ import annotations

import functools
from typing import Any

import regex

from trimtab.instructions import abbreviations as known
from trimtab.instructions.lexicon import LONG_WORD, Lexicon

_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}\u05f4.\u00ba\u00aa№'\u2019-]+$")
_WORD = regex.compile(r"[\p{L}\p{M}'\u2019]+")
# A date in numbers that begins with the year: 2024. 3. 15. (일)
_FULL_DATE = regex.compile(r"(?<!\p{Nd})\p{Nd}{4}\.\s+\p{Nd}{1,2}\.\s+\p{Nd}{1,2}$")
_REST_OF_DATE = regex.compile(r"\s*\p{Nd}{1,2}\.(?:\s+\p{Nd}{1,2}\.)?(?!\p{Nd})")
_NUMBER = regex.compile(r"[\p{Nd}.\u2013-]+")
_CAMEL = regex.compile(r"\G[^\p{L}\p{N}]*\p{Ll}\p{L}*\p{Lu}")
# A word that a sentence begins with goes on in small letters; a name goes on as one.
_BEGUN = regex.compile(r"\G[^\p{L}\p{N}]*\p{Lu}[\p{Ll}\p{M}'’-]*,?\s+(?!\p{Ll}\.)\p{Ll}")
# A number, of a kind or Roman, or of a paragraph: 5, § 5, L. 121-1, VIII.
_REFERENCE = regex.compile(r"\G[\[(]?(?:[\p{Nd}§№#]|\p{Lu}\.?\s?\p{Nd}|[IVXLC]{2,}\b)")
_OPENING = 6
# No article: A) or A. of a list or a name.
_LETTER_ALONE = regex.compile(r"\G[^\p{L}\p{N}]*\p{L}[.),;:\]]")
# Letters that are no word without an apostrophe: bât. C, and C'est.
_NO_WORDS = frozenset("bcdfghjlmnpqrtx")
# Short words with full stops that are one abbreviation: z. B., и т. д.
_JOINED = regex.compile(r"(?:(?<![\p{L}\p{M}])[\p{L}\p{M}]{1,3}\.[ \u00a0\u202f]?){1,3}[\p{L}\p{M}]{1,4}$")
_LIKE_A_WORD = regex.compile(rf"[A-Za-z]*{LONG_WORD}")
_LETTERS = 2


class Stop:
    """A full stop with white space behind it, and what stands around it.

    Args:
        before: The sentence up to the full stop.
        end: The match of the mark, with the groups `next` and `blank`.
        block: The block that it stands in.
        lexicon: What is known of the words of the answer.
    """

    def __init__(self, before: str, end: Any, block: str, lexicon: Lexicon) -> None:
        self.before, self.end, self.block, self.lexicon = before, end, block, lexicon
        found = _TOKEN.search(before)
        self.token: str = found[0].strip("'\u2019-") if found else ""
        self.ahead: str = before[: found.start()] if found else before
        self.word = _without_article(self.token.casefold())
        self.earlier = last_word(self.ahead)
        self.capital: bool = end["next"].isupper()
        # iPad begins a sentence as it is.
        self.small: bool = end["next"].islower() and not _CAMEL.search(block, end.end())
        self.number: bool = _REFERENCE.search(block, end.end()) is not None

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """It, and what it is together with the short words before it."""
        joined = _joined(self.before)
        # The m of "5 a. m." is no word, and A. M. are initials.
        joined = joined if self.token.islower() or "." in self.token or len(self.token) > 1 else []
        return frozenset(joined if joined and len(self.word) == 1 else (self.word, *joined))

    @functools.cached_property
    def following(self) -> str:
        """The word behind it, in small letters."""
        return next_word(self.block, self.end)

    @functools.cached_property
    def starts(self) -> bool:
        """Whether the word behind it has a capital that a sentence gave it."""
        return starts(self.block, self.end, self.lexicon)

    @property
    def opens(self) -> bool:
        """Whether a time is all that the sentence has so far: At 6 a.m., В 2020 г."""
        words = self.before.split()
        return self.after_number and words[0].casefold() in known.BEFORE_TIMES and len(words) <= _OPENING

    @property
    def after_number(self) -> bool:
        """Whether what it stands behind is measured by a number: 300 m."""
        return self.earlier[-1:].isdecimal()

    def behind(self, *marks: str) -> bool:
        """Whether the word before it has one of these marks before it."""
        return self.ahead.rstrip().endswith(marks)

    def among(self, words: frozenset[str]) -> bool:
        """Whether it is one of these, alone or with the short words before it, and no word of the answer's language."""
        lexicon = self.lexicon
        is_own = lexicon.is_mostly_function_word if lexicon.one_case else lexicon.is_function_word
        own = len(self.token) > _LETTERS and self.token.islower() and is_own(self.token)
        return not own and not words.isdisjoint(self.words)


def like_a_word(token: str) -> bool:
    """Whether a word is long and ends as no abbreviation does that is in any list."""
    return _LIKE_A_WORD.fullmatch(token) is not None


def is_number(token: str) -> bool:
    """Whether it is a number in digits, or several with full stops or dashes between them."""
    return _NUMBER.fullmatch(token) is not None


def is_date(stop: Stop) -> bool:
    """Whether it is a part of a date in numbers that begins with the year."""
    return bool(_FULL_DATE.search(stop.before) or _REST_OF_DATE.match(stop.block, stop.end.end()))


def starts(block: str, end: Any, lexicon: Lexicon) -> bool:
    """Whether the word after a mark has a capital and is one that starts sentences."""
    word = next_word(block, end)
    if not end["next"].isupper():
        return False
    if len(word) == 1 and (word in _NO_WORDS or _LETTER_ALONE.search(block, end.end())):
        return False
    if lexicon.has_function_word(word):
        return True
    return _BEGUN.search(block, end.end()) is not None and lexicon.is_written_small(word)


def next_word(block: str, end: Any) -> str:
    """The word after a mark, in small letters."""
    found = _WORD.search(block, end.end())
    return found[0].casefold().replace("\u2019", "'") if found else ""


def last_word(before: str, *, cased: bool = False) -> str:
    """What stands last in a text, up to white space; in small letters unless `cased`."""
    words = before.split()
    last = words[-1].strip("\"'(«„“*_") if words else ""
    return last if cased else last.casefold()


def _without_article(word: str) -> str:
    """L'avv. is avv. with an article."""
    _, apostrophe, last = word.replace("\u2019", "'").rpartition("'")
    return last if apostrophe and len(last) > 2 else word


def _joined(before: str) -> list[str]:
    """What the last short words with full stops are together: "i. S. d" is i.s.d and s.d."""
    found = _JOINED.search(before)
    parts = regex.split(r"\.[ \u00a0\u202f]?", found[0].casefold()) if found else []
    return [".".join(parts[first:]) for first in range(len(parts) - 1)]

"""Whether a full stop belongs to the word before it, as in "Dr. Lee" and "am 3. Mai", and ends no sentence.

`RULES` are asked in their order, and the first that can tell does: `title` knows that no sentence ends in "Dr.", and
says nothing of other words. What is known of the words comes from the lists of `abbreviations`, where a reader says
more of them than that they are some, and from the `lexicon` of the answer's languages.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import regex

from trimtab.instructions import abbreviations as known
from trimtab.instructions.lexicon import LONG_WORD, Lexicon

_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}\u05f4.\u00ba\u00aa№'\u2019-]+$")
_WORD = regex.compile(r"[\p{L}\p{M}'\u2019]+")
_DOTTED = regex.compile(r"(?:[\p{L}\p{M}]{1,2}\.-?)+(?:[\p{L}\p{M}]{1,2}|\p{Ll}{3})")
_ROMAN = regex.compile(r"[IVX]{1,5}")
# The numeral of a ruler where it is an ordinal: III. Selim. After a name it is not.
_ORDINAL_ROMAN = regex.compile(r"[IVX]{2,5}")
_DATE = regex.compile(r"\p{Nd}{1,2}\.\s*[\p{Nd}\p{Ll},\u2013-]")
# A date in numbers that begins with the year: 2024. 3. 15. (일)
_FULL_DATE = regex.compile(r"(?<!\p{Nd})\p{Nd}{4}\.\s+\p{Nd}{1,2}\.\s+\p{Nd}{1,2}$")
_REST_OF_DATE = regex.compile(r"\s*\p{Nd}{1,2}\.(?:\s+\p{Nd}{1,2}\.)?(?!\p{Nd})")
_NUMBER = regex.compile(r"[\p{Nd}.\u2013-]+")
_CAMEL = regex.compile(r"\G[^\p{L}\p{N}]*\p{Ll}\p{L}*\p{Lu}")
# A word that a sentence begins with goes on in small letters; a name goes on as one.
_BEGUN = regex.compile(r"\G[^\p{L}\p{N}]*\p{Lu}[\p{Ll}\p{M}'’-]*,?\s+(?!\p{Ll}\.)\p{Ll}")
_ABBREVIATED_TOO = regex.compile(r"\G[\p{L}\p{M}]+\.")
_CAPITALS_TOO = regex.compile(r"\G\p{Lu}{2,4}\.")
# A number, of a kind or Roman, or of a paragraph: 5, § 5, L. 121-1, VIII.
_REFERENCE = regex.compile(r"\G[\[(]?(?:[\p{Nd}§№#]|\p{Lu}\.?\s?\p{Nd}|[IVXLC]{2,}\b)")
_NUMBERED = regex.compile(r"\G\p{L}+\.\s*\p{Nd}")
_OF_A_NAME = regex.compile(r"\G\p{L}+['’]?\s*\p{Lu}")
_OPENING = 6
# No article: A) or A. of a list or a name.
_LETTER_ALONE = regex.compile(r"\G[^\p{L}\p{N}]*\p{L}[.),;:\]]")
_ABJAD = regex.compile(r"[\p{Arabic}\p{Hebrew}]\u0640?")
_INDIC = regex.compile(
    r"(?:(?=[\p{Devanagari}\p{Bengali}\p{Gujarati}\p{Gurmukhi}\p{Kannada}\p{Malayalam}\p{Oriya}\p{Tamil}\p{Telugu}])\X){1,2}"
)
# Short words with full stops that are one abbreviation: z. B., и т. д.
_JOINED = regex.compile(r"(?:(?<![\p{L}\p{M}])[\p{L}\p{M}]{1,3}\.[ \u00a0\u202f]?){1,3}[\p{L}\p{M}]{1,4}$")
_CASED = regex.compile(r"[\p{Lu}\p{Ll}]")
_LIKE_A_WORD = regex.compile(rf"[A-Za-z]*{LONG_WORD}")
_ONE = regex.compile(r"\X")
_LETTERS = 2
_SHORT = 4
_LONG = 5
_UNITS = tuple("CFKVWANL")
_CONSONANTS = regex.compile(r"[b-df-hj-np-tv-xzßçčďłńňřśšťźżž]{2,5}|[бвгджзйклмнпрстфхцчшщ]{2,4}")


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
        own = (
            len(self.token) > _LETTERS and self.token.islower() and self.lexicon.is_function_word(self.token)
        )
        return not own and not words.isdisjoint(self.words)


def belongs(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    """Whether the full stop of a match belongs to the word before it; for the arguments see `Stop`."""
    stop = Stop(before, end, block, lexicon)
    if not stop.token:
        return False
    return next((told for rule in RULES if (told := rule(stop)) is not None), False)


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
    if not end["next"].isupper() or (len(word) == 1 and _LETTER_ALONE.search(block, end.end())):
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


def _long_word(stop: Stop) -> bool | None:
    """A word that is no abbreviation of any list before a capital; most are such, which saves to look for others."""
    return False if stop.capital and like_a_word(stop.token) else None


def _number(stop: Stop) -> bool | None:
    """An ordinal of German and other languages: am 3. Mai."""
    if not is_number(stop.token) and not (_ROMAN.fullmatch(stop.token) and stop.small):
        return None
    if stop.small or stop.following in known.AFTER_ORDINALS:
        return True
    if is_date(stop):
        return not stop.capital
    if len(stop.token) > 2 and not _ROMAN.fullmatch(stop.token):
        return False
    if _DATE.match(stop.block, stop.end.end()):
        return True
    if stop.number and stop.earlier.endswith(".") and stop.earlier[:-1].isdecimal():
        return True
    return stop.earlier in known.BEFORE_ORDINALS and not stop.starts


def _ruler(stop: Stop) -> bool | None:
    if not _ORDINAL_ROMAN.fullmatch(stop.token) or not stop.capital or stop.starts:
        return None
    return last_word(stop.ahead, cased=True).islower() and stop.earlier not in known.BEFORE_LETTERS


def title(stop: Stop) -> bool | None:
    """A word that a name belongs to: Dr. Lee."""
    if stop.word in known.CAPITALISED and stop.token.istitle() and stop.capital:
        return True
    # Of 3 maj., 6 ft. and 300 m. the word is none.
    if not stop.among(known.TITLES) or (stop.token in ("maj", "ft", "m") and stop.after_number):
        return None
    # A street, or a foot, and no saint.
    return not (stop.word in ("st", "ft") and stop.starts)


def _glossed(stop: Stop) -> bool | None:
    """A word in brackets that is none of its language: (lat. Homo sapiens, engl. human)."""
    if not stop.token.islower() or len(stop.token) > _SHORT:
        return None
    inside = stop.before.rfind("(") > stop.before.rfind(")") and not stop.starts
    unknown = inside and len(stop.token) > 1 and not stop.lexicon.is_word(stop.token)
    return True if unknown or stop.behind("(", "[") else None


def before_number(stop: Stop) -> bool | None:
    """A word that a number belongs to: fig. 3."""
    if not stop.number:
        # A day of the week before a month too: Mon. Sept. 4.
        dated = stop.following in known.DATES and _NUMBERED.search(stop.block, stop.end.end())
        return True if stop.word in known.DATES and (stop.small or dated) else None
    if stop.word in known.BEFORE_NUMBERS or stop.word in known.DATES:
        return True
    return True if stop.lexicon.abbreviates_before_number(stop.token) else None


def _often_last(stop: Stop) -> bool | None:
    if known.OFTEN_LAST.isdisjoint(stop.words):
        return None
    goes_on = stop.following in known.AFTER_TIMES or stop.opens or _goes_on_in_german(stop)
    return not stop.capital or (goes_on and not stop.starts)


def introduces(stop: Stop) -> bool:
    """Whether it is an abbreviation that introduces what follows: e.g."""
    pair = f"{stop.earlier.strip('.,')} {stop.word}" in known.PAIRS
    return (
        pair or stop.among(known.INTRODUCING) or (stop.word in known.AFTER_COMMAS and stop.behind(",", "("))
    )


def abbreviation(stop: Stop) -> bool | None:
    """A word that is listed or shaped as an abbreviation."""
    compound = stop.word.rpartition("-")[2]
    joined = compound != stop.word and (compound in known.ANY or compound in known.BEFORE_NUMBERS)
    if introduces(stop):
        return True
    if stop.word in known.UNITS or (stop.after_number and stop.word in known.UNITS_AFTER_NUMBERS):
        return not stop.capital
    shaped = stop.word.endswith("str") or _DOTTED.fullmatch(stop.token) is not None
    listed = not known.ANY.isdisjoint(stop.words) or (
        len(stop.token) > 1 and stop.lexicon.abbreviates(stop.token)
    )
    return not (stop.capital and stop.starts) if listed or joined or shaped else None


def _initial(stop: Stop) -> bool | None:
    token, earlier = stop.token, stop.earlier
    if _INDIC.fullmatch(token):
        among = earlier.endswith(".") or _ABBREVIATED_TOO.search(stop.block, stop.end.end()) is not None
        return True if among or (_ONE.fullmatch(token) and not stop.lexicon.is_word(token)) else None
    if len(token) != 1 or not (token.isupper() or token.islower() or _ABJAD.fullmatch(token)):
        return None
    if not stop.capital:
        return True
    if earlier.endswith("°") or (token in _UNITS and earlier.isdecimal() and len(earlier) < 4):
        # In 40 W. Elm St. it is a direction.
        return token in "NW" and not stop.starts
    if token.islower():
        # What is v. in "v. Chr." is no unit.
        pair = _ABBREVIATED_TOO.search(stop.block, stop.end.end()) and stop.lexicon.lists(stop.following)
        return not stop.starts and (not stop.after_number or stop.opens or bool(pair))
    if stop.following in known.PARTICLES and _OF_A_NAME.search(stop.block, stop.end.end()):
        return True
    begun = stop.lexicon.is_function_word(stop.following) or stop.following in known.AFTER_LETTERS
    return earlier not in known.BEFORE_LETTERS and not (len(stop.following) > 1 and begun)


def in_address(stop: Stop) -> bool | None:
    """A part of an address: ..., fl. 5, or Zi. Nr. 5."""
    if len(stop.token) > _SHORT or stop.lexicon.is_word(stop.token):
        return None
    numbered = stop.following in known.BEFORE_NUMBERS and _NUMBERED.search(stop.block, stop.end.end())
    listed = not stop.starts or stop.lexicon.lists(stop.token)
    return True if (stop.number and stop.behind(",")) or (numbered and listed) else None


def _first_of_titles(stop: Stop) -> bool | None:
    """Capitals alone, before others with a full stop: GS. TS. Trần Văn Khê."""
    if stop.ahead.strip() or not stop.token.isupper() or stop.lexicon.is_word(stop.token):
        return None
    return True if _CAPITALS_TOO.search(stop.block, stop.end.end()) else None


def _ends_as_no_word(stop: Stop) -> bool | None:
    """An abbreviation that no list has, such as zahlr., by letters that no word of its language ends with."""
    if stop.token.islower() and not stop.starts and stop.lexicon.ends_as_no_word(stop.token):
        return True
    return None


def _goes_on_in_small_letters(stop: Stop) -> bool | None:
    """A text that begins its sentences with capitals goes on with a small letter, unless a name has one: numpy."""
    cased = _CASED.search(stop.before)
    if not stop.small or cased is None or cased[0].islower():
        return None
    if stop.token in ("in", "min", "sec", "oz") and stop.earlier.isdecimal():
        return True
    if stop.lexicon.lists(stop.token) or (stop.token.istitle() and stop.behind(",")):
        return True
    if stop.token.istitle():
        return stop.lexicon.is_word(stop.following)
    last = stop.token.rpartition("-")[2]
    return len(last) <= _LONG and not stop.lexicon.is_word(stop.token)


def _without_vowels(stop: Stop) -> bool | None:
    if not _CONSONANTS.fullmatch(stop.word) or stop.token.isupper() or stop.word in known.UNITS:
        return None
    # 5 ft. 2 in. goes on, and what is measured in it may be the end.
    return not stop.capital or (len(stop.word) <= _SHORT and not (stop.after_number or stop.starts))


RULES: tuple[Callable[[Stop], bool | None], ...] = (
    _long_word,
    _number,
    _ruler,
    title,
    _glossed,
    before_number,
    _often_last,
    abbreviation,
    _initial,
    in_address,
    _first_of_titles,
    _ends_as_no_word,
    _goes_on_in_small_letters,
    _without_vowels,
)
"""What tells whether a full stop belongs to its word, in order; None where a rule cannot."""


def _without_article(word: str) -> str:
    """L'avv. is avv. with an article."""
    _, apostrophe, last = word.replace("\u2019", "'").rpartition("'")
    return last if apostrophe and len(last) > 2 else word


def _joined(before: str) -> list[str]:
    """What the last short words with full stops are together: "i. S. d" is i.s.d and s.d."""
    found = _JOINED.search(before)
    parts = regex.split(r"\.[ \u00a0\u202f]?", found[0].casefold()) if found else []
    return [".".join(parts[first:]) for first in range(len(parts) - 1)]


def _goes_on_in_german(stop: Stop) -> bool:
    """Whether a noun after "usw." goes on with the sentence, as in "Weil Lehrer, Eltern usw. Angst haben"."""
    if stop.starts:
        return False
    opened = False
    for word in reversed(stop.before.split()[:-1]):
        bare = word.strip("\"'(,„“*_").casefold()
        if bare in known.GERMAN_OPENERS:
            opened = True
            break
        # A small word that is none of these is a verb or belongs to one, as far as can be told.
        if word[:1].islower() and bare not in known.GERMAN_LINKS:
            break
    return opened

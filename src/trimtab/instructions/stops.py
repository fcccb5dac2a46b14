"""Whether a full stop belongs to the word before it, as in "Dr. Lee" and "am 3. Mai", and ends no sentence.

`RULES` are asked in their order, and the first that can tell does: `title` knows that no sentence ends in "Dr.", and
says nothing of other words. What is known of the words comes from the lists of `abbreviations`, where a reader says
more of them than that they are some, and from the `lexicon` of the answer's languages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import regex

from trimtab.instructions import abbreviations as known
from trimtab.instructions.fullstop import Stop, is_date, is_number, last_word, like_a_word
from trimtab.instructions.lexicon import Lexicon

_DOTTED = regex.compile(r"(?:[\p{L}\p{M}]{1,2}\.-?)+(?:[\p{L}\p{M}]{1,2}|\p{Ll}{3})")
_ROMAN = regex.compile(r"[IVX]{1,5}")
# The numeral of a ruler where it is an ordinal: III. Selim. After a name it is not.
_ORDINAL_ROMAN = regex.compile(r"[IVX]{2,5}")
_DATE = regex.compile(r"\p{Nd}{1,2}\.\s*[\p{Nd}\p{Ll},\u2013-]")
_ABBREVIATED_TOO = regex.compile(r"\G[\p{L}\p{M}]+\.")
_CAPITALS_TOO = regex.compile(r"\G\p{Lu}{2,4}\.")
_NUMBERED = regex.compile(r"\G\p{L}+\.\s*\p{Nd}")
_OF_A_NAME = regex.compile(r"\G\p{L}+['’]?\s*\p{Lu}")
_ABJAD = regex.compile(r"[\p{Arabic}\p{Hebrew}]\u0640?")
_INDIC = regex.compile(
    r"(?:(?=[\p{Devanagari}\p{Bengali}\p{Gujarati}\p{Gurmukhi}\p{Kannada}\p{Malayalam}\p{Oriya}\p{Tamil}\p{Telugu}])\X){1,2}"
)
_CASED = regex.compile(r"[\p{Lu}\p{Ll}]")
_ONE = regex.compile(r"\X")
_SHORT = 4
_LONG = 5
# A street of Denmark, Norway or Sweden whose last part is one letter: Storg., Kungsg., Storgt.; Aalborg is none.
_STREET = regex.compile(r"\p{L}\p{Ll}{2,}(?<!b[eou]r|[aiouyn])(?:g|gt)")
_DAY_OF_MONTH = regex.compile(
    r"\G\p{Nd}{1,2}\.?\s+(?:de\s+)?(?:\p{Nd}{1,2}\.|(?i:jan|feb|fév|ma[aijryg]|mär|mei|apr|avr|abr|jun|jui|jul|giu|lug|aug|ago"
    r"|aoû|sep|set|okt|oct|out|ott|nov|de[czs]|dé[cz]|dic|ene|gen)|b[mr]\b)"
)
_UNITS = tuple("CFKVWANL")
_CONSONANTS = regex.compile(r"[b-df-hj-np-tv-xzßçčďłńňřśšťźżž]{2,5}|[бвгджзйклмнпрстфхцчшщ]{2,4}")


def belongs(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    """Whether the full stop of a match belongs to the word before it; for the arguments see `Stop`."""
    stop = Stop(before, end, block, lexicon)
    if not stop.token:
        return False
    return next((told for rule in RULES if (told := rule(stop)) is not None), False)


def _long_word(stop: Stop) -> bool | None:
    """A word that is no abbreviation of any list before a capital; most are such, which saves to look for others."""
    return False if stop.capital and like_a_word(stop.token) else None


def _number(stop: Stop) -> bool | None:
    """An ordinal of German and other languages: am 3. Mai."""
    if not is_number(stop.token) and not (_ROMAN.fullmatch(stop.token) and stop.small):
        return None
    if stop.small or stop.following.partition("'")[0] in known.AFTER_ORDINALS:
        return True
    if is_date(stop):
        return not stop.capital
    if len(stop.token) > 2 and not _ROMAN.fullmatch(stop.token):
        return False
    month = stop.following in known.DATES and _ABBREVIATED_TOO.search(stop.block, stop.end.end())
    if month or _DATE.match(stop.block, stop.end.end()):
        return True
    if stop.number and stop.earlier.endswith(".") and stop.earlier[:-1].isdecimal():
        return True
    hungarian = stop.earlier in ("a", "az") and stop.lexicon.is_in("hu")
    if stop.starts or not (hungarian or stop.earlier in known.BEFORE_ORDINALS):
        return False
    return not stop.lexicon.languages or stop.lexicon.is_in(*known.ORDINALS)


def _ruler(stop: Stop) -> bool | None:
    if not _ORDINAL_ROMAN.fullmatch(stop.token) or not stop.capital or stop.starts:
        return None
    if stop.earlier in ("a", "az") and stop.lexicon.is_in("hu"):
        return True
    return last_word(stop.ahead, cased=True).islower() and stop.earlier not in known.BEFORE_LETTERS


def title(stop: Stop) -> bool | None:
    """A word that a name belongs to: Dr. Lee."""
    if stop.word in known.CAPITALISED and stop.token.istitle() and stop.capital:
        return True
    # L'on. Rossi is one, DNA is none, and 5 dl. no Romanian.
    of = known.TITLES_OF.get(stop.word.replace("\u2019", "'").rpartition("'")[2])
    if of and not stop.token.isupper() and not (stop.word == "dl" and stop.after_number):
        return True if stop.lexicon.is_in(*of) and not stop.starts else None
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


def street(stop: Stop) -> bool | None:
    """A street before its name or the number of a house: str. Mare 7, Storg. 5."""
    if stop.word in known.STREETS:
        numbered = stop.following in known.BEFORE_NUMBERS and _NUMBERED.search(stop.block, stop.end.end())
        return True if numbered or (stop.token == "str" and stop.capital) else None
    nordic = stop.number and _STREET.fullmatch(stop.token) and stop.lexicon.is_in("da", "no", "sv")
    return True if nordic and not stop.lexicon.is_word(stop.token) else None


def weekday(stop: Stop) -> bool | None:
    """A day of the week before one of a month: Do. 5. Sept."""
    if not stop.lexicon.is_in(*known.WEEKDAYS.get(stop.word, ())):
        return None
    dated = _DAY_OF_MONTH.search(stop.block, stop.end.end())
    return True if dated or (stop.number and not stop.lexicon.is_word(stop.token)) else None


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
    if not stop.capital or stop.following == "co":
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
    # A small word before a capital one is rather the last: bolt. Kb. 10 perc.
    listed = not (stop.starts or (stop.capital and stop.token.islower())) or stop.lexicon.lists(stop.token)
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
    street,
    weekday,
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

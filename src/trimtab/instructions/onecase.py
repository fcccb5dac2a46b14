"""The full stops of a text in one case, wholly in small letters or wholly in capitals.

Where no sentence begins with a capital, what goes on in a small letter tells nothing, and an unknown word is rather a
name ("oslo.") than an abbreviation. So a full stop belongs to its word only where that is listed, and whether a
sentence ends in such a word ("at 9 p.m.", "3 kg.", "in the u.s.") is told by the word behind it: `OPENERS` begin
sentences, other function words go on with one. A text in capitals is judged by its copy in small letters.
"""

from __future__ import annotations

from typing import Any

import regex

from trimtab.instructions import abbreviations as known
from trimtab.instructions import fullstop, stops
from trimtab.instructions.lexicon import Lexicon

# Small letters in a row; a block in capitals may have those that stand for code and the like, and units.
_SMALL = regex.compile(r"\b(?:Code|address|formula)\b(*SKIP)(*FAIL)|(?<!\p{Nd}[ \u00a0]?)\p{Ll}{2}")
_CAPITALS = regex.compile(r"\p{Lu}\p{M}*\p{Lu}")
_DATE_GOES_ON = regex.compile(r"\G\s*\p{Nd}{1,2}\.")
_MARKS = "\"\u2019\u201d\u201c\u00bb\u203a\u00ab\u2039'"
# What is said in quotation marks at the end of a text; an apostrophe is none.
_OPENED = regex.compile(
    r"(?<![\p{L}\p{N}])[\"'\u2018\u201c\u201e\u201a\u00ab\u00bb\u2039\u203a][^\"\u201c\u201e\u00ab\u00bb]*$"
)
_SAID_BY = regex.compile(rf"\G(?:[\p{{L}}\p{{M}}'’-]+ ){{0,3}}?(?:{'|'.join(known.SAID)})\b")


def _by_language(lists: dict[str, str]) -> dict[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in lists.items()}


# What units go on with: 5 km. and more.
_LINKS = frozenset(
    "and or of per to from und oder von pro og eller av pr och y o por et ou e di da en i z и или на".split()
)
_METRES = frozenset("mмlл")
_ROMAN = regex.compile(r"(?:x{1,2}|x?i{2,3}|x?i?v|x?vi{1,3}|x?ix)")
_TIME = regex.compile(r"\p{Nd}\s*\p{L}\.\s?m$")
_LETTER_TOO = regex.compile(r"\G\p{L}\.")
# What stands behind a time, or behind a unit, and goes on with the sentence.
_AFTER_TIMES = frozenset("sharp today tomorrow tonight yesterday daily".split())
_AFTER_UNITS = frozenset(
    "deep high tall long wide thick away apart hoch lang breit tief hög hoog wysokości утра дня вечера ночи".split()
)
# And the like, which stands before what it is like: elma vb. meyveler.
_AND_SUCH = frozenset(("vb", "v.b"))
OPENERS = _by_language(
    {
        "ca": "el els la les un una ell ella ells elles jo nosaltres aquest aquesta això després també hi",
        "cs": "on ona ono oni já ty my vy to ten ta tento tato tito tam tady zde potom pak také můj jeho její jejich",
        "da": "den det de en et han hun vi jeg du i man dette denne disse min mit mine der her derefter mange også",
        "de": "der die das ein eine er sie es wir ich ihr du man mein meine dein deine sein seine ihre unser unsere "
        "dies diese dieser dieses dann danach dort hier viele manche außerdem jedoch bitte was warum "
        "niemand jeder alles nichts",
        "el": "ο η το οι τα αυτός αυτή αυτό αυτοί εγώ εσύ εμείς εκεί εδώ μετά ένας μια ένα",
        "en": "the a an this these those that it its he she they we you i my your his her their our there here then "
        "what why how so also all many most some both nobody nothing everyone everybody please be see let keep put "
        "call however yes afterwards don't",
        "es": "el la los las un una unos unas él ella ellos ellas yo tú nosotros usted ustedes este esta estos estas "
        "esto ese esa eso mi mis tu tus su sus nuestro nuestra luego después también hay allí aquí",
        "fi": "hän he minä sinä me te se ne tämä nämä siellä täällä sitten myös monet",
        "fr": "le la les l un une des il elle ils elles on nous vous je j tu ce cet cette ces c cela ça mon ma mes ton "
        "son sa ses notre nos leur leurs puis ensuite alors voici voilà",
        "hu": "ő ők én te mi ti ez az a egy ott itt aztán majd sok",
        "id": "dia ia mereka saya aku kami kita anda ini itu ada lalu kemudian banyak",
        "it": "il lo la i gli le l un uno una io tu lui lei noi voi loro questo questa questi queste quello quella mio "
        "mia suo sua poi c ci",
        "nl": "de het een hij zij ze we wij ik jij je u dit deze dat die mijn zijn haar er daar hier dan daarna ook",
        "no": "den det de en et han hun vi jeg du man dette denne disse min mitt mine der her deretter mange også",
        "pl": "on ona ono oni one ja ty my wy to ten ta te ci tam tu potem następnie mój moja jego jej ich wiele",
        "pt": "o a os as um uma eu ele ela eles elas nós você vocês este esta isso isto esse essa meu minha seu sua "
        "depois também há",
        "ro": "el ea ei ele eu tu noi voi acesta aceasta acest această aici acolo apoi mulți",
        "ru": "он она оно они я ты мы вы это этот эта эти там здесь тут потом затем также сейчас теперь мой моя его её "
        "их наш наша",
        "sv": "den det de en ett han hon vi jag du ni man detta denna dessa min mitt mina där här sedan då många",
        "tr": "o bu şu ben sen biz siz onlar bunlar sonra ayrıca burada orada benim onun",
        "uk": "він вона воно вони я ти ми ви це цей ця ці там тут потім мій його її їх наш",
    }
)
"""By language, words that begin a sentence after an abbreviation rather than go on with one."""


def in_capitals(block: str) -> bool:
    """Whether a block has capitals alone, but for a letter here and there and units behind numbers."""
    return _SMALL.search(block) is None and _CAPITALS.search(block) is not None


def lowered(text: str) -> str:
    """A text in small letters, each of its characters where it was."""
    small = text.lower()
    # İ has two in small letters.
    return small if len(small) == len(text) else "".join(letter.lower()[:1] for letter in text)


def opens(word: str, lexicon: Lexicon) -> bool:
    """Whether a word in small letters begins a sentence rather than goes on with one.

    Where an answer may be in several languages, in more of them than not.
    """
    parts = {word, word.partition("'")[0]}
    told = {one for one in lexicon.languages if not parts.isdisjoint(OPENERS.get(one, ()))}
    others = {one for one in lexicon.have_function_word(word) if one in OPENERS} - told
    return len(told) > len(others)


def belongs(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    """Whether a full stop belongs to the word before it; for the arguments see `fullstop.Stop`."""
    stop = fullstop.Stop(before, end, block, lexicon)
    # What looks like a long word is in no list.
    if not stop.token or fullstop.like_a_word(stop.token):
        return False
    begins = opens(stop.following, lexicon) and not _LETTER_TOO.match(block, end.end())
    return next((told for rule in RULES if (told := rule(stop, begins)) is not None), False)


def ends_after_speech(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    """Whether a sentence ends with the speech that a mark closes, as in: he said "stop." then he left."""
    word = fullstop.next_word(block, end)
    begins = opens(word, lexicon)
    introduced = _OPENED.split(before, 1)[0].rstrip() if end["close"][0] in _MARKS else before
    if not introduced:
        return begins and _SAID_BY.search(block, end.end()) is None
    # A title ends in no full stop, and what is said does.
    if end["mark"] == "." or introduced[-1] in ",:" or fullstop.last_word(introduced) in known.SAID:
        return begins or not lexicon.has_function_word(word)
    return begins


def _goes_on(stop: fullstop.Stop, begins: bool) -> bool:
    return not begins and stop.lexicon.has_function_word(stop.following)


def _number(stop: fullstop.Stop, begins: bool) -> bool | None:
    """An ordinal, in the languages that write it with a full stop."""
    if _ROMAN.fullmatch(stop.token) and not stop.lexicon.is_mostly_function_word(stop.token):
        return not begins and stop.lexicon.is_mostly_in(known.ORDINALS)
    if not fullstop.is_number(stop.token):
        return None
    if stop.following in known.AFTER_ORDINALS or fullstop.is_date(stop):
        return True
    if len(stop.token) > 2 or begins:
        return False
    if _DATE_GOES_ON.match(stop.block, stop.end.end()):
        return True
    return stop.lexicon.is_mostly_in(known.ORDINALS) and not stop.number


def _title(stop: fullstop.Stop, begins: bool) -> bool | None:
    if stop.word in known.CAPITALISED and not stop.lexicon.is_mostly_function_word(stop.token):
        return not begins
    if stops.street(stop):
        return True
    told = stops.title(stop)
    # A street, a foot, what is no title at all: no name is a pronoun. M. le maire is one.
    return told and (not begins or stop.word in ("m", "mme", "mlle"))


def _before_number(stop: fullstop.Stop, begins: bool) -> bool | None:
    if stops.weekday(stop):
        return True
    if stop.word in known.DATES and not stop.number:
        return None if begins or stop.lexicon.is_word(stop.token) else True
    return stops.before_number(stop)


def _often_last(stop: fullstop.Stop, begins: bool) -> bool | None:
    # A. M. Bach is no time.
    initials = stop.token == "m" and not _TIME.search(stop.before)
    if initials or known.OFTEN_LAST.isdisjoint(stop.words):
        return None
    if stop.opens or stop.following in known.AFTER_TIMES or stop.following in _AFTER_TIMES:
        return True
    return not begins and (_goes_on(stop, begins) or stop.word in _AND_SUCH)


def _abbreviation(stop: fullstop.Stop, begins: bool) -> bool | None:
    told = stops.abbreviation(stop)
    if not told or stops.introduces(stop):
        return told
    if stop.opens:
        return True
    return not begins and (stop.word not in known.UNITS or stop.following in _LINKS)


def _initial(stop: fullstop.Stop, begins: bool) -> bool | None:
    if len(stop.token) != 1 or not stop.token.isalpha():
        return None
    if stop.opens:
        return True
    if (
        stop.following in known.PARTICLES
        and stop.earlier not in known.BEFORE_LETTERS
        and not stop.after_number
    ):
        return True
    if begins or stop.earlier in known.BEFORE_LETTERS or stop.earlier.endswith("°"):
        return False
    if stop.after_number:
        # 5 p. m., 3 h. 20 min., 40 W. Elm St.
        if _LETTER_TOO.match(stop.block, stop.end.end()) or (stop.token == "h" and stop.number):
            return True
        if stop.token in _METRES:
            return not begins and (stop.following in _LINKS or stop.following in _AFTER_UNITS)
        direction = stop.token in ("n", "e", "s", "w") and stop.lexicon.is_in("en")
        return direction or _goes_on(stop, begins) or stop.following in _AFTER_UNITS
    # So do i. is no initial.
    return stop.token != "i" or "en" not in stop.lexicon.languages


def _unit(stop: fullstop.Stop, begins: bool) -> bool | None:
    """A unit that is a word elsewhere: 2 in. wide."""
    if stop.token not in ("in", "sec") or not stop.after_number:
        return None
    return _goes_on(stop, begins) or stop.following in _AFTER_UNITS or stop.number


def _in_address(stop: fullstop.Stop, begins: bool) -> bool | None:
    return stops.in_address(stop) if stop.lexicon.lists(stop.token) else None


RULES = (_number, _title, _before_number, _often_last, _abbreviation, _unit, _initial, _in_address)
"""What tells whether a full stop belongs to its word, in order; None where a rule cannot."""

"""Words that an answer of our own types must have, or must not have, as `instructions.occurrence` finds them."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Sequence

import regex

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import (
    ANY,
    SOMETHING,
    SPACE,
    answer,
    any_case,
    literal,
    pattern,
    spelled,
)
from trimtab.instructions.grammars.wording import within
from trimtab.instructions.occurrence import GREEK, UNSPACED, bare
from trimtab.instructions.text import folded, same_in_other_letters

# What has no width, points of vowels, and marks of stress: a reader does not miss them inside of a word.
_UNSEEN = (
    r"\u00AD\u0300\u0301\u0307\u0308\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164"
    r"\uFE00-\uFE0F\uFEFF\uFFA0\U000E0000-\U000E0FFF"
    r"\u055B\u055C\u055E\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0640\u064B-\u0652\u0670"
)
_MARKS = r"*_~`>\\"
_ENTITY = r"&#?[A-Za-z0-9]+;"
_BLANK = r"\s\x1c-\x1f"
# No letter and no digit, or one of a script that parts words by nothing, or one that is not seen.
_EDGE = rf"[[^\p{{L}}\p{{Nd}}\p{{Nl}}]{UNSPACED}{_UNSEEN}]"
_TONE_AND_RING = regex.compile(r"([\u0e48-\u0e4b])(\u0e4d)")
# Scripts that write particles or articles at a noun.
_ATTACHING = regex.compile(rf"[{UNSPACED}\p{{Script=Hangul}}\p{{Script=Arabic}}\p{{Script=Hebrew}}]")
_LETTER = regex.compile(r"[\p{L}\p{Nd}\p{Nl}]")
_IDEOGRAPHIC = r"\p{Script=Han}\p{Script=Hiragana}"


def include(words: Sequence[str]) -> Constraint:
    """Each of the words as it is or in another case, with no letter beside it, where it has to come at the latest."""
    return answer(*(_included(word.strip()) for word in words), exact=True)


def _included(word: str) -> str:
    before, behind = rf'{SPACE}("\[:', rf'{SPACE};:!?)"\]}}/'
    free = regex.compile(f"[{_IDEOGRAPHIC}]")
    if free.match(word[0]):
        before += rf"{_IDEOGRAPHIC}。、！？「"
    if free.match(word[-1]):
        behind += rf"{_IDEOGRAPHIC}。、！？」"
    return within(1, spelled(word), f"[{before}]", rf"[{behind}]{ANY}|[.,]{{1,3}}([^\p{{Nd}}.,]{ANY})?")


def exclude(words: Sequence[str]) -> Constraint:
    """Something in which none of the words is found, however it is written.

    Letters in another style, such as those of full width, are not admitted where they are letters of a word.
    """
    parts, styled = [], ""
    for word in words:
        for turkish in (False, True) if "ı" in word or "İ" in word else (False,):
            wanted = folded(word, marked=True, turkish=turkish).strip()
            parts += _excluded(wanted)
            if word.isupper() and GREEK.search(word):
                parts.append(f"{ANY}{''.join(map(_accented, bare(wanted)))}{ANY}")
            styled += "".join(_other_ways(wanted)[1])
    none = "".join(map(literal, sorted(set(styled))))
    # An entity could stand for a letter of one.
    parts.append(f"{ANY}{_ENTITY}{ANY}")
    # A tag inside of one is not seen; << begins a title and no tag.
    parts.append(f"({ANY}[^<])?</?[A-Za-z]{ANY}")
    something = rf"[^{none}]*[^{none}{_BLANK}][^{none}]*" if none else SOMETHING
    return Constraint.terminal(pattern(something), f"~{pattern('|'.join(parts))}", exact=True)


def _excluded(word: str) -> list[str]:
    before = f"({ANY}{_EDGE})?" if _has_edge(word[0]) else ANY
    behind = f"({_EDGE}{ANY})?" if _has_edge(word[-1]) else ANY
    parts = [f"{before}{_written(word)}{behind}"]
    if (typed := _TONE_AND_RING.sub(r"\2\1", word)) != word:
        parts.append(f"{before}{_written(typed)}{behind}")
    # With something unseen between two of its characters it is still the same word.
    pieces = dict.fromkeys(word + unicodedata.normalize("NFD", word))
    cased = [any_case(each) for each in pieces if not each.isspace()]
    inside = "".join(each[1:-1] if each.startswith("[") else each for each in cased)
    inside += "".join(literal(each) for each in itertools.chain(*_other_ways(word)[0].values()))
    if len(pieces) > 1 or len(word) > 1:
        unseen = rf"[{_MARKS}{_BLANK}]*[{_UNSEEN}][{_MARKS}{_BLANK}{_UNSEEN}]*"
        parts.append(f"{ANY}[{inside}]{unseen}[{inside}]{ANY}")
    return parts


def _accented(character: str) -> str:
    """A letter of Greek with whatever accents."""
    if not GREEK.match(character):
        return literal(character)
    greek = map(chr, (*range(0x370, 0x400), *range(0x1F00, 0x2000)))
    letters = [each for each in greek if bare(each.casefold()) == character]
    return f"[{''.join(letters)}][{_UNSEEN}{_MARKS}\u0313\u0314\u0342\u0345]*"


def _has_edge(character: str) -> bool:
    return bool(_LETTER.match(character)) and not _ATTACHING.match(character)


@functools.lru_cache(maxsize=256)
def _other_ways(word: str) -> tuple[dict[str, list[str]], list[str]]:
    """The characters, by what they fold to, that stand for a mark or several letters of a word, and styled letters."""
    ways: dict[str, list[str]] = {}
    styled = []
    for character, fold in same_in_other_letters(word):
        if len(fold) == 1 and unicodedata.decomposition(character).startswith("<"):
            styled.append(character)
        elif fold in word:
            ways.setdefault(fold, []).append(character)
    return ways, styled


@functools.lru_cache(maxsize=256)
def _written(word: str) -> str:
    """The ways to write a folded word without styled letters, and perhaps some that are not one."""
    ways, _ = _other_ways(word)

    @functools.cache
    def rest(place: int) -> str:
        """The word from a place on."""
        if place == len(word):
            return ""
        if word[place].isspace():
            return f"[{_BLANK}{_MARKS}]+{rest(place + 1)}"
        found = [_character(word[place]) + _joined(rest(place + 1))]
        for fold, characters in ways.items():
            if word.startswith(fold, place):
                either = f"[{''.join(map(literal, characters))}]"
                found.append(either + _joined(rest(place + len(fold))))
        return f"({'|'.join(found)})" if len(found) > 1 else found[0]

    return rest(0)


def _joined(following: str) -> str:
    return f"[{_MARKS}]*{following}" if following else following


def _character(character: str) -> str:
    """One letter of a folded word in any case, composed or not."""
    ways = [any_case(character)]
    parts = unicodedata.normalize("NFD", character)
    if len(parts) > 1:
        base, mark = unicodedata.normalize("NFC", parts[:-1]), parts[-1]
        ways.append(_character(base) + f"[{_MARKS}]*" + literal(mark))
        if "\u0370" <= parts[0] <= "\u03ff":
            # Greek capitals are written without accents.
            ways.append(any_case(parts[0]))
    return f"({'|'.join(ways)})" if len(ways) > 1 else ways[0]

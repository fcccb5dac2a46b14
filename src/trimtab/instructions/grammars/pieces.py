"""What the constraints of the catalogue are put together from: pieces of regular expressions, in Rust's syntax."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from trimtab.constraint import Constraint, lark_pattern

ANY = "(?s:.*)"
# White space and its opposite are those of `str.strip`, which knows four more characters than Unicode's property.
SPACE = r"[\s\x1c-\x1f]"
INK = r"[^\s\x1c-\x1f]"
SOMETHING = f"{ANY}{INK}{ANY}"
# What Python's `re` calls \w; Rust's has combining marks too.
WORD = r"[\p{L}\p{N}_]"
NO_WORD = r"[^\p{L}\p{N}_]"


def unended(besides: str = "") -> str:
    """Text in which no sentence ends: every mark stands behind something that is no letter (3.5, a number in a list).

    Args:
        besides: Further characters that it does not have, as they stand in a class.
    """
    return rf"([^.!?{besides}]|[^\p{{L}}.!?{besides}][.!?])*"


ENDED = r"\p{L}[.!?]{1,3}[\"')\]]{0,2}"


def sentences_before(most: int, besides: str = "") -> str:
    """Text of so many sentences, or of fewer and a beginning: what follows it has to come when the last has ended."""
    free = unended(besides)
    return rf"(({free}{ENDED}){{0,{most - 1}}}{free}|({free}{ENDED}){{{most}}})"


_META = re.compile(r"([\\.+*?()|\[\]{}^$#&\-~/])")


def literal(text: str) -> str:
    """A text as it is, as a pattern."""
    return _META.sub(r"\\\1", text).replace("\n", "\\n")


def either(texts: Iterable[str]) -> str:
    """One of some texts, as they are."""
    return f"({'|'.join(literal(text) for text in dict.fromkeys(texts))})"


def spelled(text: str) -> str:
    """A text as it is, in lowercase, in capitals, or with a capital first: not in a mixture of cases."""
    cases = (text, text.lower(), text.upper(), text[:1].upper() + text[1:], text.title())
    return either(case for case in cases if case.lower() == text.lower())


@functools.lru_cache(maxsize=1024)
def any_case(text: str) -> str:
    """A text in any case and mixture of cases, as Python's `re.IGNORECASE` takes it."""
    return "".join(_any_case_of(character) for character in text)


@functools.lru_cache(maxsize=1024)
def _any_case_of(character: str) -> str:
    pattern = re.compile(re.escape(character), re.IGNORECASE)
    found = [other for other in _cased() if pattern.fullmatch(other)] or [character]
    return literal(found[0]) if len(found) == 1 else f"[{''.join(literal(each) for each in found)}]"


@functools.cache
def _cased() -> tuple[str, ...]:
    every = map(chr, (*range(0xD800), *range(0xE000, 0x1E944)))
    return tuple(
        character for character in every if character.lower() != character or character.upper() != character
    )


def pattern(text: str) -> str:
    """A pattern as an expression of a terminal. Negated it may match what is no UTF-8: meet it with one that is not."""
    return lark_pattern(text)


def answer(*patterns: str, exact: bool = False) -> Constraint:
    """What each of some patterns matches as a whole."""
    return Constraint.terminal(*(pattern(each) for each in patterns), exact=exact)

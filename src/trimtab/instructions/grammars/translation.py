"""Regular expressions of Python, as `re.search` finds them, said in Rust's syntax for whole answers.

What a constraint cannot say (looking ahead and behind, references to groups, edges of words in the middle) has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import ANY, NO_WORD, SOMETHING, SPACE, WORD, answer, literal

_SETS = {
    "CATEGORY_DIGIT": r"\p{Nd}",
    "CATEGORY_NOT_DIGIT": r"\P{Nd}",
    "CATEGORY_SPACE": SPACE,
    "CATEGORY_NOT_SPACE": r"[^\s\x1c-\x1f]",
    "CATEGORY_WORD": WORD,
    "CATEGORY_NOT_WORD": NO_WORD,
}
_STARTS, _ENDS = ("AT_BEGINNING", "AT_BEGINNING_STRING"), ("AT_END", "AT_END_STRING")
_KNOWN_FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE | re.UNICODE

Item = tuple[Any, Any]


class _UnsayableError(Exception):
    """Something that no constraint can say."""


def found(pattern: re.Pattern[str]) -> Constraint | None:
    """What answers must match in which a pattern is found somewhere; None where that cannot be said.

    Args:
        pattern: A compiled pattern of Python.
    """
    parser: Any = getattr(re, "_parser")  # noqa: B009 (typeshed does not know it)
    if pattern.flags & ~_KNOWN_FLAGS:
        return None
    try:
        whole = _whole(list(parser.parse(pattern.pattern, pattern.flags)), pattern.flags)
    except _UnsayableError:
        return None
    return answer(whole, SOMETHING, exact=True)


def _whole(items: list[Item], flags: int) -> str:
    """A pattern with what stands before and behind it."""
    if len(items) == 1 and str(items[0][0]) == "BRANCH":
        return "|".join(_whole(list(branch), flags) for branch in items[0][1][1])
    before, behind = ANY, ANY
    if items and (place := _place(items[0])):
        items = items[1:]
        if place in _STARTS:
            before = f"({ANY}\\n)?" if place == "AT_BEGINNING" and flags & re.MULTILINE else ""
        elif place == "AT_BOUNDARY" and _of_word(items[:1]):
            before = f"({ANY}{NO_WORD})?"
        else:
            raise _UnsayableError
    if items and (place := _place(items[-1])):
        items = items[:-1]
        if place in _ENDS:
            # Python's $ also stands before a line break at the end.
            behind = "" if place == "AT_END_STRING" else f"(\\n{ANY})?" if flags & re.MULTILINE else "\\n?"
        elif place == "AT_BOUNDARY" and _of_word(items[-1:], last=True):
            behind = f"({NO_WORD}{ANY})?"
        else:
            raise _UnsayableError
    inside = _sequence(items, flags)
    return f"{before}(?i:{inside}){behind}" if flags & re.IGNORECASE else f"{before}({inside}){behind}"


def _place(item: Item) -> str | None:
    return str(item[1]) if str(item[0]) == "AT" else None


def _sequence(items: Iterable[Item], flags: int) -> str:
    return "".join(_item(str(kind), value, flags) for kind, value in items)


def _item(kind: str, value: Any, flags: int) -> str:
    if kind == "LITERAL":
        return literal(chr(value))
    if kind == "NOT_LITERAL":
        return _negated([("LITERAL", value)], flags)
    if kind == "ANY":
        return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
    if kind == "IN":
        negated = str(value[0][0]) == "NEGATE"
        return _negated(value[1:], flags) if negated else f"[{_members(value)}]"
    if kind == "BRANCH":
        return f"({'|'.join(_sequence(branch, flags) for branch in value[1])})"
    if kind == "SUBPATTERN":
        _, added, removed, inside = value
        if added or removed:
            raise _UnsayableError
        return f"({_sequence(inside, flags)})"
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, inside = value
        most = "" if str(high) == "MAXREPEAT" else str(int(high))
        return f"({_sequence(inside, flags)}){{{low},{most}}}"
    raise _UnsayableError


def _negated(members: Sequence[Item], flags: int) -> str:
    if flags & re.IGNORECASE:
        # The two know other characters for cases of one letter; negated, Rust would admit more than Python.
        raise _UnsayableError
    return f"[^{_members(members)}]"


def _members(members: Sequence[Item]) -> str:
    return "".join(_member(str(kind), value) for kind, value in members)


def _member(kind: str, value: Any) -> str:
    if kind == "LITERAL":
        return literal(chr(value))
    if kind == "RANGE":
        return f"{literal(chr(value[0]))}-{literal(chr(value[1]))}"
    if kind == "CATEGORY":
        return _SETS[str(value)]
    raise _UnsayableError


def _of_word(items: Sequence[Item], *, last: bool = False) -> bool:
    """Whether what one item matches starts (or ends) with a letter or digit, whatever it is."""
    if not items:
        return False
    kind, value = str(items[-1 if last else 0][0]), items[-1 if last else 0][1]
    if kind == "LITERAL":
        return chr(value).isalnum() or value == ord("_")
    if kind == "IN":
        return all(
            (str(sort) == "LITERAL" and (chr(each).isalnum() or each == ord("_")))
            or (str(sort) == "CATEGORY" and str(each) in ("CATEGORY_WORD", "CATEGORY_DIGIT"))
            or (str(sort) == "RANGE" and all(chr(code).isalnum() for code in range(each[0], each[1] + 1)))
            for sort, each in value
        )
    if kind == "SUBPATTERN":
        return _of_word(list(value[3]), last=last)
    if kind == "BRANCH":
        return all(_of_word(list(branch), last=last) for branch in value[1])
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return bool(value[0]) and _of_word(list(value[2]), last=last)
    return False

"""What callers give, by kind: a count, a share, a seed, a list of texts; whatever else it is, is refused in one line.

Types are checked where a kind of value comes in, once, and not in every function that hands it on. Every function here
gives the value back as the type that it says; `name` (of the argument) and `error` (its class) are for the message.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError

Error = type[TrimtabError]

_LONG = 4096  # bits; of a number with thousands of digits Python writes none


def in_words(value: Any) -> str:
    """What somebody gave, short enough for a message: a plain value as it is written, of anything else its type."""
    if isinstance(value, int) and value.bit_length() > _LONG:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float | str):
        return f"{value!r:.60}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def whole(value: Any, name: str, error: Error, *, least: int | None = None, most: int | None = None) -> int:
    """A whole number, of Python or of another library (numpy); from `least` on, up to `most`, where these are given."""
    wanted = "a whole number"
    if least is not None and most is not None:
        wanted += f" from {least} to {most:,}"
    elif least is not None:
        wanted += f" from {least} on"
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except Exception:  # noqa: BLE001 - what pretends to be a number: a tensor of several raises what it likes
        found = None
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        raise error(f"{name} must be {wanted}, not {in_words(value)}")
    return found


def seed(value: Any, error: Error, name: str = "seed") -> int:
    """A whole number that fits into 64 bits, as generators of random numbers take it."""
    found = whole(value, name, error)
    if not -(2**63) <= found < 2**64:
        raise error(f"{name} must fit into 64 bits, and {in_words(value)} does not; take a smaller one")
    return found


def number(
    value: Any,
    name: str,
    error: Error,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    wanted: str = "a finite number",
) -> float:
    """A finite number above, from, and up to what is given; `wanted` says in words what that is."""
    try:
        # A text that spells a number is a text, and a truth is no number.
        found = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except Exception:  # noqa: BLE001 - as above
        found = math.nan
    if not (math.isfinite(found) and found > above and least <= found <= most):
        raise error(f"{name} must be {wanted}, not {in_words(value)}")
    return found


def positive(value: Any, name: str, error: Error) -> float:
    """A finite number above 0."""
    return number(value, name, error, above=0, wanted="a positive number")


def bounds(value: Any, *, leave: Iterable[str] = ()) -> None:
    """Makes sure that the fields of a dataclass, but for some, are numbers from 0 on; infinity bounds nothing.

    Raises:
        TrimtabError: One is none.
    """
    for name in (one.name for one in fields(value) if one.name not in set(leave)):
        given = getattr(value, name)
        if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
            raise TrimtabError(
                f"{name} of the {type(value).__name__} is a number from 0 on, not {in_words(given)}"
            )


def share(value: Any, name: str, error: Error) -> float:
    """A number from 0 to 1."""
    return number(value, name, error, least=0, most=1, wanted="a share between 0 and 1")


def flag(value: Any, name: str, error: Error) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise error(f"{name} is True or False, not {in_words(value)}")
    return value


def text(value: Any, name: str, error: Error) -> str:
    """A text."""
    if not isinstance(value, str):
        raise error(f"{name} must be a text, not {in_words(value)}")
    return value


def place(value: Any, name: str, error: Error) -> Path:
    """The path of a file or a folder."""
    if not isinstance(value, str | Path):
        raise error(f"{name} must be a path, as a text or a pathlib.Path, not {in_words(value)}")
    return Path(value)


def one_of(value: Any, name: str, words: Iterable[str], error: Error) -> str:
    """One of a few words."""
    known = tuple(words)
    if not isinstance(value, str) or value not in known:
        raise error(f"{name} is one of {', '.join(known)}, not {in_words(value)}")
    return value


def listed(value: Any, name: str, of: str, error: Error) -> list[Any]:
    """Several of something (`of`: "queries", say) in an order, as a list; a single text is none, nor is a mapping."""
    single = isinstance(value, str | bytes | Mapping)
    if single or not isinstance(value, Iterable):
        mend = "; put a single one into a list" if single else ""
        raise error(f"{name} must be a list of {of}, not {in_words(value)}{mend}")
    try:
        return list(value)
    except TypeError as failure:  # a tensor without dimensions says that it can be gone through
        raise error(f"{name} must be a list of {of}, not {in_words(value)}") from failure


def each(value: Any, name: str, of: str, kind: type[Any] | tuple[type[Any], ...], error: Error) -> list[Any]:
    """Several of a type, in an order, as a list."""
    found = listed(value, name, of, error)
    for position, one in enumerate(found):
        if not isinstance(one, kind):
            raise error(f"{name} must be a list of {of}, and number {position} of it is {in_words(one)}")
    return found


def instance(value: Any, name: str, kind: type[Any], of: str, error: Error) -> Any:
    """An object of a type; `of` says what that is and where one is had: "a Steering (Steering.load reads one)"."""
    if not isinstance(value, kind):
        raise error(f"{name} must be {of}, not {in_words(value)}")
    return value


def function(value: Any, name: str, of: str, error: Error) -> Any:
    """What can be called; `of` says with what, and what it gives."""
    if not callable(value):
        raise error(f"{name} must be {of}, not {in_words(value)}")
    return value

"""How parameter values are put into words: numbers, texts and lists inside a phrasing's template."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from trimtab.errors import InstructionError

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = (
    "", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
)  # fmt: skip


def number_in_words(number: int) -> str:
    """Spell a number out: 7 is "seven", 42 "forty-two", 300 "three hundred"; others stay digits."""
    if 0 <= number < 20:
        return _SMALL[number]
    if 20 <= number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    if 100 <= number < 1000 and number % 100 == 0:
        return f"{_SMALL[number // 100]} hundred"
    return str(number)


def ordinal(number: int) -> str:
    """Name a position: 1 is "first", 13 "13th"."""
    if 0 < number < len(_ORDINALS):
        return _ORDINALS[number]
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


class Number(int):
    """A number in a template.

    ``{n}`` gives digits, ``{n:word}`` and ``{n:Word}`` spell it out, ``{n:ordinal}`` names the position and
    ``{n:sentence/sentences}`` picks the noun's form.
    """

    def __format__(self, spec: str) -> str:
        if spec == "word":
            return number_in_words(self)
        if spec == "Word":
            return number_in_words(self).capitalize()
        if spec == "ordinal":
            return ordinal(self)
        if "/" in spec:
            return _either(spec, self == 1)
        return super().__format__(spec)


class Texts(tuple[str, ...]):
    """A list of texts in a template.

    ``{ws}`` gives ``"a", "b" and "c"``, ``{ws:plain}`` the same without quotation marks, ``{ws:or}`` joins with
    "or", ``{ws:comma}`` gives ``a, b, c`` and ``{ws:word/words}`` picks the noun's form.
    """

    def __format__(self, spec: str) -> str:
        if "/" in spec:
            return _either(spec, len(self) == 1)
        if spec == "comma":
            return ", ".join(self)
        quote = "" if "plain" in spec else '"'
        shown = [f"{quote}{text}{quote}" for text in self]
        joint = " or " if "or" in spec.split("-") else " and "
        return joint.join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _either(spec: str, singular: bool) -> str:
    one, many = spec.split("/", 1)
    return one if singular else many


def worded(value: Any) -> Any:
    """Wrap a parameter's value so that a template can format it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return Number(value)
    if isinstance(value, list | tuple):
        return Texts(value)
    return value


def fill(template: str, values: Mapping[str, Any], owner: str) -> str:
    """Put values into a template; refuse one that names a value that does not exist, or is not well formed."""
    try:
        return template.format_map({name: worded(value) for name, value in values.items()})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InstructionError(
            f"{owner}: the phrasing {template!r} cannot be filled in ({error}); its fields may be "
            f"{', '.join(sorted(values)) or 'none'}, and a literal brace is written twice"
        ) from None


def outline(template: str) -> str:
    """A template for people to read: ``{n:word}`` becomes ``<n>``, and ``{n:time/times}`` "times"."""
    parts = []
    for text, name, spec, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is not None:
            parts.append(spec.split("/", 1)[1] if spec and "/" in spec else f"<{name}>")
    return "".join(parts)

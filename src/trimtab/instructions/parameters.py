"""Parameters of an instruction: what a value must be, and what to say when it is not."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from trimtab.errors import InstructionError

Kind = Literal["integer", "number", "boolean", "text", "texts"]

_EXPECTED: Mapping[Kind, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "text": "a text",
    "texts": "a list of texts",
}
_BOUND = 10**18
"""From here on a number is no count of anything in an answer."""

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter of an instruction.

    Write it as the metadata of an annotation; name, kind and default come from the function's signature::

        def bullets(num_bullets: Annotated[int, Parameter("how many", minimum=1, example=3)]): ...

    Attributes:
        help: What the parameter means, in a few words.
        minimum: Smallest number allowed (for texts: smallest count).
        choices: The only values allowed; empty when anything goes.
        example: A value to show in documentation.
        normalise: Called with a valid value, returns the one to keep; may raise ``ValueError`` with one line.
        name: Name, filled in from the signature.
        kind: What sort of value, filled in from the annotation.
        default: Value when none is given; ``REQUIRED`` when there must be one.
    """

    help: str = ""
    minimum: int | None = None
    choices: tuple[Any, ...] = ()
    example: Any = None
    normalise: Callable[[Any], Any] | None = None
    name: str = ""
    kind: Kind = "text"
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""
        return self.default is REQUIRED

    def describe(self) -> str:
        """Say what values are allowed, in a few words."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.minimum is not None and self.kind in ("integer", "number"):
            return f"{_EXPECTED[self.kind]}, {self.minimum} or more"
        return _EXPECTED[self.kind]

    def validate(self, owner: str, value: Any) -> Any:
        """Return the value to keep; `owner` is the name of the instruction, for the message.

        Raises:
            InstructionError: If the value is not what the parameter allows.
        """
        kept = self._of_kind(value)
        if kept is None and self.kind == "integer" and isinstance(value, int | float) and value >= _BOUND:
            raise InstructionError(f"{owner}: {self.name} must be at most {_BOUND - 1}, not {value!r:.60}")
        if kept is None or (self.choices and kept not in self.choices) or self._too_small(kept):
            raise InstructionError(f"{owner}: {self.name} must be {self.describe()}, not {value!r}")
        if self.normalise is None:
            return kept
        try:
            return self.normalise(kept)
        except ValueError as error:
            raise InstructionError(f"{owner}: {self.name} {error}") from None

    def _too_small(self, value: Any) -> bool:
        return self.minimum is not None and self.kind in ("integer", "number") and value < self.minimum

    def _of_kind(self, value: Any) -> Any:
        """The value as this kind, or None when it is not of this kind."""
        if self.kind == "boolean":
            return value if isinstance(value, bool) else None
        if self.kind in ("integer", "number"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            if self.kind == "number":
                return value
            # IFEval's own data holds whole numbers as floats (3.0), an artefact of its table format.
            return int(value) if value == value and abs(value) < _BOUND and value == int(value) else None
        if self.kind == "text":
            return value if isinstance(value, str) and value.strip() else None
        if isinstance(value, str) or not isinstance(value, Sequence):
            return None
        texts = list(value)
        return texts if texts and all(isinstance(text, str) and text.strip() for text in texts) else None


def from_signature(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Read the parameters off a function's signature.

    Each is annotated by one of `_KINDS`, optionally ``| None`` and optionally ``Annotated[..., Parameter(...)]``.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, declared in inspect.signature(function).parameters.items():
        if declared.kind in (declared.VAR_POSITIONAL, declared.VAR_KEYWORD):
            raise InstructionError(f"{function.__name__}: *{name} cannot be a parameter; name each one")
        metadata, kind = _read_hint(function.__name__, name, hints.get(name))
        found.append(replace(metadata, name=name, kind=kind, default=declared.default))
    return tuple(found)


_KINDS: Mapping[Any, Kind] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "text",
    list[str]: "texts",
}


def _read_hint(function: str, name: str, hint: Any) -> tuple[Parameter, Kind]:
    metadata = Parameter()
    kinds: list[Kind] = []
    pending = [hint]
    while pending:
        current = pending.pop()
        if typing.get_origin(current) is typing.Annotated:
            inner, *extras = typing.get_args(current)
            metadata = next((extra for extra in extras if isinstance(extra, Parameter)), metadata)
            pending.append(inner)
        elif typing.get_origin(current) in (typing.Union, types.UnionType):
            pending.extend(typing.get_args(current))
        elif current in _KINDS:
            kinds.append(_KINDS[current])
        elif current is not type(None):
            kinds.clear()
            break
    if len(kinds) != 1:
        raise InstructionError(
            f"{function}: annotate {name} as int, float, bool, str or list[str], optionally with | None"
        )
    return metadata, kinds[0]

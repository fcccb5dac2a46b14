"""Rules on the prompt's text: a regular expression, or a Python function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.patterns import UserPattern
from trimtab.steering.documents import take
from trimtab.steering.record import ModelIdentity
from trimtab.steering.when.base import Prompt, Reader, When, prompt_text


@dataclass(frozen=True, eq=False)
class Matches(When):
    """The prompt's text (of a chat: its last message) has a match of a regular expression somewhere.

    Attributes:
        pattern: The expression, in the syntax of the package `regex`, a superset of `re`. `(?i)` in front ignores case.

    Raises:
        SteeringError: It is not a regular expression.
    """

    kind = "matches"
    pattern: str
    _searched: UserPattern = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_searched", UserPattern(self.pattern, SteeringError))

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether the text matches. A search that takes too long is an error: saved patterns may come from anyone."""
        return self._searched.found_in(prompt_text(prompt), "a prompt")

    def describe(self) -> str:
        """The pattern in words."""
        return f"the prompt matches /{self.pattern}/"

    def content(self) -> list[Any]:
        """The pattern."""
        return [self.kind, self.pattern]

    @classmethod
    def read(
        cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor], model: ModelIdentity, where: str | Path
    ) -> Self:
        """Reads the pattern."""
        return cls(take(values, "pattern", str, where))


@dataclass(frozen=True, eq=False)
class Rule(When):
    """A Python function of the prompt's text (of a chat: its last message) says whether to act. It cannot be saved.

    Attributes:
        function: Takes the text, gives a truth value. It should be pure: the same text, the same answer.

    Raises:
        SteeringError: It is not callable.
    """

    function: Callable[[str], bool]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SteeringError(f"a rule is a function of the prompt's text, not {self.function!r:.60}")

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """What the function says."""
        return bool(self.function(prompt_text(prompt)))

    def describe(self) -> str:
        """The function's name."""
        return f"the Python function {self._name} says so"

    def content(self) -> list[Any]:
        """Refused: code has no content that could be compared or saved."""
        raise SteeringError(
            f"a rule that is Python code ({self._name}) cannot be saved and has no digest; use a regular expression "
            "(when.Matches) or learn when to act from examples (learn.when)"
        )

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def _key(self) -> object:
        return ["rule", id(self.function)]

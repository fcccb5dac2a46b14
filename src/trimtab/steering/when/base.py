"""What every `When` can do, how it is saved where its class says nothing else, and how several go together."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from torch import Tensor

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.steering.record import ModelIdentity

Prompt = str | Sequence[Mapping[str, Any]]
"""A user message, or a chat: `{"role": ..., "content": ...}` messages, whose content is text or a list of text parts,
`{"type": "text", "text": ...}`. The last message is the user's, or the assistant's: the beginning of the answer."""

ReadTokens = Literal["last", "mean"]
"""Which tokens of the formatted prompt a learned `when` reads: the last, or the mean of all."""

Reader = Callable[[int, ReadTokens], Tensor]
"""Gives the output `[d]`, float32, of a block of the unsteered model at those tokens of the prompt in question."""


class When(ABC):
    """Says of a prompt whether a steering shall act on it. Those of the same content are equal.

    Attributes:
        kind: The name under which objects of this class are saved, and loaded again.
    """

    kind: ClassVar[str] = ""

    @abstractmethod
    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether a steering with this `when` acts.

        Args:
            prompt: A user message, or a chat.
            read: Gives the block outputs named in `readings`.

        Raises:
            SteeringError: It cannot be decided.
        """

    @property
    def readings(self) -> frozenset[tuple[int, ReadTokens]]:
        """The blocks, and the tokens there, that must be read to decide; none for a plain rule."""
        return frozenset()

    def refusal(self, model: ModelIdentity, *, allow_other_model: bool = False) -> str | None:
        """Why it must not be decided on a model: None when it may.

        Args:
            model: The model.
            allow_other_model: Take any model of a shape that fits.
        """
        return None

    @abstractmethod
    def describe(self) -> str:
        """What it asks for in words, to stand after "acts if"."""

    def content(self) -> list[Any]:
        """What it decides by, as plain JSON (tensors as digests): equal for those that decide alike.

        Raises:
            SteeringError: It is Python code, which has no content to compare.
        """
        tensors = {name: digest_of(tensor) for name, tensor in self.tensors().items()}
        kind = self.kind or f"{type(self).__module__}.{type(self).__qualname__}"
        return [kind, {**self.document(), **tensors}]

    def document(self) -> dict[str, Any]:
        """What is saved of it in JSON; by default the fields of a dataclass that are no tensors."""
        return {name: value for name, value in self._fields().items() if not isinstance(value, Tensor)}

    def tensors(self) -> dict[str, Tensor]:
        """The vectors that are saved beside the JSON, as float32; by default the fields that are tensors."""
        return {name: value for name, value in self._fields().items() if isinstance(value, Tensor)}

    @classmethod
    def read(
        cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor], model: ModelIdentity, where: str | Path
    ) -> Self:
        """Make it of what `document` and `tensors` gave; by default these are the arguments of the class.

        Args:
            values: From the JSON; anything may be in it.
            tensors: By the names that `tensors` gave them.
            model: The model of the steering.
            where: For messages.

        Raises:
            SteeringError: It is damaged, or does not fit the model.
        """
        try:
            return cls(**values, **tensors)
        except (TypeError, ValueError, AttributeError) as error:
            raise SteeringError(f"{where} makes no '{cls.kind}': {error}") from error

    def _fields(self) -> dict[str, Any]:
        listed: Sequence[Any] = fields(cast("Any", self)) if is_dataclass(self) else ()
        return {one.name: getattr(self, one.name) for one in listed if one.init}

    def __and__(self, other: When) -> When:
        return AllOf((self, other)) if isinstance(other, When) else NotImplemented

    def __or__(self, other: When) -> When:
        return AnyOf((self, other)) if isinstance(other, When) else NotImplemented

    def __invert__(self) -> When:
        return Not(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, When) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(repr(self._key()))

    def _key(self) -> object:
        return self.content()


@dataclass(frozen=True, eq=False)
class Parts(When):
    """Several put together; those of the same kind inside are taken apart."""

    combine: ClassVar[Callable[[Iterable[bool]], bool]]
    word: ClassVar[str]
    parts: tuple[When, ...]

    def __post_init__(self) -> None:
        flat: list[When] = []
        for part in arguments.each(self.parts, "parts", "`When` objects", When, SteeringError):
            flat += part.parts if isinstance(part, type(self)) else (part,)
        if not flat:
            raise SteeringError("all or any of nothing is no `when`; give at least one")
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def readings(self) -> frozenset[tuple[int, ReadTokens]]:
        """What all parts read."""
        return frozenset().union(*(part.readings for part in self.parts))

    def refusal(self, model: ModelIdentity, *, allow_other_model: bool = False) -> str | None:
        """The first reason of a part."""
        reasons = (part.refusal(model, allow_other_model=allow_other_model) for part in self.parts)
        return next(filter(None, reasons), None)

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether all or any of the parts hold."""
        return type(self).combine(part.holds(prompt, read) for part in self.parts)

    def describe(self) -> str:
        """The parts in words."""
        return f" {self.word} ".join(f"({part.describe()})" for part in self.parts)

    def content(self) -> list[Any]:
        """That of the parts."""
        return [self.kind, *(part.content() for part in self.parts)]

    def _key(self) -> object:
        return [self.kind, *(part._key() for part in self.parts)]


class AllOf(Parts):
    """All of them hold."""

    kind = "all"
    combine = all
    word = "and"


class AnyOf(Parts):
    """At least one of them holds."""

    kind = "any"
    combine = any
    word = "or"


class Not(Parts):
    """It does not hold."""

    kind = "not"

    def __init__(self, part: When) -> None:
        object.__setattr__(self, "parts", (part,))
        if not isinstance(part, When):
            raise SteeringError(f"only a `When` can be turned round, not {part!r:.60}")

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether the part does not hold."""
        return not self.parts[0].holds(prompt, read)

    def describe(self) -> str:
        """The part in words."""
        return f"not ({self.parts[0].describe()})"

    def __invert__(self) -> When:
        return self.parts[0]


def prompt_text(prompt: Prompt) -> str:
    """What a plain rule looks at: the prompt, or what a chat asks last."""
    if isinstance(prompt, str):
        return prompt
    asked = [message for message in prompt if message["role"] != "assistant"] or prompt
    return content_text(asked[-1]["content"])


def content_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a message's content; of several parts, each begins a line."""
    return content if isinstance(content, str) else "\n".join(str(part["text"]) for part in content)


def digest_of(tensor: Tensor) -> str:
    """What stands for a tensor where contents are compared."""
    return hashlib.sha256(tensor.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()

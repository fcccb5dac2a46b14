"""When a steering acts: what a prompt must be like, decided for each row before anything is written.

A `When` is data, as an edit's `tokens` are about *where*. It looks at the prompt alone, never at what
was generated and never at the steered model, so that the same prompt always gets the same decision, in any batch and on
any engine. Deciding is apart from applying: an engine decides first (`Engine.decided`), and then applies what is left.

- `Matches`: the prompt's text matches a regular expression.
- `Resembles`: the prompt's activations point along a learned direction (`trimtab.learn.when`). From B. W. Lee,
  I. Padhi, K. N. Ramamurthy, E. Miehling, P. Dognin, M. Nagireddy, A. Dhurandhar: Programming Refusal with Conditional
  Activation Steering (CAST), arXiv 2409.05907.
- `Rule`: a Python function says so. It cannot be saved.
- `AllOf`, `AnyOf`, `Not`: put together with `&`, `|` and `~`.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from trimtab.errors import SteeringError

if TYPE_CHECKING:
    from trimtab.steering.record import ModelIdentity

__all__ = ["AllOf", "AnyOf", "Matches", "Not", "Reader", "Resembles", "Rule", "When", "prompt_text"]

Prompt = str | Sequence[Mapping[str, str]]
ReadTokens = Literal["last", "mean"]
"""Which tokens of the formatted prompt a learned `when` reads: the last, or the mean of all."""

Reader = Callable[[int, ReadTokens], Tensor]
"""Gives the output `[d]`, float32, of a block of the unsteered model at those tokens of the prompt in question."""

_MATCH_SECONDS = 2.0


class When(ABC):
    """Says of a prompt whether a steering shall act on it. Conditions of the same content are equal."""

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

    @abstractmethod
    def content(self) -> list[Any]:
        """What it decides by, as plain JSON (tensors as digests): equal for those that decide alike.

        Raises:
            SteeringError: It is Python code, which has no content to compare.
        """

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
class Matches(When):
    """The prompt's text (of a chat: its last message) has a match of a regular expression somewhere.

    Attributes:
        pattern: The expression, in the syntax of the package `regex`, a superset of `re`. `(?i)` in front ignores case.

    Raises:
        SteeringError: It is not a regular expression.
    """

    pattern: str
    _compiled: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import regex

        try:
            object.__setattr__(self, "_compiled", regex.compile(self.pattern))
        except (regex.error, TypeError, RecursionError) as error:
            raise SteeringError(
                f"the pattern {self.pattern!r:.80} is not a regular expression: {error}"
            ) from error

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether the text matches. A search that takes too long is an error: saved patterns may come from anyone."""
        try:
            return self._compiled.search(prompt_text(prompt), timeout=_MATCH_SECONDS) is not None
        except TimeoutError:
            raise SteeringError(
                f"the pattern {self.pattern!r:.80} took over {_MATCH_SECONDS:g} s on a prompt of "
                f"{len(prompt_text(prompt))} characters; write it with less backtracking"
            ) from None

    def describe(self) -> str:
        """The pattern in words."""
        return f"the prompt matches /{self.pattern}/"

    def content(self) -> list[Any]:
        """The pattern."""
        return ["matches", self.pattern]


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


@dataclass(frozen=True, eq=False)
class Resembles(When):
    """The prompt's activations point along a learned direction: `cos(h, direction) > threshold`.

    `h` is the output of one block of the unsteered model, at the last token of the formatted prompt or as the mean of
    its tokens (CAST, arXiv 2409.05907). Which way "along" is was settled by the examples: CAST's comparison sign is in
    the direction's.

    Attributes:
        model: The model it was learned on.
        block: The 0-based block that is read.
        direction: `[d]`; kept as float32 on the CPU with norm 1.
        threshold: A cosine, in [-1, 1].
        tokens: What is read there.
        measurements: What it was measured to be on examples it was not learned from; plain JSON.

    Raises:
        SteeringError: A value makes no sense, or does not fit the model.
    """

    model: ModelIdentity
    block: int
    direction: Tensor = field(repr=False)
    threshold: float
    tokens: ReadTokens = "last"
    measurements: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tokens not in get_args(ReadTokens):
            raise SteeringError(
                f"what is read are the tokens {' or '.join(get_args(ReadTokens))}, not {self.tokens!r}"
            )
        direction = self.direction.detach().to("cpu", torch.float64)
        norm = float(torch.linalg.vector_norm(direction))
        if direction.dim() != 1 or not math.isfinite(norm) or norm == 0:
            raise SteeringError("the direction must be one vector, finite and not zero")
        if not math.isfinite(self.threshold):
            raise SteeringError(f"the threshold must be finite, not {self.threshold}")
        # Loaded again, the direction must be the same to the bit: one that has norm 1 stays as it is.
        unit = direction if abs(norm - 1) < 1e-6 else direction / norm
        object.__setattr__(self, "direction", unit.float())
        object.__setattr__(self, "threshold", float(self.threshold))
        reason = self.refusal(self.model)
        if reason is not None:
            raise SteeringError(f"{reason}, and does not fit {self.model}")

    @property
    def readings(self) -> frozenset[tuple[int, ReadTokens]]:
        """The one block and the tokens that are read."""
        return frozenset({(self.block, self.tokens)})

    def refusal(self, model: ModelIdentity, *, allow_other_model: bool = False) -> str | None:
        """Whether the model has such a block, of this width, and is the one it was learned on."""
        if not 0 <= self.block < model.blocks:
            return f"its `when` reads block {self.block}; the model has blocks 0 to {model.blocks - 1}"
        if len(self.direction) != model.width:
            return f"its `when` has a direction of width {len(self.direction)}, the model {model.width}"
        reason = None if allow_other_model else self.model.refusal(model)
        return None if reason is None else f"its `when` was learned on {self.model}: {reason}"

    def score(self, hidden: Tensor) -> float:
        """The cosine between a block output `[d]` and the direction.

        Raises:
            SteeringError: The output is not finite.
        """
        state = hidden.detach().to("cpu", torch.float64)
        norm = float(torch.linalg.vector_norm(state))
        if not math.isfinite(norm):
            raise SteeringError(
                f"the model gives values that are not finite at block {self.block}, so that nothing can be "
                "decided; load it in bfloat16 or float32"
            )
        return float(state @ self.direction.double()) / norm if norm else 0.0

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether the cosine is above the threshold."""
        return self.score(read(self.block, self.tokens)) > self.threshold

    def describe(self) -> str:
        """Block, tokens and threshold, and what was measured."""
        where = "the last prompt token" if self.tokens == "last" else "the prompt's mean token"
        f1 = self.measurements.get("f1")
        measured = f" (F1 {f1:.3g} on validation)" if isinstance(f1, float | int) else ""
        return f"{where} at block {self.block} has cosine > {self.threshold:.4g} with a learned direction{measured}"

    def content(self) -> list[Any]:
        """What is read and compared, the direction as a digest; not what it measured."""
        digest = hashlib.sha256(self.direction.contiguous().numpy().tobytes()).hexdigest()
        return ["resembles", self.block, self.tokens, self.threshold, digest]


@dataclass(frozen=True, eq=False)
class _Parts(When):
    """Several put together; those of the same kind inside are taken apart."""

    parts: tuple[When, ...]

    def __post_init__(self) -> None:
        flat: list[When] = []
        for part in self.parts:
            if not isinstance(part, When):
                raise SteeringError(f"only `When` objects go together, not {part!r:.60}")
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

    def _key(self) -> object:
        return [type(self).__name__, *(part._key() for part in self.parts)]


class AllOf(_Parts):
    """All of them hold."""

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether all parts hold."""
        return all(part.holds(prompt, read) for part in self.parts)

    def describe(self) -> str:
        """The parts in words."""
        return " and ".join(f"({part.describe()})" for part in self.parts)

    def content(self) -> list[Any]:
        """That of the parts."""
        return ["all", *(part.content() for part in self.parts)]


class AnyOf(_Parts):
    """At least one of them holds."""

    def holds(self, prompt: Prompt, read: Reader) -> bool:
        """Whether a part holds."""
        return any(part.holds(prompt, read) for part in self.parts)

    def describe(self) -> str:
        """The parts in words."""
        return " or ".join(f"({part.describe()})" for part in self.parts)

    def content(self) -> list[Any]:
        """That of the parts."""
        return ["any", *(part.content() for part in self.parts)]


class Not(_Parts):
    """It does not hold.

    Args:
        part: What must not hold.
    """

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

    def content(self) -> list[Any]:
        """That of the part."""
        return ["not", self.parts[0].content()]

    def __invert__(self) -> When:
        return self.parts[0]


def prompt_text(prompt: Prompt) -> str:
    """What a plain rule looks at: the prompt, or the content of a chat's last message."""
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])

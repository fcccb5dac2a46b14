"""Ways to say an instruction, in the three parts that steering is learned from, tuned on and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

Split = Literal["learning", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Phrasings:
    """Ways to say an instruction, as templates, in three parts that share none.

    Steering is learned from ``learning``, tuned on ``validation`` and measured on ``test``.
    """

    learning: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def divide(cls, templates: Sequence[str]) -> Self:
        """Split a plain list: the last two fifths are held out. Fewer than three phrasings serve all parts."""
        texts = tuple(dict.fromkeys(templates))
        if len(texts) < 3:
            return cls(texts, texts, texts)
        held_out = max(1, len(texts) // 5)
        return cls(texts[: -2 * held_out], texts[-2 * held_out : -held_out], texts[-held_out:])

    @classmethod
    def lines(cls, *, learning: str, validation: str, test: str) -> Self:
        """Read the three parts from texts with one template per line."""
        parts = (
            tuple(line.strip() for line in text.strip().split("\n")) for text in (learning, validation, test)
        )
        return cls(*parts)

    def __add__(self, other: Phrasings) -> Phrasings:
        return Phrasings(
            self.learning + other.learning, self.validation + other.validation, self.test + other.test
        )

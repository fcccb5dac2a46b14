"""What came of baking, and the record of it in the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.measure.quality import Quality
from trimtab.measure.statistics import rounded


@dataclass(frozen=True)
class Check:
    """The baked model, opened again, beside the steered one: greedy answers with the cache, padded on the left.

    Attributes:
        prompts: How many were answered.
        tokens: How many steps were compared: of each answer those up to the first that differs.
        difference: The largest difference of a logit.
        effect: The largest difference between logits of the steered and the plain model, to compare with.
        alike: How many answers have the same tokens.
        dtype: In which both ran.
    """

    prompts: int
    tokens: int
    difference: float
    effect: float
    alike: int
    dtype: str


@dataclass(frozen=True)
class Answered:
    """What answers of one model to test questions measured.

    Attributes:
        n: How many questions.
        followed: The share that follows the instructions of the steering's record; None if it names none.
        quality: By the plain model's likelihoods. Facts are the share of true sentences for nano, elsewhere that of
            closed-book questions answered rightly.
    """

    n: int
    followed: float | None
    quality: Quality

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"n": self.n, "followed": rounded(self.followed), "quality": self.quality.to_dict()}


@dataclass(frozen=True)
class Approximation:
    """How near a fitted checkpoint is to the steered model.

    Attributes:
        tokens: Over how many tokens of the steered model's answers it was fitted.
        explained: By block and edit, the share of what was fitted that is explained, in variance, in answers held out.
        divergence: How far the plain and the baked model are from the steered one on its own test answers: mean
            Kullback-Leibler divergence, nats per token, by `"plain"` and `"baked"`. None if nothing was tested.
        answered: What the answers of the `"plain"`, the `"steered"` and the `"baked"` model measured; None likewise.
    """

    tokens: int
    explained: Mapping[int, Sequence[float]]
    divergence: Mapping[str, float] | None
    answered: Mapping[str, Answered] | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "tokens": self.tokens,
            "explained": {str(block): list(shares) for block, shares in self.explained.items()},
            "divergence": self.divergence and dict(self.divergence),
            "answered": self.answered and {name: one.to_dict() for name, one in self.answered.items()},
        }


@dataclass(frozen=True)
class Baked:
    """A checkpoint that carries a steering.

    Attributes:
        path: The folder.
        way: `"bias"`, a bias at the last projection of a block; `"module"`, a small module behind it; or `"fitted"`, a
            change of that projection.
        exact: Whether it does what the steering does, but for rounding; the last way does not.
        where: The names of the tensors that carry the edits.
        architecture: What transformers calls the model that was written.
        refused: Why ways that come before the one taken could not be, by name.
        check: What was compared; None if that was not asked for, or it is not exact.
        approximation: How near it is if it is not exact.
        use: How it is opened, a line of Python.
    """

    path: Path
    way: str
    exact: bool
    where: tuple[str, ...]
    architecture: str
    refused: Mapping[str, str]
    check: Check | None
    use: str
    approximation: Approximation | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON, but for the folder's name."""
        return {
            "way": self.way,
            "exact": self.exact,
            "where": list(self.where),
            "architecture": self.architecture,
            "refused": dict(self.refused),
            "check": None if self.check is None else vars(self.check),
            "use": self.use,
            "approximation": self.approximation and self.approximation.to_dict(),
        }

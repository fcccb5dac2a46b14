"""What came of baking, and the record of it in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
class Baked:
    """A checkpoint that carries a steering.

    Attributes:
        path: The folder.
        way: `"bias"`, a bias at the last projection of a block, or `"module"`, a small module behind it.
        exact: Whether it does what the steering does, but for rounding; both ways are.
        where: The names of the tensors that carry the edits.
        architecture: What transformers calls the model that was written.
        refused: Why ways that come before the one taken could not be, by name.
        check: What was compared; None if that was not asked for.
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
        }

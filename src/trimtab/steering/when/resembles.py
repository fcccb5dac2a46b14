"""A learned direction that the prompt's activations point along.

From B. W. Lee, I. Padhi, K. N. Ramamurthy, E. Miehling, P. Dognin, M. Nagireddy, A. Dhurandhar: Programming Refusal
with Conditional Activation Steering (CAST), arXiv 2409.05907.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.steering.documents import finite_number, finite_vector, take, take_one_of
from trimtab.steering.record import ModelIdentity, identity_given
from trimtab.steering.when.base import Prompt, Reader, ReadTokens, When, digest_of


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

    kind = "resembles"
    model: ModelIdentity
    block: int
    direction: Tensor = field(repr=False)
    threshold: float
    tokens: ReadTokens = "last"
    measurements: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        identity_given(self.model, "model")
        arguments.whole(self.block, "block", SteeringError)
        arguments.number(self.threshold, "threshold", SteeringError)
        arguments.instance(self.measurements, "measurements", dict, "a dictionary", SteeringError)
        if self.tokens not in get_args(ReadTokens):
            raise SteeringError(
                f"what is read are the tokens {' or '.join(get_args(ReadTokens))}, not {self.tokens!r}"
            )
        given = self.direction if isinstance(self.direction, Tensor) else torch.empty(0, 0)
        direction = given.detach().to("cpu", torch.float64)
        norm = float(torch.linalg.vector_norm(direction))
        if direction.dim() != 1 or not math.isfinite(norm) or norm == 0:
            raise SteeringError("the direction must be one vector, finite and not zero")
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
        return [self.kind, self.block, self.tokens, self.threshold, digest_of(self.direction)]

    def document(self) -> dict[str, Any]:
        """All but the direction. The model is named: a steering that was moved is for another one."""
        return {**super().document(), "model": self.model.to_dict()}

    @classmethod
    def read(
        cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor], model: ModelIdentity, where: str | Path
    ) -> Self:
        """Reads it; files of the first versions name no model, which is then that of the steering."""
        tokens = take_one_of(values, "tokens", get_args(ReadTokens), where)
        if "model" in values:
            model = ModelIdentity.from_dict(take(values, "model", dict, where), f"{where} (model)")
        return cls(
            model=model,
            block=take(values, "block", int, where),
            direction=finite_vector(tensors, "direction", (model.width,), where),
            threshold=finite_number(values.get("threshold"), "threshold", where),
            tokens=tokens,
            measurements=take(values, "measurements", dict, where),
        )

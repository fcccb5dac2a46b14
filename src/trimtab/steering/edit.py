"""One edit: a rank-one affine change of the residual stream at the output of one decoder block.

An edit changes the output `h` of its block to

    h  <-  h + (alpha + <p, h>) u

which holds added vectors (p = 0), set projections (p = -u), ablations (p = -u, alpha = 0), learned gates and
one-row LoReFT. A *rectified* edit cuts the amount off below zero,

    h  <-  h + max(0, alpha + <p, h>) u

so that some tokens are left alone: a direction with a ReLU probe (PSR: G. Heyman, F. Vandeputte, Steer Like the LLM,
ICML 2026). How several are applied says `edits`. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.documents import finite_number

if TYPE_CHECKING:
    from trimtab.steering.when import When

TokenScope = Literal["all", "prompt", "generated", "answer"]
"""Where an edit acts: on every token, on the prompt's, on those the model wrote, or, of these, on those of its answer:
not on what it thinks before (`trimtab.thoughts`), nor on the tools it calls."""

_SCOPES: tuple[str, ...] = get_args(TokenScope)


@dataclass(frozen=True, eq=False)
class Edit:
    """One rank-one affine change of the output of one decoder block.

    Attributes:
        block: The 0-based decoder block whose output is changed.
        u: What is added, shape `[d]`; kept as float32 on the CPU.
        alpha: The constant part of the coefficient of `u`.
        p: The gate, shape `[d]`, float32 on the CPU; None means zeros.
        tokens: Which tokens are changed.
        rectified: Whether an amount `alpha + <p, h>` below zero counts as zero.
        when: For which prompts it acts; None for all. Whoever applies edits decides first (`Engine.decided`) and
            applies those without: a table refuses the others.

    Raises:
        SteeringError: If a shape, a value or a scope makes no sense.
    """

    block: int
    u: Tensor
    alpha: float = 0.0
    p: Tensor | None = None
    tokens: TokenScope = "all"
    when: When | None = None
    rectified: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.block, bool) or not isinstance(self.block, int) or self.block < 0:
            raise SteeringError(f"an edit's block is a number from 0 on, not {self.block!r}")
        if self.tokens not in _SCOPES:
            raise SteeringError(f"an edit's tokens are one of {', '.join(_SCOPES)}, not {self.tokens!r}")
        object.__setattr__(self, "u", _vector(self.u, "u", self.block))
        alpha: Any = self.alpha
        try:
            object.__setattr__(self, "alpha", float("" if isinstance(alpha, str) else alpha))
        except (TypeError, ValueError, OverflowError, RuntimeError):  # a tensor of several raises the last
            raise SteeringError(
                f"alpha of an edit of block {self.block} must be a finite number, not {alpha!r:.60}"
            ) from None
        if not torch.isfinite(torch.tensor(self.alpha)):
            raise SteeringError(f"alpha of an edit of block {self.block} is {self.alpha}; it must be finite")
        if not isinstance(self.rectified, bool):
            raise SteeringError(
                f"rectified of an edit of block {self.block} is True or False, not {self.rectified!r:.60}"
            )
        if self.when is not None:
            from trimtab.steering.when.base import When

            if not isinstance(self.when, When):
                raise SteeringError(
                    f"when of an edit of block {self.block} is a When (trimtab.when) or None, not {self.when!r:.60}"
                )
        if self.p is not None:
            object.__setattr__(self, "p", _vector(self.p, "p", self.block))
            if self.p.shape != self.u.shape:
                raise SteeringError(
                    f"an edit of block {self.block} has u of width {self.width} but p of width {len(self.p)}"
                )

    @classmethod
    def add(cls, block: int, direction: Tensor, strength: float = 1.0, tokens: TokenScope = "all") -> Edit:
        """Adds `strength * direction` (ActAdd, Turner et al. 2023; CAA, Rimsky et al. 2024).

        Args:
            block: The 0-based decoder block.
            direction: What to add, shape `[d]`, of any length.
            strength: What to multiply it by.
            tokens: Which tokens are changed.

        Raises:
            SteeringError: As of `Edit`.
        """
        return cls(block, direction, alpha=strength, tokens=tokens)

    @classmethod
    def set_projection(cls, block: int, unit: Tensor, target: float, tokens: TokenScope = "all") -> Edit:
        """Moves the projection on a direction to `target` (Stolfo et al., ICLR 2025: `c = mean - x.u`).

        Args:
            block: The 0-based decoder block.
            unit: The direction, shape `[d]`; scaled to norm 1 if it is not.
            target: The projection every changed token shall have, in units of the residual stream.
            tokens: Which tokens are changed.

        Raises:
            SteeringError: The direction is zero, or as of `Edit`.
        """
        unit = _vector(unit, "direction", block)
        norm = float(torch.linalg.vector_norm(unit.double()))
        if norm == 0.0:
            raise SteeringError(f"the direction for block {block} is zero: it has no projection to set")
        if abs(norm - 1.0) > 1e-6:
            unit = (unit.double() / norm).float()
        return cls(block, unit, alpha=target, p=-unit, tokens=tokens)

    @classmethod
    def ablate(cls, block: int, unit: Tensor, tokens: TokenScope = "all") -> Edit:
        """Removes the component along a direction (Arditi et al. 2024): sets the projection to 0.

        Args:
            block: The 0-based decoder block.
            unit: The direction, shape `[d]`; scaled to norm 1 if it is not.
            tokens: Which tokens are changed.

        Raises:
            SteeringError: As of `set_projection`.
        """
        return cls.set_projection(block, unit, 0.0, tokens)

    @property
    def width(self) -> int:
        """The width `d` of the residual stream this edit fits."""
        return self.u.numel()

    @cached_property
    def is_nothing(self) -> bool:
        """Whether the edit changes no token of any prompt, so that an engine need not install it."""
        gated = self.p is not None and bool(self.p.any())
        closed = self.alpha == 0.0 or (self.rectified and self.alpha < 0.0)
        return not bool(self.u.any()) or (closed and not gated)

    def scaled(self, strength: float) -> Edit:
        """The same edit, its change multiplied by `strength` (the change is linear in `u`).

        Raises:
            SteeringError: The strength is no finite number, or too large.
        """
        strength = finite_number(strength, "a strength", f"an edit of block {self.block}")
        return self if strength == 1 else replace(self, u=self.u * strength)

    def __repr__(self) -> str:
        gate = "" if self.p is None else f", |p|={float(torch.linalg.vector_norm(self.p)):.3g}"
        norm = float(torch.linalg.vector_norm(self.u))
        what = f"block={self.block}, |u|={norm:.3g}, alpha={self.alpha:.3g}{gate}, tokens={self.tokens!r}"
        what += ", rectified" if self.rectified else ""
        when = "" if self.when is None else f", when={self.when!r}"
        return f"Edit({what}{when})"

    def content(self) -> tuple[object, ...]:
        """Equal for edits that do the same; what the rows of a batch share is stacked once."""
        gate = None if self.p is None else self.p.numpy().tobytes()
        return self.block, self.tokens, self.alpha, self.rectified, self.u.numpy().tobytes(), gate


def refuse_undecided(edit: Edit) -> None:
    """Refuses an edit with a condition: that is decided before, for each prompt."""
    if edit.when is not None:
        raise SteeringError(
            f"an edit of block {edit.block} acts only if {edit.when.describe()}; decide that first, "
            "for each prompt (Engine.decided), and apply what is left"
        )


def _vector(value: Tensor, name: str, block: int) -> Tensor:
    if not (isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 1 and len(value)):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise SteeringError(f"{name} of an edit of block {block} must be a vector of floats, not {shape}")
    vector = value.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(vector).all()):
        raise SteeringError(f"{name} of an edit of block {block} holds values that are not finite")
    return vector.clone() if vector.data_ptr() == value.data_ptr() else vector

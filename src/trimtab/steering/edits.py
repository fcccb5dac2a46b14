"""The formula: rank-one affine changes of a residual stream, as pure tensor functions.

An edit changes the output `h` of one decoder block to

    h  <-  h + (alpha + <p, h>) u

which holds added vectors (p = 0), set projections (p = -u), ablations (p = -u, alpha = 0), learned gates and
one-row LoReFT. A *rectified* edit cuts the amount off below zero,

    h  <-  h + max(0, alpha + <p, h>) u

so that some tokens are left alone: a direction with a ReLU probe (PSR: G. Heyman, F. Vandeputte, Steer Like the LLM,
ICML 2026). Edits of one block are simultaneous: all read the same `h`, and their changes add up, so `k`
of them are one pair of matrix products, `H + (A + H P^T) U`. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.documents import finite_number

if TYPE_CHECKING:
    from trimtab.steering.when import When

__all__ = ["Edit", "EditTable", "TokenScope", "acting", "acts_in", "apply_edits", "change"]

TokenScope = Literal["all", "prompt", "generated", "answer"]
"""Where an edit acts: on every token, on the prompt's, on those the model wrote, or, of these, on those of its answer:
not on what it thinks before (`trimtab.thoughts`), nor on the tools it calls."""

PROMPT, BEFORE_ANSWER, ANSWER = range(3)
"""The phase of a token: of the prompt; written, but not of the answer; of the answer."""

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

    def _content(self) -> tuple[object, ...]:
        """Equal for edits that do the same; what the rows of a batch share is stacked once."""
        gate = None if self.p is None else self.p.numpy().tobytes()
        return self.block, self.tokens, self.alpha, self.rectified, self.u.numpy().tobytes(), gate


def change(
    hidden: Tensor,
    u: Tensor,
    alpha: Tensor,
    p: Tensor | None,
    coefficients: Tensor,
    rectified: Tensor | None = None,
) -> Tensor:
    """What `k` simultaneous edits add to `hidden`: `((A + H P^T) * C) U`.

    `hidden` is `[..., d]`, `u` and `p` `[k, d]`, `alpha` `[k]`. `coefficients`, how much of each edit each token gets,
    are broadcastable to `[..., k]`; the change is then to `[..., d]`, in the dtype of `u`. `rectified`, bool `[k]`,
    says which amounts count as zero below it; None for none.
    """
    amount = alpha if p is None else torch.nn.functional.linear(hidden.to(p.dtype), p, alpha)
    if rectified is not None:
        amount = torch.where(rectified, amount.relu(), amount)
    return (amount * coefficients) @ u


def acts_in(scope: TokenScope) -> tuple[bool, bool, bool]:
    """Whether edits of a scope act in each of the three phases."""
    return scope in ("all", "prompt"), scope in ("all", "generated"), scope != "prompt"


def acting(scope: TokenScope, phases: Tensor) -> Tensor:
    """Bool, of the shape of `phases` (see `EditTable.apply`): the tokens on which edits of a scope act."""
    if phases.dtype == torch.bool:
        phases = phases * ANSWER
    return torch.tensor(acts_in(scope), device=phases.device)[phases.long()]


def apply_edits(hidden: Tensor, edits: Sequence[Edit], phases: Tensor | None = None) -> Tensor:
    """Applies edits of one block to all rows of `hidden`, `[rows, tokens, d]`; otherwise as `EditTable.apply`."""
    return EditTable([list(edits)]).apply(hidden, phases)


class EditTable:
    """All edits of one block for all rows of a batch, ready to be applied in one operation.

    Distinct edits are stacked once; a matrix of coefficients says which row gets which. Edits without a gate
    don't depend on `h`: they are summed up front, per row, and cost one addition.

    One row serves a batch of any size. Hidden states of lower precision than `dtype` are raised to it and cast back.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Edit]],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        plain, gated = _Stack(), _Stack()
        for row, edits in enumerate(rows):
            for edit in edits:
                if edit.is_nothing:
                    continue
                refuse_undecided(edit)
                (plain if edit.p is None and not edit.rectified else gated).put(row, edit)
        if len({(edit.block, edit.width) for edits in rows for edit in edits}) > 1:
            raise SteeringError("the edits of one table must belong to one block and have one width")

        self.rows = len(rows)
        self.dtype = dtype
        self._added: Tensor | None = None  # [3, rows, d], by phase
        if plain.edits:
            u = torch.stack([edit.u for edit in plain.edits]).to(device, dtype)
            alpha = torch.tensor([edit.alpha for edit in plain.edits], dtype=dtype, device=device)
            prompt, before, answer = plain.coefficients(self.rows).to(device, dtype)
            outer = change(u, u, alpha, None, torch.stack([prompt, answer]))
            inner = outer[1] if torch.equal(before, answer) else change(u, u, alpha, None, before)
            self._added = torch.stack([outer[0], inner, outer[1]])
        self._u: Tensor | None = None
        if gated.edits:
            self._u = torch.stack([edit.u for edit in gated.edits]).to(device, dtype)
            gates = [torch.zeros(edit.width) if edit.p is None else edit.p for edit in gated.edits]
            self._p = torch.stack(gates).to(device, dtype)
            self._alpha = torch.tensor([edit.alpha for edit in gated.edits], dtype=dtype, device=device)
            self._coefficients = gated.coefficients(self.rows).to(device, dtype)  # [3, rows, k]
            below = torch.tensor([edit.rectified for edit in gated.edits], device=device)
            self._rectified = below if bool(below.any()) else None
        self._scoped = any(edit.tokens != "all" for edit in plain.edits + gated.edits)

    @classmethod
    def of_parts(cls, rows: int, dtype: torch.dtype, scoped: bool) -> Self:
        """A table for so many rows, in which nothing is yet: what `adds` and `gates` put there is used as it is."""
        table = object.__new__(cls)
        table.rows, table.dtype, table._scoped = rows, dtype, scoped
        table._added = table._u = None
        return table

    def adds(self, added: Tensor) -> None:
        """What is added to each row, `[3, rows, d]` by phase; `[1, rows, d]` in a table that is not scoped."""
        self._added = added

    def gates(
        self, u: Tensor, p: Tensor, alpha: Tensor, coefficients: Tensor, rectified: Tensor | None
    ) -> None:
        """The gated edits: `u` and `p` `[k, d]`, `alpha` and `rectified` `[k]`, `coefficients` `[3, rows, k]`."""
        self._u, self._p, self._alpha = u, p, alpha
        self._coefficients, self._rectified = coefficients, rectified

    @property
    def is_nothing(self) -> bool:
        """Whether no row has anything to do here."""
        return self._added is None and self._u is None

    def repeated(self, times: int) -> EditTable:
        """The table for a batch in which each row stands `times` times in a row (beams, several samples)."""
        if times == 1 or self.rows == 1:
            return self
        table = object.__new__(type(self))
        table.__dict__.update(self.__dict__)
        table.rows = self.rows * times
        if self._added is not None:
            table._added = self._added.repeat_interleave(times, dim=1)
        if self._u is not None:
            table._coefficients = self._coefficients.repeat_interleave(times, dim=1)
        return table

    def apply(self, hidden: Tensor, phases: Tensor | None = None) -> Tensor:
        """The edited hidden states, in the dtype and on the device of the given ones.

        `hidden` is `[rows, tokens, d]` and left as it is; `phases` int `[rows, tokens]` or `[1, tokens]`: 0 for tokens
        of the prompt, 1 for those that the model wrote before its answer, 2 for those of its answer. Where all that it
        wrote is answer, bools do: true for tokens that it wrote.
        """
        if self.is_nothing:
            return hidden
        state = hidden.to(self.dtype)
        result = state
        if self._added is not None:
            result = result + self._per_token(self._added, phases)
        if self._u is not None:
            coefficients = self._per_token(self._coefficients, phases)
            result = result + change(state, self._u, self._alpha, self._p, coefficients, self._rectified)
        return result.to(hidden.dtype)

    def _per_token(self, table: Tensor, phases: Tensor | None) -> Tensor:
        """Picks the phase: `[3, rows, n]` to `[rows, tokens or 1, n]`."""
        prompt = table[0][:, None]
        if not self._scoped or phases is None:
            return prompt
        before, answer = table[1][:, None], table[2][:, None]
        if phases.dtype == torch.bool:
            return torch.where(phases[..., None], answer, prompt)
        written = torch.where((phases == ANSWER)[..., None], answer, before)
        return torch.where((phases == PROMPT)[..., None], prompt, written)


class _Stack:
    """Distinct edits, and how often each row has each."""

    def __init__(self) -> None:
        self.edits: list[Edit] = []
        self._index: dict[tuple[object, ...], int] = {}
        self._known: dict[int, int] = {}
        self._entries: list[tuple[int, int]] = []

    def put(self, row: int, edit: Edit) -> None:
        number = self._known.get(id(edit))  # rows mostly share edit objects: don't compare contents again
        if number is None:
            number = self._index.setdefault(edit._content(), len(self.edits))
            if number == len(self.edits):
                self.edits.append(edit)
            self._known[id(edit)] = number
        self._entries.append((row, number))

    def coefficients(self, rows: int) -> Tensor:
        """`[3, rows, k]`: for each phase."""
        result = torch.zeros(3, rows, len(self.edits))
        for row, number in self._entries:
            result[:, row, number] += torch.tensor(acts_in(self.edits[number].tokens))
        return result


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

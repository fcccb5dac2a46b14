"""Tables for the fused operation, laid out by hand from the edits of each slot, and what edits say must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from trimtab.steering.edits import Edit, apply_edits

SCOPES = ("all", "prompt", "generated", "answer")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Case:
    """Arguments of `steer`, and the edits they were made from.

    Attributes:
        edits: The edits of each slot, strengths multiplied in; none for slot 0.
        entries: `3 * slot + phase` of each token; the index is longer, and names slots behind them, too.
    """

    stream: Tensor
    addend: Tensor | None
    index: Tensor
    added: Tensor
    p: Tensor
    u: Tensor
    strength: Tensor
    edits: tuple[tuple[Edit, ...], ...]
    entries: tuple[int, ...]

    def arguments(self, device: str = "cpu") -> tuple[Tensor | None, ...]:
        """The arguments of `steer`, fresh: the stream is a copy."""
        tensors = (self.stream, self.addend, self.index, self.added, self.p, self.u, self.strength)
        return tuple(None if one is None else one.to(device, copy=True) for one in tensors)

    def wanted(self) -> Tensor:
        """What `apply_edits` makes of each token alone, float64 and not rounded to the stream's dtype."""
        rows = []
        for token, entry in enumerate(self.entries):
            own = self.stream[token].float()
            h = own if self.addend is None else own + self.addend[token].float()
            if self.edits[entry // 3]:
                phases = torch.tensor([[entry % 3]])
                new = apply_edits(h[None, None], self.edits[entry // 3], phases)[0, 0]
                rows.append(own.double() + (new.double() - h.double()))
            else:
                rows.append(own.double())
        return torch.stack(rows) if rows else self.stream.double()

    def check(self, got: Tensor) -> None:
        """Within rounding: once to the stream's dtype, the constants once to the table's, sums in float32."""
        wanted = self.wanted()
        tables = torch.finfo(self.added.dtype).eps * float(self.added.abs().max())
        changed = (wanted - self.stream.double()).nan_to_num(0.0).abs()
        sums = 2e-5 * (1 + float(changed.max())) if len(wanted) else 0.0
        rounding = torch.finfo(self.stream.dtype).eps
        torch.testing.assert_close(
            got.double().cpu(), wanted, rtol=rounding, atol=tables + sums + rounding / 64
        )
        for token, entry in enumerate(self.entries):
            if entry < 3:
                assert same_bits(got[token].cpu(), self.stream[token])


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal bit for bit: NaN is itself, and -0.0 isn't 0.0."""
    number = {2: torch.int16, 4: torch.int32}[one.element_size()]
    return one.dtype == other.dtype and torch.equal(
        one.contiguous().view(number), other.contiguous().view(number)
    )


def case(
    entries: Sequence[int],
    *,
    slots: int = 4,
    gates: int = 3,
    width: int = 32,
    dtype: torch.dtype = torch.float32,
    table_dtype: torch.dtype | None = None,
    addend: bool = True,
    seed: int = 0,
) -> Case:
    """Random edits in every slot but 0, with or without gates, in any scope; some slots have fewer gates than others.

    Args:
        entries: `3 * slot + phase` of each token.
        slots: Slots, slot 0 included.
        gates: Gated edits that fit in a slot.
        width: Of the stream.
        dtype: Of the stream.
        table_dtype: Of the tables; None for the stream's.
        addend: Whether the stream comes in two parts.
        seed: Which case.
    """
    random = torch.Generator().manual_seed(seed)
    table = dtype if table_dtype is None else table_dtype

    def number(below: int) -> int:
        return int(torch.randint(below, (), generator=random))

    def directions(*shape: int) -> Tensor:
        return (torch.randn(*shape, width, generator=random) / width**0.5).to(table)

    added = torch.zeros(3 * slots, width, dtype=torch.float64)
    p, u = directions(slots, gates), directions(slots, gates)  # what lies where no edit is must not matter
    strength = torch.zeros(3 * slots, gates)
    of_slot: list[tuple[Edit, ...]] = [()]
    for slot in range(1, slots):
        edits = []
        for k in range(-number(3), number(gates + 1)):  # plain ones below 0
            scope = SCOPES[number(4)]
            phases = {"all": (0, 1, 2), "prompt": (0,), "generated": (1, 2), "answer": (2,)}[scope]
            amount, alpha = (-1.5, 0.5, 1.0, 2.0)[number(4)], (0.0, 0.75)[number(2)] if k >= 0 else 1.25
            direction = u[slot, k].float() if k >= 0 else directions().float()
            gate = p[slot, k].float() if k >= 0 else None
            edits.append(Edit(0, direction, alpha, gate, scope).scaled(amount))  # type: ignore[arg-type]
            for phase in phases:
                added[3 * slot + phase] += amount * alpha * direction.double()
                if k >= 0:
                    strength[3 * slot + phase, k] = amount
        of_slot.append(tuple(edits))
    behind = torch.arange(3, 3 * slots).repeat(3) if slots > 1 else torch.zeros(4).long()
    return Case(
        torch.randn(len(entries), width, generator=random).to(dtype),
        torch.randn(len(entries), width, generator=random).to(dtype) if addend else None,
        torch.cat([torch.tensor(list(entries)).long(), behind]).int(),
        added.to(table),
        p,
        u,
        strength,
        tuple(of_slot),
        tuple(entries),
    )


def with_untouchable(made: Case) -> Case:
    """The case with values in its unsteered tokens that no computation would leave as they are."""
    stream = made.stream.clone()
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])
    for token, entry in enumerate(made.entries):
        if entry < 3:
            stream[token, : min(4, stream.shape[1])] = odd[: stream.shape[1]].to(stream.dtype)
    return replace(made, stream=stream)


def overflowing(entries: Sequence[int], *, dtype: torch.dtype, gated: bool) -> Case:
    """A case whose sums leave the dtype: to infinity, and with gates to no number at all."""
    made = case(entries, dtype=dtype)
    most = torch.finfo(dtype).max
    stream = made.stream.clone()
    stream[[entry > 2 for entry in made.entries]] = most
    if not gated:
        return replace(
            made, stream=stream, added=torch.full_like(made.added, most), strength=0 * made.strength
        )
    u = torch.full_like(made.u, most)
    u[..., ::2] = 0.0  # times infinity
    return replace(
        made, stream=stream, p=torch.ones_like(made.p), u=u, strength=torch.full_like(made.strength, 3e38)
    )


@st.composite
def cases(draw: st.DrawFn, longest: int = 40, most: int = 6) -> Case:
    """Cases of all sizes and dtypes: runs of tokens of one entry, as prompts have them, and single tokens.

    Args:
        draw: Given by hypothesis.
        longest: Tokens of the longest run.
        most: Most runs.
    """
    slots = draw(st.integers(1, 5))
    run = st.tuples(st.integers(0, 3 * slots - 1), st.one_of(st.just(1), st.integers(1, longest)))
    runs = draw(st.lists(run, max_size=most))
    return case(
        [entry for entry, length in runs for _ in range(length)],
        slots=slots,
        gates=draw(st.integers(0, 5)),
        width=draw(st.sampled_from([1, 3, 16, 33, 64])),
        dtype=draw(st.sampled_from(DTYPES)),
        table_dtype=draw(st.sampled_from(DTYPES)),
        addend=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )

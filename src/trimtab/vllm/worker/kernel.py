"""The Triton kernel of `trimtab::steer`: gather, dot product and sum of every token in one launch.

One program serves one token. It reads the token's entry and ends at once for slot 0. Else it holds the token's whole
stream in registers, reads the gates and directions whose strength is not 0, several at once, sums once, and writes
once. What is read is the stream and the rows of the tables that the token uses, nothing else; `addend` only where
there is a gate. Only streams wider than `_WIDEST` are read twice, in pieces: all dot products are taken before the
first piece is written.

It runs on CUDA, ROCm and XPU, and on CPU tensors under Triton's interpreter (`TRITON_INTERPRET=1`).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from trimtab.vllm.worker.operation import bounds

__all__ = ["steer"]

PHASES = tl.constexpr(3)
_WIDEST = 8192
"""The widest stream that one program holds in registers."""
_AT_ONCE = 4
"""Gated edits that are read at once. Their loads wait for memory together; more would not fit in registers."""


def steer(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool = False,
    *,
    piece: int = _WIDEST,
) -> None:
    """Launches the kernel; the tensors are those of `trimtab.vllm.worker.operation.steer`, with at least one token.

    The values of a token lie side by side in `stream`; `piece` is the most of them that are worked on at once, a power
    of 2.
    """
    if addend is not None and addend.stride(-1) != 1:
        addend = addend.contiguous()
    tokens, width = stream.shape
    gates = p.shape[1]
    piece = min(piece, triton.next_power_of_2(width))
    _steer[(tokens,)](
        stream,
        addend,
        index,
        added,
        p,
        u,
        strength,
        stream.stride(0),
        0 if addend is None else addend.stride(0),
        WIDTH=width,
        GATES=gates,
        GATES_PADDED=triton.next_power_of_2(max(gates, 1)),
        AT_ONCE=min(triton.next_power_of_2(max(gates, 1)), _AT_ONCE),
        PIECE=piece,
        MOST=bounds(stream.dtype, last)[0],
        FILL=torch.finfo(stream.dtype).max,
        LAST=last,
        num_warps=warps_of(piece),
    )


def warps_of(piece: int) -> int:
    """Eight values for each thread: one load of 16 bytes. At most 16 warps, which is all that ROCm has."""
    return max(1, min(piece // 256, 16))


@triton.jit  # type: ignore[untyped-decorator]
def _settled(old, new, MOST: tl.constexpr, FILL: tl.constexpr, LAST: tl.constexpr):  # type: ignore[no-untyped-def]
    fill = float("nan") if LAST else FILL
    return tl.where((tl.abs(old) <= MOST) & (tl.abs(new) <= MOST), new, fill)


@triton.jit  # type: ignore[untyped-decorator]
def _steer(  # type: ignore[no-untyped-def]
    stream,
    addend,
    index,
    added,
    p,
    u,
    strength,
    stream_stride,
    addend_stride,
    WIDTH: tl.constexpr,
    GATES: tl.constexpr,
    GATES_PADDED: tl.constexpr,
    AT_ONCE: tl.constexpr,
    PIECE: tl.constexpr,
    MOST: tl.constexpr,
    FILL: tl.constexpr,
    LAST: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    entry = tl.load(index + token).to(tl.int64)
    slot = entry // PHASES
    if slot == 0:
        return
    stream += token * stream_stride
    if addend is not None:
        addend += token * addend_stride
    added += entry * WIDTH
    strength += entry * GATES
    p += slot * GATES * WIDTH
    u += slot * GATES * WIDTH
    if PIECE >= WIDTH:
        place = tl.arange(0, PIECE)
        inside = place < WIDTH
        old = tl.load(stream + place, mask=inside, other=0.0).to(tl.float32)
        change = tl.load(added + place, mask=inside, other=0.0).to(tl.float32)
        for first in range(0, GATES, AT_ONCE):
            number = first + tl.arange(0, AT_ONCE)
            coefficients = tl.load(strength + number, mask=number < GATES, other=0.0)
            if tl.max(tl.abs(coefficients), axis=0) > 0.0:
                rows = number[:, None] * WIDTH + place[None, :]
                used = (coefficients != 0.0)[:, None] & inside[None, :]
                gates = tl.load(p + rows, mask=used, other=0.0).to(tl.float32)
                directions = tl.load(u + rows, mask=used, other=0.0).to(tl.float32)
                h = old
                if addend is not None:
                    h += tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
                amounts = coefficients * tl.sum(gates * h[None, :], axis=1)
                change += tl.sum(amounts[:, None] * directions, axis=0)
        tl.store(stream + place, _settled(old, old + change, MOST, FILL, LAST), mask=inside)
    else:
        number = tl.arange(0, GATES_PADDED)
        amounts = tl.zeros([GATES_PADDED], tl.float32)
        for k in range(GATES):
            coefficient = tl.load(strength + k)
            if coefficient != 0.0:
                products = tl.zeros([PIECE], tl.float32)
                for start in range(0, WIDTH, PIECE):
                    place = start + tl.arange(0, PIECE)
                    inside = place < WIDTH
                    h = tl.load(stream + place, mask=inside, other=0.0).to(tl.float32)
                    if addend is not None:
                        h += tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
                    products += h * tl.load(p + k * WIDTH + place, mask=inside, other=0.0).to(tl.float32)
                amounts = tl.where(number == k, coefficient * tl.sum(products, axis=0), amounts)
        for start in range(0, WIDTH, PIECE):
            place = start + tl.arange(0, PIECE)
            inside = place < WIDTH
            old = tl.load(stream + place, mask=inside, other=0.0).to(tl.float32)
            new = old + tl.load(added + place, mask=inside, other=0.0).to(tl.float32)
            for k in range(GATES):
                amount = tl.sum(tl.where(number == k, amounts, 0.0), axis=0)
                if amount != 0.0:
                    new += amount * tl.load(u + k * WIDTH + place, mask=inside, other=0.0).to(tl.float32)
            tl.store(stream + place, _settled(old, new, MOST, FILL, LAST), mask=inside)

"""The Triton kernel of `trimtab::steer`: gather, dot product and sum of every token in one launch.

One program serves one token. It reads the token's entry and ends at once for slot 0. Else it holds the token's whole
stream in registers, adds the gated edits whose strength is not 0 one after the other, and writes once; what is read
is the stream and the rows of the tables that the token uses, nothing else. Only streams wider than `_WIDEST` are
read twice, in pieces: all dot products are taken before the first piece is written.

It runs on CUDA, ROCm and XPU, and on CPU tensors under Triton's interpreter (`TRITON_INTERPRET=1`).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["steer"]

_WIDEST = 16384
"""The widest stream that one program holds in registers: 32 values for each thread of 16 warps."""


def steer(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
) -> None:
    """Launches the kernel; the arguments are those of `trimtab.engines.vllm.operation.steer`.

    Args:
        stream: `[n, d]`, changed in place; neighbouring values of a token lie side by side.
        addend: `[n, d]` or None.
        index: int32 `[>= n]`.
        added: `[2 * slots, d]`, contiguous.
        p: `[slots, K, d]`, contiguous.
        u: `[slots, K, d]`, contiguous.
        strength: float32 `[2 * slots, K]`, contiguous.
    """
    tokens, width = stream.shape
    _launch(
        stream,
        addend,
        index,
        added,
        p,
        u,
        strength,
        tokens,
        width,
        min(triton.next_power_of_2(width), _WIDEST),
    )


def _launch(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    tokens: int,
    width: int,
    piece: int,
) -> None:
    if addend is not None and addend.stride(-1) != 1:
        addend = addend.contiguous()
    gates = p.shape[1]
    _steer[(tokens,)](
        stream,
        stream if addend is None else addend,
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
        PIECE=piece,
        ADDEND=addend is not None,
        num_warps=max(1, min(piece // 512, 16)),
    )


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
    PIECE: tl.constexpr,
    ADDEND: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    entry = tl.load(index + token).to(tl.int64)
    slot = entry // 2
    if slot == 0:
        return
    stream += token * stream_stride
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
        h = old
        if ADDEND:
            h += tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
        for k in range(GATES):
            coefficient = tl.load(strength + k)
            if coefficient != 0.0:
                gate = tl.load(p + k * WIDTH + place, mask=inside, other=0.0).to(tl.float32)
                direction = tl.load(u + k * WIDTH + place, mask=inside, other=0.0).to(tl.float32)
                change += coefficient * tl.sum(h * gate, axis=0) * direction
        tl.store(stream + place, old + change, mask=inside)
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
                    if ADDEND:
                        h += tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
                    products += h * tl.load(p + k * WIDTH + place, mask=inside, other=0.0).to(tl.float32)
                amounts = tl.where(number == k, coefficient * tl.sum(products, axis=0), amounts)
        for start in range(0, WIDTH, PIECE):
            place = start + tl.arange(0, PIECE)
            inside = place < WIDTH
            new = tl.load(stream + place, mask=inside, other=0.0).to(tl.float32)
            new += tl.load(added + place, mask=inside, other=0.0).to(tl.float32)
            for k in range(GATES):
                amount = tl.sum(tl.where(number == k, amounts, 0.0), axis=0)
                if amount != 0.0:
                    new += amount * tl.load(u + k * WIDTH + place, mask=inside, other=0.0).to(tl.float32)
            tl.store(stream + place, new, mask=inside)

"""The fused operation that a steered decoder block runs: `trimtab::steer`, and `trimtab::record` for capturing.

For every token, all reading the same `h = stream + addend`:

    stream  <-  stream + added[entry] + sum_k strength[entry, k] * <p[slot, k], h> * u[slot, k]

with `entry = index[token] = 3 * slot + phase` (phase 0 in the prompt, 1 in what the model wrote before its answer, 2 in
its answer) and slot 0 for nothing: its tokens are left bit for bit. Sums are taken in float32 and rounded once.

What overflows, or is no number, becomes the largest number there is, so that one request's edits never spoil what
others share with it: scales that quantized layers take over a whole batch, blocks of the cache that it had before them.
It stays about as large from block to block, and behind the last one, where nothing is shared any more, it becomes nan:
who looks at the logits then sees that no answer can be made of them.

Both are operators of torch, opaque to `torch.compile` and safe inside a CUDA graph: buffers keep their addresses, and
on a GPU nothing is read back.

There are three ways to the same result. On a GPU it is one launch of the Triton kernel of
`trimtab.vllm.worker.kernel`. On a CPU, where a call costs more than the work, a compiled model gets the formula
itself, for the compiler to fuse with what stands around it. Uncompiled, the index is looked at first: nobody steered
costs next to nothing, and only the gated edits in use are computed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.library import Library

__all__ = ["record", "steer"]

PHASES = 3
"""Rows of the tables of each slot, where they differ by phase."""

_LARGE = 2.0**63
"""What no value may exceed behind the last block: the sum of the squares, which the last norm takes, leaves float32."""
_LARGE_HALF = 63488.0
"""The same for float16 behind every block: the largest number less what a block may take off it."""

_LONG = 16
"""From how many neighbouring tokens of one entry on, two matrix products beat gathering a row for each token."""

_INTERPRETED = find_spec("triton") is not None and os.environ.get("TRITON_INTERPRET") == "1"
_TRITON = () if find_spec("triton") is None else ("cuda", "xpu", "cpu") if _INTERPRETED else ("cuda", "xpu")
"""The kinds of device whose tensors the kernel serves here; CUDA is ROCm, too."""

_library = Library("trimtab", "DEF")  # type: ignore[no-untyped-call]
_TABLES = "Tensor index, Tensor added, Tensor p, Tensor u, Tensor strength"
for _schema in (
    f"steer(Tensor(a!) stream, Tensor? addend, {_TABLES}, bool last=False) -> ()",
    "record(Tensor stream, Tensor? addend, Tensor(a!) destination) -> ()",
):
    _library.define(_schema)  # type: ignore[no-untyped-call]


def steer(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool = False,
) -> None:
    """Applies to every token the row of edits that the index names, in place on `stream`.

    Args:
        stream: `[n, d]`, float32, bfloat16 or float16: the residual stream, or the part of it that is changed.
        addend: `[n, d]`, what is still to be added to `stream` for the whole of it; only read. None for nothing.
        index: int32 `[>= n]`: `3 * slot + phase` of each token. Slot 0 is nothing. It is trusted to name slots that
            there are.
        added: `[3 * slots, d]`, contiguous: what is added, by entry.
        p: `[slots, K, d]`, contiguous: the gates, in the dtype of `added`.
        u: `[slots, K, d]`, contiguous: what the gated edits add, in the dtype of `added`.
        strength: float32 `[3 * slots, K]`, contiguous: the coefficients of the gated edits, by entry; 0 for an edit
            that isn't there, whose `p` and `u` are not read. Slot 0 has only finite values everywhere.
        last: Whether this is behind the last block of the model.
    """
    if stream.device.type == "cpu" and not _INTERPRETED and torch.compiler.is_compiling():
        _steer_by_formula(stream, addend, index, added, p, u, strength, last)
    else:
        torch.ops.trimtab.steer(stream, addend, index, added, p, u, strength, last)


def bounds(dtype: torch.dtype, last: bool) -> tuple[float, float]:
    """The largest value that is left as it is, and what becomes of larger ones and of what is no number, or was."""
    most = torch.finfo(dtype).max
    if dtype == torch.float16:
        return _LARGE_HALF, torch.nan if last else most
    return (_LARGE, torch.nan) if last else (most, most)


def record(stream: Tensor, addend: Tensor | None, destination: Tensor) -> None:
    """Copies the residual stream: `destination[:n] = stream + addend`.

    Args:
        stream: `[n, d]`.
        addend: `[n, d]`, or None for nothing.
        destination: `[>= n, d]`, of any float dtype; the sum is taken in float32. Rows from `n` on stay.
    """
    torch.ops.trimtab.record(stream, addend, destination)


def _steer(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool = False,
) -> None:
    if not stream.shape[0]:
        return
    if stream.device.type in _TRITON and stream.stride(-1) == 1:
        from trimtab.vllm.worker import kernel

        kernel.steer(stream, addend, index, added, p, u, strength, last)
    elif stream.device.type == "cpu":
        _steer_on_cpu(stream, addend, index, added, p, u, strength, last)
    else:
        _steer_by_formula(stream, addend, index, added, p, u, strength, last)


def _record(stream: Tensor, addend: Tensor | None, destination: Tensor) -> None:
    part = destination[: stream.shape[0]]
    if addend is None:
        part.copy_(stream)
    elif part.dtype == torch.float32:
        part.copy_(stream).add_(addend)
    else:
        part.copy_(stream.float() + addend)


def _changes_only_its_arguments(*arguments: Tensor | bool | None) -> None:
    return None


for _name, _implementation in (("steer", _steer), ("record", _record)):
    _library.impl(_name, _implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"trimtab::{_name}", _changes_only_its_arguments, lib=_library)


def _steer_by_formula(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool = False,
) -> None:
    """In plain torch without a look at the index: to be compiled, and for devices that would have to wait for it.

    One gated edit after the other, and a slot chosen by token alone, is what the compiler of CPU code makes one pass
    with vector loads of. An edit that isn't there reads slot 0, which is in the cache.
    """
    entries = index[: stream.shape[0]]
    slots = torch.div(entries, PHASES, rounding_mode="trunc")  # none is negative: no need to round down
    old = stream.float()
    h = old if addend is None else old + addend
    change = added.index_select(0, entries).float()
    coefficients = strength.index_select(0, entries)
    for k in range(p.shape[1]):
        coefficient = coefficients[:, k]
        used = coefficient != 0
        slot = torch.where(used, slots, 0)
        # A stream so large that its product overflows must not meet a coefficient of 0.
        amount = torch.where(used, (p[:, k].index_select(0, slot) * h).sum(1) * coefficient, 0.0)
        change = change + amount[:, None] * u[:, k].index_select(0, slot)
    new, (most, fill) = old + change, bounds(stream.dtype, last)
    new = torch.where((old.abs() <= most) & (new.abs() <= most), new, fill).to(stream.dtype)
    stream.copy_(torch.where((slots > 0)[:, None], new, stream))


@dataclass(frozen=True)
class _Plan:
    """What an index asks for, the same for all blocks of a step.

    Attributes:
        stretches: Long runs of one entry: first token, end, entry.
        where: The other steered tokens: their places, or a slice if they lie side by side. None if there are none.
        entries: int64, the entries of those.
        rows: The same as a tensor.
    """

    stretches: tuple[tuple[int, int, int], ...]
    where: Tensor | slice | None
    entries: npt.NDArray[np.int64]
    rows: Tensor


@lru_cache(maxsize=16)
def _plan(index: bytes) -> _Plan | None:
    """Reads an int32 index once for all blocks of a step; None if nobody is steered."""
    entries = np.frombuffer(index, np.int32).astype(np.int64)
    steered = entries >= PHASES
    if not steered.any():
        return None
    starts = np.concatenate(([0], np.flatnonzero(np.diff(entries)) + 1))
    lengths = np.diff(np.append(starts, len(entries)))
    long = (lengths >= _LONG) & steered[starts]
    stretches = tuple(
        (int(start), int(start + length), int(entries[start]))
        for start, length in zip(starts[long], lengths[long], strict=True)
    )
    places = np.flatnonzero(steered & ~np.repeat(long, lengths))
    where: Tensor | slice | None = None
    if len(places):
        first, end = int(places[0]), int(places[-1]) + 1
        where = slice(first, end) if end - first == len(places) else torch.from_numpy(places)
    entries = entries[places]
    return _Plan(stretches, where, entries, torch.from_numpy(entries))


def _steer_on_cpu(
    stream: Tensor,
    addend: Tensor | None,
    index: Tensor,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool = False,
) -> None:
    plan = _plan(index.numpy()[: stream.shape[0]].tobytes())
    if plan is None:
        return
    for start, end, entry in plan.stretches:
        _steer_alike(
            stream[start:end],
            None if addend is None else addend[start:end],
            entry,
            added,
            p,
            u,
            strength,
            last,
        )
    if isinstance(plan.where, slice):
        part = stream[plan.where]
        _steer_each(part, None if addend is None else addend[plan.where], plan, added, p, u, strength, last)
    elif plan.where is not None:
        part = stream.index_select(0, plan.where)
        other = None if addend is None else addend.index_select(0, plan.where)
        _steer_each(part, other, plan, added, p, u, strength, last)
        stream.index_copy_(0, plan.where, part)


def _steer_alike(
    stream: Tensor,
    addend: Tensor | None,
    entry: int,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool,
) -> None:
    """All tokens have one entry: `H + (H P^T * C) U + A`."""
    slot, used = entry // PHASES, strength[entry].nonzero()[:, 0]
    sound = _sound(stream, last)
    if not len(used):
        _settle(stream.add_(added[entry]), sound, last)
        return
    h = stream.float() if addend is None else stream.float() + addend
    amounts = (h @ p[slot, used].float().T) * strength[entry, used]
    change = torch.addmm(added[entry].float(), amounts, u[slot, used].float())
    _settle(stream.add_(change), sound, last)


def _sound(stream: Tensor, last: bool) -> Tensor | None:
    """What was sound before; None where what was not stays so large that no edit can take it off."""
    most, fill = bounds(stream.dtype, last)
    return None if most == fill else stream.abs() <= most


def _settle(stream: Tensor, sound: Tensor | None, last: bool) -> None:
    """Replaces what is too large, or no number, or was."""
    most, fill = bounds(stream.dtype, last)
    if sound is None:
        stream.nan_to_num_(nan=fill, posinf=fill, neginf=fill)  # one pass
    else:
        stream.masked_fill_((sound & (stream.abs() <= most)).logical_not_(), fill)


def _steer_each(
    stream: Tensor,
    addend: Tensor | None,
    plan: _Plan,
    added: Tensor,
    p: Tensor,
    u: Tensor,
    strength: Tensor,
    last: bool,
) -> None:
    """Every token has an entry of its own. Mixed dtypes are slow on a CPU: all is made float32 first."""
    coefficients = strength.numpy()[plan.entries]
    used = [int(k) for k in np.flatnonzero(coefficients.any(0))]
    sound = _sound(stream, last)
    change = added.index_select(0, plan.rows)
    if not used:
        _settle(stream.add_(change), sound, last)
        return
    new = stream.float() if stream.dtype != torch.float32 else stream.clone()
    h = stream.float() if addend is None else addend.float() + new
    change = change.float()
    gates, width = p.shape[1:]
    for k in used:
        own = coefficients[:, k]
        which = np.flatnonzero(own)
        place = torch.from_numpy((plan.entries[which] // PHASES) * gates + k)
        gate = p.view(-1, width).index_select(0, place).float()
        direction = u.view(-1, width).index_select(0, place).float()
        if len(which) == len(own):
            amounts = torch.linalg.vecdot(h, gate).mul_(torch.from_numpy(own))
            change.addcmul_(direction, amounts[:, None])
        else:
            rows = torch.from_numpy(which)
            amounts = torch.linalg.vecdot(h.index_select(0, rows), gate).mul_(torch.from_numpy(own[which]))
            change.index_add_(0, rows, direction.mul_(amounts[:, None]))
    _settle(stream.copy_(new.add_(change)), sound, last)

"""The serving table: static buffers with a slot for every different row in the batch, and an index from token to row.

Buffers and index keep their addresses, so compiled graphs and CUDA graphs read whatever was written last. Slot 0 does
nothing. A slot is shared by all requests with the same composition, and keeps its content when the last of them is
gone: who comes back finds it there, until another row needs the slot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trimtab.serve.composition import Composition, composed
from trimtab.serve.rows import TableRow, combine, fold
from trimtab.steering.edits import ANSWER, BEFORE_ANSWER, Edit
from trimtab.vllm.worker.operation import PHASES

__all__ = ["Buffers", "SteeringTable"]

_NOTHING = 0
"""The slot of requests that are not steered."""
_PROMPT_BITS = 40
_FOLLOWED = 1 << _PROMPT_BITS
"""Set for a request whose answer is told from what it writes before, token by token (`AnswerFollower`)."""
_PROMPT_MASK = (1 << _PROMPT_BITS) - 1
_SLOT_BITS = _PROMPT_BITS + 1


@dataclass(frozen=True, eq=False)
class Buffers:
    """What one block reads; `n` slots, of which slot 0 is zeros.

    Attributes:
        added: `[3 n, d]`, in the table's dtype; row `3 slot + phase`, the phases being those of `trimtab.serve.rows`.
        p: The gates, `[n, gates, d]`, in the table's dtype.
        u: What the gated edits add, `[n, gates, d]`, in the table's dtype.
        strength: How much of each, `[3 n, gates]`, float32; row `3 slot + phase`.
    """

    added: Tensor
    p: Tensor
    u: Tensor
    strength: Tensor


@dataclass(eq=False)
class _Slot:
    number: int
    composition: Composition = ()
    users: int = 0
    gates: int = 0
    is_for_answers: bool = False


class SteeringTable:
    """Rows of the requests that run, for the blocks of one worker.

    Everything that touches the device is queued on the current stream: call it on the one the model runs on.

    Args:
        blocks: The decoder blocks that live here, by their number in the whole model.
        width: The width of the residual stream.
        slots: How many different rows there may be at once; slot 0 comes on top.
        gates: How many gated edits a row may have in a block.
        tokens: The most tokens in one step.
        dtype: Of `added`, `p` and `u`.
        device: Where the model is.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        width: int,
        *,
        slots: int,
        gates: int,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.blocks = tuple(blocks)
        self.width = width
        self.gates = gates
        self.device = torch.device(device)
        self._pinned = self.device.type == "cuda"

        # All blocks in one tensor of each kind: writing a slot is then one copy of each, not one for every block.
        places, rows = len(self.blocks), slots + 1
        self._added = torch.zeros(places, PHASES * rows, width, dtype=dtype, device=self.device)
        self._p = torch.zeros(places, rows, gates, width, dtype=dtype, device=self.device)
        self._u = torch.zeros_like(self._p)
        self._strength = torch.zeros(places, PHASES * rows, gates, dtype=torch.float32, device=self.device)
        self._place = {block: place for place, block in enumerate(self.blocks)}
        self.index = torch.zeros(tokens, dtype=torch.int32, device=self.device)
        """Which row each token of the step reads, `3 slot + phase`, int32; 0 for tokens that are not steered."""

        self._held: dict[str, TableRow] = {}
        self._slots: dict[Composition, _Slot] = {}
        self._free = [_Slot(number) for number in range(slots, 0, -1)]
        self._idle: OrderedDict[Composition, _Slot] = OrderedDict()  # no users, least recently used first
        self._requests: dict[
            str, int
        ] = {}  # slot and length of the prompt in one number: an array of pairs is slow
        self._users: dict[str, _Slot] = {}  # of the requests that are steered
        self._filled = 0  # tokens of the index that may not be zero
        self._counts = {"evictions": 0, "writes": 0, "fills": 0}

    def buffers(self, block: int) -> Buffers:
        """The buffers of a block, as views that stay valid.

        Raises:
            KeyError: The block does not live here.
        """
        place = self._place[block]
        return Buffers(self._added[place], self._p[place], self._u[place], self._strength[place])

    # --- steerings ---------------------------------------------------------------------------------------------------

    @property
    def held(self) -> frozenset[str]:
        """The digests of the steerings that requests may use."""
        return frozenset(self._held)

    def hold(self, digest: str, edits: Sequence[Edit]) -> None:
        """Keep the edits of a digest ready, those of blocks that live here; one that is held is left as it is.

        Raises:
            SteeringError: An edit has a `when`, or values that do not fit.
            ValueError: An edit has another width than the table.
        """
        if digest in self._held:
            return
        here = [edit for edit in edits if edit.block in self._place]
        for edit in here:
            if edit.width != self.width:
                raise ValueError(f"{digest} has edits of width {edit.width}, the table has {self.width}")
        self._held[digest] = fold(here)

    def forget(self, digest: str) -> None:
        """Keep a steering no longer; unknown ones are ignored. Requests that run with it go on."""
        self._held.pop(digest, None)

    # --- requests ----------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> Collection[str]:
        """The requests that are admitted, steered or not."""
        return self._requests.keys()

    def admit(
        self,
        request_id: str,
        composition: Iterable[tuple[str, float]],
        prompt_tokens: int,
        *,
        follows: bool = False,
    ) -> bool:
        """Give a request its row; again for one that is there already (resumed, say) replaces what it had.

        Args:
            request_id: The request.
            composition: What steers it.
            prompt_tokens: How many tokens are its prompt.
            follows: Whether somebody tells where answers begin; else all that is written counts as answer.

        Returns:
            Whether that has to be told of this one: its tokens are then put into the row of what is written before.

        Raises:
            RuntimeError: A digest is not held and its row is not there either, the row has too many gated edits, or
                all slots are in use. The request is then not admitted.
        """
        self.release(request_id)
        normal = composed(composition)
        slot = self._slot(normal) if normal else None
        if slot is not None:
            slot.users += 1
            self._idle.pop(normal, None)
            self._users[request_id] = slot
        number = _NOTHING if slot is None else slot.number
        followed = _FOLLOWED if follows and slot is not None and slot.is_for_answers else 0
        self._requests[request_id] = number << _SLOT_BITS | followed | min(prompt_tokens, _PROMPT_MASK)
        return bool(followed)

    def release(self, request_id: str) -> None:
        """Let a request go; unknown ones are ignored."""
        self._requests.pop(request_id, None)
        slot = self._users.pop(request_id, None)
        if slot is not None:
            slot.users -= 1
            if not slot.users:
                self._idle[slot.composition] = slot

    def fill(self, request_ids: Sequence[str], scheduled: np.ndarray, computed: np.ndarray) -> None:
        """Write the index for one step: `scheduled` tokens of each request, in this order, after those `computed`.

        Raises:
            RuntimeError: A request was not admitted, or there are more tokens than the index has.
        """
        if not self._users and not self._filled:
            return
        rows = self._rows(request_ids, scheduled, computed)
        tokens = len(rows)
        if tokens > len(self.index):
            raise RuntimeError(f"a step has {tokens} tokens, the steering index has {len(self.index)}")
        steered = tokens if rows.any() else 0
        length = max(steered, self._filled)
        if not length:
            return
        # A fresh pinned tensor each time: the step before may not have copied its own yet, and torch hands out memory
        # of a copy under way only after it.
        staging = torch.zeros(length, dtype=torch.int32, device="cpu", pin_memory=self._pinned)
        if steered:
            staging.numpy()[:tokens] = rows
        self.index[:length].copy_(staging, non_blocking=self._pinned)
        self._filled = steered
        self._counts["fills"] += 1

    def statistics(self) -> dict[str, int]:
        """How full the table is, and what it did since it was made.

        `slots` there are; `in_use` by requests; `resident`, those with a row in them; `held` steerings; `steered`
        requests. Counted since the start: `evictions` of rows, `writes` of slots, `fills` of the index.
        """
        return {
            "slots": len(self._slots) + len(self._free),
            "in_use": len(self._slots) - len(self._idle),
            "resident": len(self._slots),
            "held": len(self._held),
            "steered": len(self._users),
            **self._counts,
        }

    # --- inside ------------------------------------------------------------------------------------------------------

    def _rows(self, request_ids: Sequence[str], scheduled: np.ndarray, computed: np.ndarray) -> np.ndarray:
        """The index of a step, int32 `[tokens]`: the prompt's tokens of each request, then its generated ones."""
        try:
            known = np.fromiter(map(self._requests.__getitem__, request_ids), np.int64, len(request_ids))
        except KeyError as error:
            raise RuntimeError(f"request {error} runs, but was not admitted to the steering table") from None
        slots, prompts = known >> _SLOT_BITS, known & _PROMPT_MASK
        count = np.asarray(scheduled[: len(slots)], dtype=np.int64)
        before = np.asarray(computed[: len(slots)], dtype=np.int64)
        of_prompt = np.clip(prompts - before, 0, count)
        rows, lengths = np.empty((2, 2 * len(slots)), dtype=np.int64)
        rows[0::2], lengths[0::2] = PHASES * slots, of_prompt
        written = np.where(known & _FOLLOWED, BEFORE_ANSWER, ANSWER)
        rows[1::2], lengths[1::2] = PHASES * slots + written * (slots != _NOTHING), count - of_prompt
        return np.repeat(rows.astype(np.int32), lengths)

    def _slot(self, composition: Composition) -> _Slot | None:
        """The slot with the row of a composition; None for a row that does nothing here."""
        known = self._slots.get(composition)
        if known is not None:
            return known
        missing = [digest for digest, _ in composition if digest not in self._held]
        if missing:
            raise RuntimeError(
                f"this worker does not hold the steering {missing[0]}; it must be sent there first"
            )
        row = combine([(self._held[digest], strength) for digest, strength in composition])
        if row.is_nothing:
            return None
        if row.widest > self.gates:
            raise RuntimeError(
                f"a request has {row.widest} gated edits in one block, the steering table takes {self.gates}"
            )
        if self._free:
            slot = self._free.pop()
        elif self._idle:
            _, slot = self._idle.popitem(last=False)
            del self._slots[slot.composition]
            self._counts["evictions"] += 1
        else:
            raise RuntimeError(f"all {len(self._slots)} slots of the steering table are in use")
        self._write(slot, row)
        slot.composition = composition
        self._slots[composition] = self._idle[composition] = slot
        return slot

    def _write(self, slot: _Slot, row: TableRow) -> None:
        """Replace all that a slot holds."""
        rows = slice(PHASES * slot.number, PHASES * (slot.number + 1))
        added = self._staging(self._added[:, rows])
        for block, constant in row.added.items():
            added[self._place[block]] = constant
        self._send(added, self._added[:, rows])
        # What gates there were must go too, even unused: an overflow in one would be a NaN in whoever comes after.
        width = max(row.widest, slot.gates)
        if width:
            targets = [
                self._p[:, slot.number, :width],
                self._u[:, slot.number, :width],
                self._strength[:, rows, :width],
            ]
            p, u, strength = (self._staging(target) for target in targets)
            for block, gates in row.gates.items():
                place, count = self._place[block], len(gates.p)
                p[place, :count] = gates.p
                u[place, :count] = gates.u
                strength[place, :, :count] = gates.strength
            for staging, target in zip((p, u, strength), targets, strict=True):
                self._send(staging, target)
        slot.gates = row.widest
        slot.is_for_answers = row.is_for_answers
        self._counts["writes"] += 1

    def _staging(self, target: Tensor) -> Tensor:
        return torch.zeros(target.shape, dtype=target.dtype, device="cpu", pin_memory=self._pinned)

    def _send(self, staging: Tensor, target: Tensor) -> None:
        target.copy_(staging, non_blocking=self._pinned)

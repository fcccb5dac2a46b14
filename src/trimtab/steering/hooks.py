"""Changing block outputs with forward hooks that are always taken off again.

Hooks survive library upgrades where wrapper modules do not.

All contexts that are entered on one model share its hooks: edits of one block act simultaneously, whatever context they
came with, so nesting is the union of the edits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks
from trimtab.steering.edits import Edit
from trimtab.steering.following import Histories
from trimtab.steering.hooked import Hooked, edit, owner_of, watch
from trimtab.steering.phases import TokenPhases
from trimtab.steering.row_edits import RowEdits
from trimtab.thoughts import Reader


class Learning(Protocol):
    """Edits that are being learned: they have no table, since their values change from step to step."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks edited."""

    @property
    def is_scoped(self) -> bool:
        """Whether some act on the prompt's or the generated tokens alone, or on the answer alone."""

    @property
    def is_for_answers(self) -> bool:
        """Whether some act on the answer alone."""

    def change(self, block: int, hidden: Tensor, phases: Tensor | None) -> Tensor:
        """What they add to the output of a block, `[rows, tokens, d]` in float32 or more."""


class Steered:
    """While entered, every forward pass of the model is steered, row by row. It can be entered again and again.

    Only blocks that have something to do get a hook; an empty steering, or one of strength 0, installs none. Contexts
    add up when they are nested; prompt lengths are then those of the innermost context that gives any. One thread at
    a time: hooks are the model's.

    `rows` are the edits of each row of the batch, and `prompt_lengths` the prompt tokens of each (or of all), or bool
    `[rows, tokens]`, true at generated tokens, or the phase of each token (int, as `EditTable.apply` takes it). Edits
    that are being learned act on all rows alike. `model` is what is called, around the decoder; it is watched too, so
    that no call goes by unsteered.

    `thoughts` tells the answer from what is thought before, for edits of the answer alone; None where all that is
    generated is answer. `writer` is the model whose `generate` writes, if that is not `model`.
    """

    def __init__(
        self,
        place: DecoderBlocks,
        rows: Sequence[Sequence[Edit]] | RowEdits,
        prompt_lengths: Sequence[int] | Tensor | None = None,
        *,
        learning: Learning | None = None,
        model: nn.Module | None = None,
        thoughts: Reader | None = None,
        writer: nn.Module | None = None,
    ) -> None:
        self._place = place
        self._model = place.decoder if model is None else model
        self._writer = self._model if writer is None else writer
        self._thoughts = None if thoughts is None or thoughts.is_trivial else thoughts
        if isinstance(rows, RowEdits):
            self._edits = rows
        else:
            shared = all(edits is rows[0] for edits in rows)
            self._edits = RowEdits(list(rows[:1] if shared else rows))
        self._learning = learning
        self._lengths = prompt_lengths
        self._phases = TokenPhases(place.decoder, thoughts)
        self._blocks = {*self._edits.blocks, *(() if learning is None else learning.blocks)}
        if outside := {block for block in self._blocks if block >= len(place.blocks)}:
            raise ModelError(f"there is no block {max(outside)}: the model has {len(place.blocks)} blocks")
        self._together: tuple[tuple[Steered, ...], RowEdits] | None = None

    def __enter__(self) -> Steered:
        running: _Running | None = owner_of(self._place.decoder)
        if running is None:
            if not self._blocks:
                return self
            running = _Running(self._place)
        running.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running: _Running | None = owner_of(self._place.decoder)
        if running is not None:
            running.leave(self)

    def _with(self, outer: tuple[Steered, ...]) -> RowEdits:
        """The edits of this context and of those around it; kept, since a text may be written in many entries."""
        if not outer:
            return self._edits
        if self._together is None or self._together[0] != outer:
            united = functools.reduce(RowEdits.union, [context._edits for context in (*outer, self)])
            self._together = (outer, united)
        return self._together[1]


class _Running:
    """All contexts entered on one decoder, and the hooks they need together."""

    def __init__(self, place: DecoderBlocks) -> None:
        self._place = place
        self._contexts: list[Steered] = []
        self._hooks: dict[nn.Module, Hooked] = {}
        self._edits = RowEdits([])
        self._learning: list[Learning] = []
        self._teller: Steered | None = None
        self._scoped = self._inside = self._for_answers = False
        self._histories: Histories | None = None
        self._wanted: set[int] = set()
        self._ran: set[int] = set()

    def enter(self, context: Steered) -> None:
        """Adds a context."""
        self._contexts.append(context)
        context._phases.restart()
        try:
            self._renew()
        except BaseException:
            self.leave(context)
            raise

    def leave(self, context: Steered) -> None:
        """Takes one away, the last that is this one."""
        for number in reversed(range(len(self._contexts))):
            if self._contexts[number] is context:
                del self._contexts[number]
                break
        self._renew()

    def _renew(self) -> None:
        contexts = self._contexts
        self._edits = contexts[-1]._with(tuple(contexts[:-1])) if contexts else RowEdits([])
        self._learning = [context._learning for context in contexts if context._learning is not None]
        # Which tokens are which is told by the innermost context that knows, else by the outermost, which saw most.
        known = [context for context in contexts if context._lengths is not None] or contexts[:1]
        self._teller = known[-1] if known else None
        self._scoped = self._edits.is_scoped or any(one.is_scoped for one in self._learning)
        self._wanted = {block for context in contexts for block in context._blocks}
        self._note_histories()

        hooks: dict[nn.Module, Callable[[nn.Module], Hooked]] = {}
        if self._wanted:
            for module in (*(context._model for context in contexts), self._place.decoder):
                hooks[module] = functools.partial(watch, owner=self)
        for block in self._wanted:
            hooks[self._place.blocks[block]] = functools.partial(edit, number=block, owner=self)
        for module in [module for module in self._hooks if module not in hooks]:
            self._hooks.pop(module).remove()
        for module, hook in hooks.items():
            if module not in self._hooks:
                self._hooks[module] = hook(module)

    def _note_histories(self) -> None:
        """Whose answers matter is told by the context that tells prompts, or where that cannot, by one that can."""
        self._for_answers = self._edits.is_for_answers or any(one.is_for_answers for one in self._learning)
        readers = [one for one in self._contexts if one._thoughts is not None] if self._for_answers else []
        if self._teller is not None and readers and self._teller._thoughts is None:
            self._teller._phases.read_by(readers[-1]._thoughts)
        if self._histories is not None and not readers:
            self._histories.remove()
            self._histories = None
        if self._histories is None and readers:
            self._histories = Histories(readers[-1]._writer)

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a forward pass of the decoder, or of what is called around it."""
        self._ran.clear()
        if module is self._place.decoder and self._scoped and self._teller is not None:
            history = None
            if self._histories is not None:  # of this pass alone
                history, self._histories.ids = self._histories.ids, None
            self._teller._phases.begin(
                args, kwargs, self._teller._lengths, answers=self._for_answers, history=history
            )
            self._inside = True

    def end(self) -> None:
        """After a forward pass."""
        self._inside = False
        if len(self._ran) < len(self._wanted):
            blocks = ", ".join(str(block) for block in sorted(self._wanted - self._ran))
            raise ModelError(
                f"the model ran, but not through the hooks of block {blocks}: its output is not steered. Blocks must "
                "be called as modules, not by .forward(); what was compiled, traced or replaced before must be made "
                "anew inside the context"
            )

    def edited(self, block: int, hidden: Tensor, args: tuple[Any, ...]) -> Tensor:
        """The output of a block after its edits, in its own dtype."""
        self._ran.add(block)
        phases = None
        if self._scoped and self._teller is not None:
            self._teller._phases.note(block, args, again=not self._inside)
            phases = self._teller._phases.phases(hidden)
        learning = [one for one in self._learning if block in one.blocks]
        table = self._edits.table(block, hidden) if block in self._edits.blocks else None
        if not learning:
            return hidden if table is None else table.apply(hidden, phases)
        state = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        result = state if table is None else table.apply(state, phases)
        for one in learning:  # all read the same state
            result = result + one.change(block, state, phases)
        return result.to(hidden.dtype)

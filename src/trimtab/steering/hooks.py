"""Changing block outputs with forward hooks that are always taken off again.

Hooks survive library upgrades where wrapper modules do not.

All contexts that are entered on one model share its hooks: edits of one block act simultaneously, whatever context they
came with, so nesting is the union of the edits. Each module under a hook holds what steers it; the hooks themselves are
plain functions that look there. So code that torch.compile made while a model was steered does nothing once it isn't.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks, hidden_of, with_hidden
from trimtab.steering.edits import Edit, EditTable
from trimtab.steering.phases import TokenPhases, times

_PLACE = "_trimtab_steering"  # where a module under a hook holds what steers it


class Learning(Protocol):
    """Edits that are being learned: they have no table, since their values change from step to step."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks edited."""

    @property
    def is_scoped(self) -> bool:
        """Whether some act on the prompt's or the generated tokens alone."""

    def change(self, block: int, hidden: Tensor, generated: Tensor | None) -> Tensor:
        """What they add to the output of a block, `[rows, tokens, d]` in float32 or more."""


class Steered:
    """While entered, every forward pass of the model is steered, row by row. It can be entered again and again.

    Only blocks that have something to do get a hook; an empty steering, or one of strength 0, installs none. Contexts
    add up when they are nested; prompt lengths are then those of the innermost context that gives any. One thread at
    a time: hooks are the model's.

    `rows` are the edits of each row of the batch, and `prompt_lengths` the prompt tokens of each (or of all), or bool
    `[rows, tokens]`, true at generated tokens. Edits that are being learned act on all rows alike. `model` is what is
    called, around the decoder; it is watched too, so that no call goes by unsteered.
    """

    def __init__(
        self,
        place: DecoderBlocks,
        rows: Sequence[Sequence[Edit]],
        prompt_lengths: Sequence[int] | Tensor | None = None,
        *,
        learning: Learning | None = None,
        model: nn.Module | None = None,
    ) -> None:
        self._place = place
        self._model = place.decoder if model is None else model
        shared = all(edits is rows[0] for edits in rows)
        self._edits = _RowEdits(list(rows[:1] if shared else rows))
        self._learning = learning
        self._lengths = prompt_lengths
        self._phases = TokenPhases(place.decoder)
        self._blocks = {*self._edits.blocks, *(() if learning is None else learning.blocks)}
        if outside := {block for block in self._blocks if block >= len(place.blocks)}:
            raise ModelError(f"there is no block {max(outside)}: the model has {len(place.blocks)} blocks")
        self._together: tuple[tuple[Steered, ...], _RowEdits] | None = None

    def __enter__(self) -> Steered:
        running: _Running | None = vars(self._place.decoder).get(_PLACE)
        if running is None:
            if not self._blocks:
                return self
            running = _Running(self._place)
        running.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running: _Running | None = vars(self._place.decoder).get(_PLACE)
        if running is not None:
            running.leave(self)

    def _with(self, outer: tuple[Steered, ...]) -> _RowEdits:
        """The edits of this context and of those around it; kept, since a text may be written in many entries."""
        if not outer:
            return self._edits
        if self._together is None or self._together[0] != outer:
            united = functools.reduce(_RowEdits.union, [context._edits for context in (*outer, self)])
            self._together = (outer, united)
        return self._together[1]


class _RowEdits:
    """The edits of each row of a batch, in tables that are made at their first use."""

    def __init__(self, rows: list[Sequence[Edit]]) -> None:
        self._rows = rows
        edits = [edit for row in rows for edit in row if not edit.is_nothing]
        self.blocks = tuple(sorted({edit.block for edit in edits}))
        self.is_scoped = any(edit.tokens != "all" for edit in edits)
        self._tables: dict[tuple[int, torch.device, torch.dtype], EditTable] = {}
        self._repeated: dict[tuple[int, int], EditTable] = {}

    def union(self, other: _RowEdits) -> _RowEdits:
        """The edits of both, row by row; where one has fewer rows, each of them serves several in a row."""
        if not (self.blocks and other.blocks):
            return self if self.blocks else other
        rows = math.lcm(len(self._rows), len(other._rows))
        mine, theirs = rows // len(self._rows), rows // len(other._rows)
        return _RowEdits([(*self._rows[row // mine], *other._rows[row // theirs]) for row in range(rows)])

    def table(self, block: int, hidden: Tensor) -> EditTable:
        """The table for a block's output. Only then its device is known for certain."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        key = (block, hidden.device, dtype)
        if key not in self._tables:
            rows = [[edit for edit in row if edit.block == block] for row in self._rows]
            width = next(edit.width for row in rows for edit in row)
            if width != hidden.shape[-1]:
                raise ModelError(f"an edit of block {block} has width {width}, the model {hidden.shape[-1]}")
            # Gradients may pass later, whoever uses it first.
            with torch.inference_mode(False), torch.no_grad():
                self._tables[key] = EditTable(rows, dtype=dtype, device=hidden.device)
        table = self._tables[key]
        if table.rows in (1, len(hidden)):
            return table
        again = (id(table), len(hidden))
        if again not in self._repeated:
            with torch.inference_mode(False), torch.no_grad():
                self._repeated[again] = table.repeated(times(len(hidden), table.rows))
        return self._repeated[again]


class _Running:
    """All contexts entered on one decoder, and the hooks they need together."""

    def __init__(self, place: DecoderBlocks) -> None:
        self._place = place
        self._contexts: list[Steered] = []
        self._hooks: dict[nn.Module, _Hooked] = {}
        self._edits = _RowEdits([])
        self._learning: list[Learning] = []
        self._teller: Steered | None = None
        self._scoped = self._inside = False
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
        self._edits = contexts[-1]._with(tuple(contexts[:-1])) if contexts else _RowEdits([])
        self._learning = [context._learning for context in contexts if context._learning is not None]
        # Which tokens are which is told by the innermost context that knows, else by the outermost, which saw most.
        known = [context for context in contexts if context._lengths is not None] or contexts[:1]
        self._teller = known[-1] if known else None
        self._scoped = self._edits.is_scoped or any(one.is_scoped for one in self._learning)
        self._wanted = {block for context in contexts for block in context._blocks}

        hooks: dict[nn.Module, Callable[[nn.Module], _Hooked]] = {}
        if self._wanted:
            for module in (*(context._model for context in contexts), self._place.decoder):
                hooks[module] = self._watch
        for block in self._wanted:
            hooks[self._place.blocks[block]] = functools.partial(self._edit, block)
        for module in [module for module in self._hooks if module not in hooks]:
            self._hooks.pop(module).remove()
        for module, hook in hooks.items():
            if module not in self._hooks:
                self._hooks[module] = hook(module)

    def _watch(self, module: nn.Module) -> _Hooked:
        vars(module)[_PLACE] = self
        before, after, _ = _hook_functions()
        handles = (
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after),
        )
        return _Hooked(module, type(module), handles)

    def _edit(self, number: int, block: nn.Module) -> _Hooked:
        kind: Any = type(block)
        hooked = _Hooked(block, kind, (block.register_forward_hook(_hook_functions()[2]),))
        vars(block)[_PLACE] = (self, number)
        # Compiled code does not notice new hooks, but it does notice another class.
        block.__class__ = _class_under_a_hook(kind)
        return hooked

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a forward pass of the decoder, or of what is called around it."""
        self._ran.clear()
        if module is self._place.decoder and self._scoped and self._teller is not None:
            self._teller._phases.begin(args, kwargs, self._teller._lengths)
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
        generated = None
        if self._scoped and self._teller is not None:
            self._teller._phases.note(block, args, again=not self._inside)
            generated = self._teller._phases.generated(hidden)
        learning = [one for one in self._learning if block in one.blocks]
        table = self._edits.table(block, hidden) if block in self._edits.blocks else None
        if not learning:
            return hidden if table is None else table.apply(hidden, generated)
        state = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        result = state if table is None else table.apply(state, generated)
        for one in learning:  # all read the same state
            result = result + one.change(block, state, generated)
        return result.to(hidden.dtype)


@dataclass(frozen=True)
class _Hooked:
    """A module under hooks, and the class it had before."""

    module: nn.Module
    kind: Any
    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        vars(self.module).pop(_PLACE, None)
        if type(self.module) is _class_under_a_hook(self.kind):
            self.module.__class__ = self.kind


@functools.cache
def _class_under_a_hook(kind: Any) -> Any:
    """A class like another, always the same one, so that what was compiled for it fits when it comes again."""
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})


def _begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if _PLACE in vars(module):
        vars(module)[_PLACE].begin(module, args, kwargs)


def _end(module: nn.Module) -> None:
    if _PLACE in vars(module):
        vars(module)[_PLACE].end()


def _edited(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    if _PLACE not in vars(module):
        return output
    running, block = vars(module)[_PLACE]
    return with_hidden(output, running.edited(block, hidden_of(output), args))


@functools.cache
def _hook_functions() -> tuple[Callable[..., None], Callable[..., None], Callable[..., Any]]:
    """The hooks before and after a forward pass and behind a block, always the same ones.

    They are made at the first use: what keeps them out of compiled code loads torch's compiler.
    """

    def uncompiled(function: Any) -> Any:
        reason = "trimtab steers this model; compile it without fullgraph=True"
        return torch.compiler.disable(function, reason=reason)  # type: ignore[no-untyped-call]

    begin, end, edited = map(uncompiled, (_begin, _end, _edited))

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        (begin if torch.compiler.is_compiling() else _begin)(module, args, kwargs)

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        (end if torch.compiler.is_compiling() else _end)(module)

    def edit_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return (edited if torch.compiler.is_compiling() else _edited)(module, args, output)

    return before, after, edit_output

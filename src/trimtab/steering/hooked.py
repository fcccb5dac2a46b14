"""Modules under hooks, and the hooks: plain functions that look in the module for what steers it.

So code that torch.compile made while a model was steered does nothing once it isn't.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trimtab.steering.blocks import hidden_of, with_hidden

_PLACE = "_trimtab_steering"  # where a module under a hook holds what steers it


class Owner(Protocol):
    """What the hooks on the modules of a model call: it steers the model."""

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a forward pass of a module that is watched."""

    def end(self) -> None:
        """After it."""

    def edited(self, block: int, hidden: Tensor, args: tuple[Any, ...]) -> Tensor:
        """The output of a block after its edits, in its own dtype."""


@dataclass(frozen=True)
class Hooked:
    """A module under hooks, and the class it had before."""

    module: nn.Module
    kind: Any
    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        """Leaves the module as it was."""
        for handle in self.handles:
            handle.remove()
        vars(self.module).pop(_PLACE, None)
        if type(self.module) is _class_under_a_hook(self.kind):
            self.module.__class__ = self.kind


def owner_of(module: nn.Module) -> Any:
    """What steers a module that is watched; None where nothing does."""
    return vars(module).get(_PLACE)


def watch(module: nn.Module, owner: Owner) -> Hooked:
    """Watches the forward passes of a module."""
    vars(module)[_PLACE] = owner
    before, after, _ = _hook_functions()
    handles = (
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    )
    return Hooked(module, type(module), handles)


def edit(block: nn.Module, number: int, owner: Owner) -> Hooked:
    """Has the output of a block edited."""
    kind: Any = type(block)
    hooked = Hooked(block, kind, (block.register_forward_hook(_hook_functions()[2]),))
    vars(block)[_PLACE] = (owner, number)
    # Compiled code does not notice new hooks, but it does notice another class.
    block.__class__ = _class_under_a_hook(kind)
    return hooked


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
    owner, block = vars(module)[_PLACE]
    return with_hidden(output, owner.edited(block, hidden_of(output), args))


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

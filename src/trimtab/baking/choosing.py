"""Which way a steering is baked: the first that it and the architecture allow, or the one that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from trimtab.baking import bias, fitted, module
from trimtab.baking.checkpoint import Checkpoint
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Steering

Way = Literal["bias", "module", "fitted"]
"""How a checkpoint carries a steering."""
WAYS: tuple[Way, ...] = get_args(Way)
"""In the order in which they are tried; the last only if it is asked for."""

Fitting = Callable[[str, bool], fitted.Fit]
"""Fits a steering at a projection, with a bias or without."""


@dataclass(frozen=True)
class Chosen:
    """A way, and how the checkpoint comes about.

    Attributes:
        way: Its name.
        where: The names of the tensors that carry the edits.
        refused: Why ways before it were not taken, by name.
        prepared: Takes the folder to write into, and gives a context with what is to be written.
        fit: What was fitted; None for the exact ways.
    """

    way: Way
    where: tuple[str, ...]
    refused: Mapping[str, str]
    prepared: Callable[[Path], AbstractContextManager[Checkpoint]]
    fit: fitted.Fit | None = None


def edits_to_bake(steering: Steering) -> list[Edit]:
    """What acts, on every prompt.

    Raises:
        SteeringError: It has a condition, nothing acts, or an edit is of a kind that no checkpoint can carry.
    """
    if steering.whens:
        raise SteeringError(
            f"'{steering.name}' acts only if {steering.whens[0].describe()}, which is decided on a whole prompt before "
            "it is run, and weights cannot; bake what acts on every prompt: steering.always(), or trimtab when --remove"
        )
    edits = [edit for edit in steering.edits if not edit.is_nothing]
    if not edits:
        raise SteeringError(f"'{steering.name}' changes nothing: there is nothing to bake")
    if any(edit.rectified for edit in edits):
        raise SteeringError(
            f"'{steering.name}' has rectified edits (form psr), which no way to bake can hold; learn gated edits"
        )
    if any(edit.tokens == "answer" for edit in edits):
        raise SteeringError(
            f"'{steering.name}' has edits for the answer behind a thought, which a baked model cannot tell apart; make "
            'them act on all that is written: tokens="generated"'
        )
    return edits


def choose(engine: TransformersEngine, edits: Sequence[Edit], way: Way | None, fitting: Fitting) -> Chosen:
    """Choose a way, and fit if it is the one that takes that.

    Args:
        engine: The model.
        edits: As `edits_to_bake` gives them.
        way: The one to take; None for the first exact one.
        fitting: Called for `"fitted"`.

    Raises:
        SteeringError: The edits cannot go the way that was asked for.
        ModelError: The model cannot go any.
    """
    if way is not None and (not isinstance(way, str) or way not in WAYS):
        raise SteeringError(
            f"there is no way {way!r:.60} to bake; there is {', '.join(WAYS[:-1])} and {WAYS[-1]}"
        )
    if way == "fitted":
        return _fitted(engine, edits, fitting)
    model, place = engine.model, engine.decoder_blocks
    refused: dict[str, str] = {}
    if way != "module":
        found = bias.refusal(edits) or bias.find(model, place, _blocks(edits))
        if isinstance(found, bias.Place):
            vectors, config = bias.vectors(edits, place.path, found.projection), found.config
            return Chosen(
                "bias", tuple(vectors), {}, lambda _: nullcontext(bias.checkpoint(model, config, vectors))
            )
        refused["bias"] = found
    reason = module.refusal(model)
    if way == "bias":
        nearest = "" if reason else '; the way "module" takes it'
        raise SteeringError(f"this cannot be a bias: {refused['bias']}{nearest}")
    if reason:
        refused["module"] = reason
        told = "; ".join(f"as a {name}: {why}" for name, why in refused.items())
        raise ModelError(f"this cannot be baked exactly, {told}")
    where = tuple(module.edit_tensors(edits, place.path)[0])
    return Chosen("module", where, refused, lambda folder: module.prepared(model, place, edits, folder))


def _fitted(engine: TransformersEngine, edits: Sequence[Edit], fitting: Fitting) -> Chosen:
    model, place = engine.model, engine.decoder_blocks
    blocks = _blocks(edits)
    exact = bias.projections(model, place, blocks)
    reason = fitted.refusal(edits) or (exact if isinstance(exact, str) else None)
    if reason or isinstance(exact, str):
        raise SteeringError(f'this cannot be fitted: {reason}; the way "module" takes it')
    found = bias.find(model, place, blocks)
    with_bias = isinstance(found, bias.Place)
    projection, config = (
        (found.projection, found.config) if isinstance(found, bias.Place) else (exact[0], model.config)
    )
    fit = fitting(projection, with_bias)
    changes: dict[str, Tensor] = {}
    for block, weight in fit.weights.items():
        name = f"{place.path}.{block}.{projection}"
        turned = fitted.is_turned(place.blocks[block].get_submodule(projection))
        changes[f"{name}.weight"] = weight.T if turned else weight
        if with_bias:
            changes[f"{name}.bias"] = fit.biases[block]
    return Chosen(
        "fitted", tuple(changes), {}, lambda _: nullcontext(bias.checkpoint(model, config, changes)), fit
    )


def _blocks(edits: Sequence[Edit]) -> list[int]:
    return sorted({edit.block for edit in edits})

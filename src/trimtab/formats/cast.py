"""Conditions of CAST: which of ours they are, and which of ours CAST can say.

CAST decides in its first pass, over the prompt, at one or several layers, of which any is enough; a layer that it
steers before it came to one that says yes is steered from the first generated token on. A layer's input is read: that
of layer 12 is the output of block 11.

What is compared with the threshold is the same in IBM's two packages. But `larger` is said there of the threshold, and
in AISteer360 of what is compared: here it is `score_above` or `score_below`, as AISteer360 also calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats.additive import NEAREST, constant, is_gated, summed
from trimtab.formats.base import InexpressibleError
from trimtab.steering.card import describe_edit
from trimtab.steering.documents import finite_number
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering
from trimtab.steering.when import AnyOf, Not, ReadTokens, When
from trimtab.steering.when.cast import Cast

COMPARATORS = ("score_above", "score_below")
_NEAREST = (
    "the nearest is a condition of CAST that decides alike on given prompts, which --approximate learns"
)


@dataclass(frozen=True)
class Said:
    """What CAST is told.

    Attributes:
        vectors: What is added, `[d]` by block.
        whens: The condition by the block that is read, of one threshold and sign each.
        first_call: Whether the prompt is steered too.
    """

    vectors: Mapping[int, Tensor]
    whens: Mapping[int, When]
    first_call: bool

    @property
    def parts(self) -> dict[int, Cast]:
        """The comparisons by the block that is read, of either sign."""
        found = ((block, _compared(when)) for block, when in self.whens.items())
        return {block: one for block, one in found if one is not None}

    def call(self, condition: str) -> str:
        """The arguments of CAST's `steer` for it."""
        one = next(iter(self.parts.values()))
        above = all(isinstance(when, Cast) for when in self.whens.values())
        return (
            f", condition_vector=SteeringVector.load('{condition}'), condition_layer_ids="
            f"{[block + 1 for block in self.whens]}, condition_vector_threshold={one.threshold}, "
            f"condition_comparator_threshold_is='{'smaller' if above else 'larger'}', "
            f"condition_threshold_comparison_mode='{one.tokens}'"
            + ("" if self.first_call else ", apply_behavior_on_first_call=False")
        )


def whens_of(
    path: Path,
    vectors: Mapping[int, Tensor],
    model: ModelIdentity,
    *,
    layers: Any,
    threshold: Any,
    comparator: Any,
    compare: Any,
) -> dict[int, When]:
    """The conditions in a file, by the block that is read.

    Args:
        path: The file, for messages.
        vectors: The vector `[d]` of each layer.
        model: The model it is for.
        layers: The layers at which it is decided, a number or a list of numbers.
        threshold: What the score is compared with.
        comparator: One of `COMPARATORS`.
        compare: The tokens that are read, `mean` or `last`.

    Raises:
        SteeringError: One of these makes no sense, or the file has no such layer.
    """
    numbers = layers if isinstance(layers, list) else [layers]
    if not numbers or not all(type(one) is int for one in numbers):
        raise SteeringError(
            f"condition_layers names the layers at which {path} is compared, [7] say, not {layers!r:.60}"
        )
    if comparator not in COMPARATORS:
        raise SteeringError(
            f"comparator is {' or '.join(COMPARATORS)}, not {comparator!r:.60}; where CAST's settings say 'smaller', "
            "of the threshold, it is score_above, and where they say 'larger', score_below"
        )
    if compare not in get_args(ReadTokens):
        raise SteeringError(f"compare is {' or '.join(get_args(ReadTokens))}, not {compare!r:.60}")
    bound = finite_number(threshold, "threshold", path)
    found: dict[int, When] = {}
    for layer in sorted(set(numbers)):
        if layer == 0:
            raise SteeringError("a condition at layer 0 reads the embeddings, and ours the outputs of blocks")
        if layer not in vectors:
            raise SteeringError(f"{path} has no vector for layer {layer}; it has {sorted(vectors)}")
        when = Cast(model, layer - 1, vectors[layer], bound, compare)
        found[layer - 1] = when if comparator == "score_above" else ~when
    return found


def conditional(edits: Iterable[Edit], whens: Mapping[int, When], first_call: bool) -> tuple[Edit, ...]:
    """Edits that act as CAST lets them, under conditions by the block that is read."""
    whole = _any(whens)
    found = []
    for edit in edits:
        known = {block: when for block, when in whens.items() if block <= edit.block}
        if known and first_call:
            if len(known) == len(whens):
                found.append(replace(edit, when=whole))
                continue
            found.append(replace(edit, tokens="prompt", when=_any(known)))
        found.append(replace(edit, tokens="generated", when=whole))
    return tuple(found)


def said(steering: Steering) -> Said:
    """How CAST is told what a steering with a condition does.

    Raises:
        InexpressibleError: It cannot be told that.
        SteeringError: A condition reads the last block, whose output is no layer's input.
    """
    edits = [edit for edit in steering.edits if not edit.is_nothing]
    for edit in edits:
        if is_gated(edit):
            raise InexpressibleError(
                f"a .svec file only adds vectors, and the edit of block {edit.block} {describe_edit(edit)}; {NEAREST}"
            )
    whole = max((edit.when for edit in edits if edit.when), key=lambda when: len(_alternatives(when)))
    whens = _split(whole)
    last = steering.record.model.blocks - 1
    if last in whens:
        raise SteeringError(
            f"CAST reads the inputs of layers, and the condition reads the last block, {last}"
        )
    for first_call in (True, False):
        late = [edit for edit in edits if edit.when == whole and edit.tokens in ("all", "generated")]
        vectors = summed(late)
        theirs = conditional((Edit.add(block, one) for block, one in vectors.items()), whens, first_call)
        if _same(_acts(edits), _acts(theirs)):
            return Said(vectors, whens, first_call)
    raise InexpressibleError(
        f"CAST steers under one condition, and blocks before those that it reads ({sorted(whens)}) on generated tokens "
        f"alone, which '{steering.name}' does not; {_NEAREST}"
    )


def _split(when: When) -> dict[int, When]:
    """The conditions by the block that is read."""
    found: dict[int, When] = {}
    alike = set()
    for part in _alternatives(when):
        one = _compared(part)
        if one is not None:
            found[one.block] = part
            alike.add((part is one, one.threshold, one.tokens))
    if len(found) < len(_alternatives(when)) or len(alike) > 1:
        raise InexpressibleError(
            "CAST compares the cosine with the tanh of a projection, at one threshold for all layers, and this acts "
            f"if {when.describe()}; {_NEAREST}"
        )
    return dict(sorted(found.items()))


def _alternatives(when: When) -> tuple[When, ...]:
    return when.parts if isinstance(when, AnyOf) else (when,)


def _compared(when: When) -> Cast | None:
    """What is compared, of either sign; None for what CAST does not compare."""
    found = when.parts[0] if isinstance(when, Not) else when
    return found if isinstance(found, Cast) else None


def _any(whens: Mapping[int, When]) -> When:
    parts = tuple(whens[block] for block in sorted(whens))
    return parts[0] if len(parts) == 1 else AnyOf(parts)


def _acts(edits: Sequence[Edit]) -> dict[Any, Tensor]:
    """What is added, by block, tokens and condition."""
    found: dict[Any, Tensor] = {}
    for edit in edits:
        for tokens in ("prompt", "generated") if edit.tokens == "all" else (edit.tokens,):
            key = (edit.block, tokens, edit.when)
            found[key] = found.get(key, torch.zeros(edit.width)) + constant(edit) * edit.u
    return found


def _same(ours: Mapping[Any, Tensor], theirs: Mapping[Any, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.allclose(vector, theirs[key], rtol=1e-4, atol=1e-6) for key, vector in ours.items()
    )

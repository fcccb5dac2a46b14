"""From what a request asks for to what it gets: steerings of the library by digest, and edits of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from trimtab.errors import SteeringError
from trimtab.serve.composition import Composition, composed
from trimtab.serve.rows import TableRow, digest_of, fold, row_of
from trimtab.steering.edits import Edit

if TYPE_CHECKING:
    from trimtab.serve.library import Entry, SteeringLibrary
    from trimtab.serve.request import SteeringRequest

__all__ = ["Resolved", "edits_of", "resolve", "split_model_name"]


@dataclass(frozen=True)
class Resolved:
    """What a request gets.

    Attributes:
        composition: Digests and strengths.
        inline: The edits of its own behind the digests of `composition` that are not of a steering.
        scoped: Whether prompt and answer are steered differently.
    """

    composition: Composition
    inline: dict[str, tuple[Edit, ...]] = field(default_factory=dict, compare=False)
    scoped: bool = False


def resolve(request: SteeringRequest, library: SteeringLibrary, *, named: bool = False) -> Resolved:
    """Find out whether a request can have what it asks for.

    `named` refuses digests that no name stands for any more (see `SteeringLibrary.get`).

    Raises:
        SteeringError: A steering is not there, an edit does not fit the model, there are too many gated edits in a
            block, or values are too large for the tables.
    """
    entries: dict[str, Entry] = {}
    parts: list[tuple[str, float]] = []
    for name, strength in request.parts:
        entry = library.get(name, named=named)
        entries[entry.digest] = entry
        parts.append((entry.digest, strength))
    model = library.identity
    for edit in request.edits:
        if edit.block >= model.blocks:
            raise SteeringError(f"there is no block {edit.block}; {model} has blocks 0 to {model.blocks - 1}")
        if edit.width != model.width:
            raise SteeringError(
                f"an edit of block {edit.block} has width {edit.width}; {model} has width {model.width}"
            )
    inline = {}
    if request.edits:
        # In an order of their own, so that requests with equal digests are served equal sums, to the last bit.
        edits = tuple(sorted(request.edits, key=lambda edit: digest_of([edit])))
        digest = digest_of(edits)
        inline = {digest: edits}
        parts.append((digest, 1.0))
    composition = composed(parts)
    _check_room(composition, entries, inline, library)
    scoped = any(
        entries[digest].scoped if digest in entries else any(edit.tokens != "all" for edit in inline[digest])
        for digest, _ in composition
    )
    return Resolved(composition, inline, scoped)


def edits_of(resolved: Resolved, held: Mapping[str, Sequence[Edit]]) -> tuple[Edit, ...]:
    """The edits that a request gets, each as strong as it asked, for a server that applies them as they are.

    Args:
        resolved: What the request gets.
        held: The edits of every steering that the server holds, by digest.
    """
    found: list[Edit] = []
    for digest, strength in resolved.composition:
        edits = resolved.inline.get(digest) or held[digest]
        found += edits if strength == 1.0 else [edit.scaled(strength) for edit in edits]
    return tuple(found)


def split_model_name(name: str, served: Collection[str]) -> tuple[str, str | None]:
    """Take the steering out of a model name such as `nano:json+lowercase`.

    The names in `served` may have colons of their own.

    Returns:
        The model's name, and the expression; None if there is none, or the model is not known.
    """
    if name in served:
        return name, None
    fitting = [known for known in served if name.startswith(f"{known}:")]
    if not fitting:
        return name, None
    model = max(fitting, key=len)
    return model, name[len(model) + 1 :]


def _check_room(
    composition: Composition,
    entries: Mapping[str, Entry],
    inline: Mapping[str, tuple[Edit, ...]],
    library: SteeringLibrary,
) -> None:
    """Refuse what the tables cannot take; adds up what is known of each part before folding anything."""
    rows: dict[str, TableRow] = {digest: fold(edits) for digest, edits in inline.items()}
    counts: Counter[int] = Counter()
    largest = 0.0
    for digest, strength in composition:
        if digest in rows:
            counts.update({block: len(gates.p) for block, gates in rows[digest].gates.items()})
            largest += abs(strength) * rows[digest].largest_addition
        else:
            counts.update(entries[digest].gated)
            largest += abs(strength) * entries[digest].largest_addition
    # Not to the last bit: a sum in float32, in another order, may round up.
    if largest > 0.999 * torch.finfo(library.dtype).max or not all(
        row.fits(library.dtype) for row in rows.values()
    ):
        kind = str(library.dtype).removeprefix("torch.")
        raise SteeringError(
            f"the values are too large: what is added leaves the tables' {kind}; lower the strengths"
        )
    if max(counts.values(), default=0) > library.gates:
        # Gated edits that two parts share are one: now it matters.
        own = [
            (inline[digest] if digest in inline else entries[digest].steering.edits, strength)
            for digest, strength in composition
        ]
        widest = row_of(own).widest
        if widest > library.gates:
            raise SteeringError(
                f"this request has {widest} gated edits in one block, and the tables take {library.gates}; "
                f"ask for fewer at once, or start the server with gates={widest}"
            )

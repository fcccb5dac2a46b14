"""Objects of libraries that keep their steerings in memory: `ControlVector` of repeng, `SteeringVector` of the other.

    vector = formats.to_object(steering, "repeng")
    steering = formats.from_object(vector, engine.identity)

Both hold one vector for each block, added at its output. The library is imported to make its object, never to read one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.formats.additive import added_vectors
from trimtab.formats.base import Content
from trimtab.formats.converting import steering_of
from trimtab.formats.gguf import last_block_note
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, identity_given
from trimtab.steering.steering import Steering, given

__all__ = ["LIBRARIES", "from_object", "to_object"]

LIBRARIES = ("repeng", "steering-vectors")
"""Whose objects there are."""


def to_object(steering: Steering, library: str) -> Any:
    """A steering as an object of another library.

    Args:
        steering: What adds vectors, and nothing else. Their strength is in the object: apply it with coefficient 1.
        library: One of `LIBRARIES`.

    Returns:
        A `repeng.ControlVector` (give `ControlModel` the blocks of the steering), or a
        `steering_vectors.SteeringVector`.

    Raises:
        SteeringError: It does more than add vectors, or the library cannot be imported.
    """
    if not isinstance(library, str) or library not in LIBRARIES:
        there = arguments.in_words(library)
        raise SteeringError(f"the library of an object is one of {', '.join(LIBRARIES)}, not {there}")
    added = added_vectors(given(steering), f"an object of {library}")
    if library == "repeng":
        directions = {block: vector.numpy() for block, vector in added.items()}
        return _class("repeng", "ControlVector")(
            model_type=steering.record.model.architecture, directions=directions
        )
    return _class("steering_vectors", "SteeringVector")(layer_activations=added, layer_type="decoder_block")


def from_object(
    value: Any, model: ModelIdentity, *, name: str | None = None, strength: float = 1.0
) -> Steering:
    """An object of another library as a steering.

    Args:
        value: A `ControlVector` of repeng or a `SteeringVector` of steering-vectors.
        model: The model it was made for: `engine.identity`.
        name: What to call the steering; None takes the library's name.
        strength: Multiplies the vectors; those of repeng have norm 1.

    Raises:
        SteeringError: It is another object, does not fit the model, or acts elsewhere than at the output of blocks.
    """
    model = identity_given(model, "model")
    if name is not None:
        arguments.text(name, "name", SteeringError)
    strength = arguments.number(strength, "strength", SteeringError)
    notes: tuple[str, ...] = ()
    if hasattr(value, "layer_activations") and hasattr(value, "layer_type"):
        library, vectors = "steering-vectors", value.layer_activations
        if value.layer_type != "decoder_block":
            raise SteeringError(
                f"the vectors are for the layer type {value.layer_type!r:.60}, and edits act at the output of blocks: "
                "train them with layer_type='decoder_block'"
            )
    elif hasattr(value, "explained_variances"):
        raise SteeringError(
            "this vector is applied at the input of blocks; save it (.save) and import the file, which is then known"
        )
    elif hasattr(value, "directions") and hasattr(value, "model_type"):
        library, vectors = "repeng", value.directions
    else:
        raise SteeringError(
            f"a ControlVector of repeng or a SteeringVector of steering-vectors is wanted, not {type(value).__name__}"
        )
    if not isinstance(vectors, Mapping) or not vectors:
        raise SteeringError(f"the object of {library} holds no vectors")
    edits = tuple(Edit.add(_block(block), _tensor(vector, block)) for block, vector in vectors.items())
    if library == "repeng":
        notes = last_block_note(edits, model)
    found = Content(edits, {"format": f"an object of {library}"}, notes)
    return steering_of(found, model, f"the object of {library}", name or library, strength=strength)


def _class(module: str, name: str) -> Any:
    from importlib import import_module

    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        package = module.replace("_", "-")
        raise SteeringError(f"{package} is not installed here ({error}): pip install {package}") from error
    except AttributeError as error:  # repeng 0.4.0 beside numpy 2
        raise SteeringError(f"{module} cannot be imported: {error}; it may want an older numpy") from error


def _block(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SteeringError(f"a block is a number from 0 on, not {value!r:.60}")
    return value


def _tensor(value: Any, block: int) -> Tensor:
    try:
        return torch.as_tensor(value).detach().float().reshape(-1).clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SteeringError(f"the vector of block {block} is no tensor: {error}") from error

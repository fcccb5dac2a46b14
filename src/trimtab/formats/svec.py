"""The `.svec` files of IBM's activation-steering (CAST, arXiv 2409.05907) and AISteer360: JSON with a vector a layer.

    {"model_type": "llama", "directions": {"12": [...]}, "explained_variances": {"12": 0.3}}

CAST reads a layer's output and adds the vector to the layer's *input*, which is the output of the block before: what
is named 12 is an edit of block 11. So do some methods of AISteer360 (CAST, ActAdd); its CAA adds to the output. The
file does not say: AISteer360 writes `[1][d]` where CAST writes `[d]`, and for those the option `at` must say it.

At which layers, how strongly and on which condition a vector is applied is not in the file either, but in the call; a
condition's vector is in a file of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.files import write_text
from trimtab.formats import cast
from trimtab.formats.additive import acted_blocks, added_vectors
from trimtab.formats.base import Content, Format
from trimtab.formats.bounded import first_bytes, read_json
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_ENDING = ".svec"
_PLACES = ("input", "output")


def recognises(path: Path) -> bool:
    """Whether it ends in .svec, as both libraries insist on, and begins as JSON."""
    return path.suffix == _ENDING and first_bytes(path, 1) == b"{"


def read(
    path: Path,
    model: ModelIdentity,
    *,
    at: str | None = None,
    condition: str | None = None,
    condition_layers: int | list[int] | None = None,
    threshold: float | None = None,
    comparator: str = "score_above",
    compare: str = "mean",
    first_call: bool = True,
) -> Content:
    """Read the vectors.

    Args:
        path: The file.
        model: The model it is for.
        at: Where the method adds a layer's vector: to its `input` (CAST) or its `output`. None takes the input for
            files of CAST, and asks for those of AISteer360.
        condition: The file of the condition's vectors; what follows is for it, as it was given to `steer` there.
        condition_layers: The layers at which it is compared.
        threshold: What it is compared with.
        comparator: `score_above` (CAST's "smaller", said of the threshold) or `score_below` (CAST's "larger").
        compare: The tokens of the prompt that are read: `mean` or `last`.
        first_call: CAST's `apply_behavior_on_first_call`: whether the prompt is steered too.
    """
    directions, kind = _directions(path)
    _check_place(at)
    if at is None and any(_is_nested(rows) for rows in directions.values()):
        raise SteeringError(
            f"{path} is of AISteer360, where some methods add to a layer's output (CAA) and some to its input (CAST, "
            "ActAdd): say which with --option at=output or --option at=input"
        )
    shift = 0 if at == "output" else 1
    edits, notes = [], []
    for name, rows in directions.items():
        layer = _layer(path, name)
        vector = _vector(path, name, rows)
        if layer < shift:
            notes.append(
                "the vector of layer 0 is left out: it is added to the embeddings, before the first block"
            )
        else:
            edits.append(Edit.add(layer - shift, vector))
    if not edits:
        raise SteeringError(
            f"{path} acts at the input of layer 0 alone, and edits act at the output of blocks"
        )
    if isinstance(kind, str) and kind != model.architecture:
        notes.append(f"the file names the model type {kind!r:.60}, and this model is a {model.architecture}")
    if condition is not None:
        if shift == 0:
            raise SteeringError("a condition is CAST's, which adds to inputs: leave out at=output")
        where = Path(str(condition))
        vectors = {
            _layer(where, name): _vector(where, name, rows) for name, rows in _directions(where)[0].items()
        }
        whens = cast.whens_of(
            where,
            vectors,
            model,
            layers=condition_layers,
            threshold=threshold,
            comparator=comparator,
            compare=compare,
        )
        edits = list(cast.conditional(edits, whens, bool(first_call)))
    elif condition_layers is not None or threshold is not None:
        raise SteeringError(
            "condition_layers and threshold are for a condition: --option condition=FILE.svec"
        )
    return Content(tuple(edits), {"at": "output" if shift == 0 else "input"}, tuple(notes))


def write(steering: Steering, path: Path, *, at: str = "input") -> str:
    """Write the vectors; both libraries read what is written.

    Args:
        steering: What adds vectors, and nothing else.
        path: The file, with the ending .svec; a condition goes into another beside it.
        at: Where the method that will use it adds a layer's vector: to its `input` (CAST) or its `output` (CAA).
    """
    if path.suffix != _ENDING:
        raise SteeringError(f"both libraries want the ending .svec, which {path} does not have")
    _check_place(at)
    last = steering.record.model.blocks - 1
    if at == "input" and last in acted_blocks(steering):  # first: nothing that is near to it helps there
        raise SteeringError(
            f"CAST adds to the input of layers, and no layer comes after block {last}, which '{steering.name}' edits; "
            "learn it on earlier blocks (--blocks), or write for a method that adds to outputs: --option at=output"
        )
    told = None
    if at == "input" and any(edit.when is not None for edit in steering.edits if not edit.is_nothing):
        told = cast.said(steering)
    added = added_vectors(steering, "a .svec file") if told is None else told.vectors
    layers = {block + (at == "input"): vector for block, vector in added.items()}
    kind = steering.record.model.architecture
    more = ""
    if told is not None:
        beside = path.with_suffix(f".condition{_ENDING}")
        if beside.exists() and not path.exists():
            raise SteeringError(f"{beside} is there already, and would be replaced; choose another name")
        _write(beside, kind, {block + 1: one.direction for block, one in told.parts.items()})
        more = told.call(str(beside))
    _write(path, kind, layers)
    if at == "output":
        return (
            f"for each layer_id of {list(layers)}: CAA(steering_vector=SteeringVector.load('{path}'), "
            "layer_id=layer_id, multiplier=1.0, token_scope='all')"
        )
    return (
        f"model.steer(behavior_vector=SteeringVector.load('{path}'), behavior_layer_ids={list(layers)}, "
        f"behavior_vector_strength=1.0{more})"
    )


def _write(path: Path, kind: str, layers: Mapping[int, Tensor]) -> None:
    document = {
        "model_type": kind,
        "directions": {str(layer): vector.tolist() for layer, vector in layers.items()},
        "explained_variances": {str(layer): 1.0 for layer in layers},
    }
    write_text(path, json.dumps(document, allow_nan=False) + "\n")


def _directions(path: Path) -> tuple[dict[str, Any], Any]:
    """What stands for each layer, and the type of the model."""
    value = read_json(path)
    directions = value.get("directions") if isinstance(value, dict) else None
    if not isinstance(directions, dict) or not directions:
        raise SteeringError(f"{path} has no directions; a file with a vector for each layer is expected")
    if value.get("num_heads") is not None or value.get("head_dim") is not None:
        raise SteeringError(
            f"{path} has a vector for each attention head; edits of the residual stream cannot say that"
        )
    return directions, value.get("model_type")


def _check_place(at: Any) -> None:
    if at is not None and at not in _PLACES:
        raise SteeringError(f"at is input or output, not {at!r:.60}")


def _is_nested(rows: Any) -> bool:
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], list)


def _layer(path: Path, name: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,5}", name):
        raise SteeringError(f"{path} has a vector for {name!r:.60}, which is no number of a layer")
    return int(name)


def _vector(path: Path, name: str, rows: Any) -> Tensor:
    if _is_nested(rows):
        if len(rows) > 1:
            raise SteeringError(
                f"{path} has {len(rows)} vectors for layer {name}, one for each token or of a plane; edits cannot say "
                "that"
            )
        rows = rows[0]
    if not isinstance(rows, list) or not all(type(one) in (int, float) for one in rows):
        raise SteeringError(f"{path}: the vector of layer {name} is no list of numbers")
    try:
        return torch.tensor(rows, dtype=torch.float32)
    except (OverflowError, RuntimeError, ValueError) as error:
        raise SteeringError(f"{path}: the vector of layer {name} has numbers that are too large") from error


FORMAT = Format(
    "svec", "IBM activation-steering (CAST) and AISteer360 (.svec).", recognises, read, write, says_when=True
)

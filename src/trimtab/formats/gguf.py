"""GGUF control vectors of llama.cpp, repeng and EasySteer: `direction.{block}`, added at the block's output.

llama.cpp (`llama-cli --control-vector`) takes blocks from 1 on: it refuses a file with `direction.0`, which the other
two write and read. In repeng's and EasySteer's files are unit vectors, and the strength is said when they are
applied; ours have the strength in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.files import write_bytes
from trimtab.formats import gguf_tensors
from trimtab.formats.additive import acted_blocks, added_vectors
from trimtab.formats.base import Content, Format
from trimtab.formats.bounded import first_bytes
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_READERS = {
    "llama.cpp": "llama-cli -m MODEL.gguf --control-vector {path}",
    "repeng": "ControlModel(model, {blocks}).set_control(ControlVector.import_gguf('{path}'))",
    "easysteer": "VectorSpec(source='{path}', scale=1.0, layers={blocks})",
}


def recognises(path: Path) -> bool:
    """Whether it is a GGUF file; whether it holds a control vector, reading it says."""
    return first_bytes(path, 4) == gguf_tensors.MAGIC


def read(path: Path, model: ModelIdentity, *, layer_offset: int = 0) -> Content:
    """Read a control vector.

    Args:
        path: The file.
        model: The model it is for.
        layer_offset: Added to the numbers in the file. 0 keeps what llama.cpp and repeng do with it. llama.cpp's own
            generator names what it read at block 0 `direction.1`: -1 applies each where it was read.
    """
    keys, vectors = gguf_tensors.read(path, "controlvector")
    if isinstance(layer_offset, bool) or not isinstance(layer_offset, int):
        raise SteeringError(f"layer_offset is a whole number, not {layer_offset!r:.60}")
    edits = []
    for name, vector in vectors.items():
        number = re.fullmatch(r"direction\.(0|[1-9][0-9]{0,5})", name)
        if number is None:
            raise SteeringError(
                f"{path} has a tensor {name!r:.60}; those of a control vector are direction.N"
            )
        block = int(number[1]) + layer_offset
        if block < 0:
            raise SteeringError(f"{path} has {name}, which layer_offset={layer_offset} moves before block 0")
        edits.append(Edit.add(block, vector))
    if not edits:
        raise SteeringError(f"{path} is a control vector without any direction")
    hint, method = keys.get("controlvector.model_hint"), keys.get("controlvector.method")
    settings = {"model_hint": hint, "control_vector_method": method}
    return Content(
        tuple(edits),
        {key: value for key, value in settings.items() if isinstance(value, str)},
        tuple(_notes(keys, edits, model)),
    )


def write(steering: Steering, path: Path, *, reader: str = "llama.cpp") -> str:
    """Write a control vector.

    Args:
        steering: What adds vectors, and nothing else.
        path: The file.
        reader: Who shall read it: llama.cpp, repeng or easysteer. llama.cpp takes no vector for block 0.
    """
    if reader not in _READERS:
        raise SteeringError(
            f"the reader of a control vector is one of {', '.join(_READERS)}, not {reader!r:.60}"
        )
    if reader == "llama.cpp" and 0 in acted_blocks(steering):  # first: nothing that is near to it helps there
        raise SteeringError(
            f"llama.cpp refuses control vectors for block 0, which '{steering.name}' edits; learn it on blocks "
            "from 1 on (--blocks), or write for repeng or easysteer with --option reader=repeng"
        )
    added = added_vectors(steering, "a control vector")
    keys: dict[str, str | int] = {
        "general.architecture": "controlvector",
        "controlvector.model_hint": steering.record.model.architecture,
        "controlvector.layer_count": len(added),
    }
    if reader == "easysteer":
        keys["controlvector.method"] = steering.record.method
    tensors: Mapping[str, Tensor] = {f"direction.{block}": vector for block, vector in added.items()}
    write_bytes(path, gguf_tensors.packed(keys, tensors))
    return _READERS[reader].format(path=path, blocks=list(added))


def _notes(keys: Mapping[str, Any], edits: list[Edit], model: ModelIdentity) -> list[str]:
    notes = []
    hint = keys.get("controlvector.model_hint")
    if isinstance(hint, str) and hint != model.architecture:
        notes.append(f"the file names the model type {hint!r:.60}, and this model is a {model.architecture}")
    return notes + list(last_block_note(edits, model))


def last_block_note(edits: Iterable[Edit], model: ModelIdentity) -> tuple[str, ...]:
    """What to know of the last block where repeng made the vectors."""
    if all(edit.block < model.blocks - 1 for edit in edits):
        return ()
    note = (
        f"repeng reads the direction of the last block, {model.blocks - 1}, after the final norm, and applies it "
        "before: if it made this, leave that block out (--blocks)"
    )
    return (note,)


FORMAT = Format("gguf", "GGUF control vectors: llama.cpp, repeng, EasySteer.", recognises, read, write)

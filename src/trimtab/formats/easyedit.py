"""Folders of EasyEdit's steering: `layer_12.pt` or `layer_12_merged_vector.pt`, a tensor `[d]` for each layer.

It is added at the layer's output, times a multiplier that its settings give. A layer is a block, counted from 0.
"""

from __future__ import annotations

from pathlib import Path

from trimtab.errors import SteeringError
from trimtab.formats import torch_files
from trimtab.formats.additive import added_vectors
from trimtab.formats.base import Content, Format
from trimtab.formats.bounded import numbered_files, write_files
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_NAMES = r"layer_(0|[1-9][0-9]{0,5})(?:_merged_vector)?\.pt"


def recognises(path: Path) -> bool:
    """Whether it is a folder with files of such names."""
    try:
        return path.is_dir() and bool(numbered_files(path, _NAMES))
    except (SteeringError, OSError, ValueError):
        return False


def read(path: Path, model: ModelIdentity) -> Content:
    """Read the vector of each layer."""
    files = numbered_files(path, _NAMES)
    if not files:
        raise SteeringError(f"{path} has no files layer_N.pt; EasyEdit keeps a vector in each")
    edits = [Edit.add(layer, torch_files.vector(torch_files.read(one), one)) for layer, one in files.items()]
    return Content(tuple(edits))


def write(steering: Steering, path: Path, *, merged: bool = False) -> str:
    """Write a file for each block.

    Args:
        steering: What adds vectors, and nothing else.
        path: The folder, new or empty.
        merged: Name the files as its `merge_vector` does.
    """
    added = added_vectors(steering, "a folder of EasyEdit")
    if not isinstance(merged, bool):
        raise SteeringError(f"merged is true or false, not {merged!r:.60}")
    ending = "_merged_vector.pt" if merged else ".pt"
    write_files(
        path, {f"layer_{block}{ending}": torch_files.packed(vector) for block, vector in added.items()}
    )
    method = "merge_vector" if merged else "caa"
    return (
        f"alg_name: {method}, steer_vector_load_dir: {path}, layers: {list(added)}, multipliers: "
        f"{[1.0] * len(added)}"
    )


FORMAT = Format("easyedit", "EasyEdit, a folder of layer_N.pt.", recognises, read, write)

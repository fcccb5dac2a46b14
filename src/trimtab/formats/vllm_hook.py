"""IBM's vLLM-Hook: a JSON file that says what to do at one layer, and beside it a file of torch.save with the vector.

    {"steering": {"method": "adjust_rs", "optimal_layer": 8, "coefficient": 1.0, "vector_path": "v.pt", ...}}
    {"dir": [d], "avg_proj": a number}

`adjust_rs` sets the projection: `h + (avg_proj - <dir, h>) dir`, exactly an edit with u = dir, p = -dir; `add_vector`
adds the coefficient times `dir`. Its worker changes one half of vLLM's pair of hidden state and residual, so that at
run time it sets the projection of that half alone; the edit does what is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from trimtab.errors import SteeringError
from trimtab.files import write_bytes, write_text
from trimtab.formats import torch_files
from trimtab.formats.additive import NEAREST, acting, as_projection, is_gated, summed
from trimtab.formats.base import Content, Format, InexpressibleError
from trimtab.formats.bounded import first_bytes, read_json
from trimtab.steering.card import describe_edit
from trimtab.steering.documents import finite_number
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_MOST_JSON = 2**20
_HALF = (
    "vLLM-Hook's worker sets the projection of one half of vLLM's pair of hidden state and residual; this edit sets "
    "that of their sum"
)


def recognises(path: Path) -> bool:
    """Whether it is the JSON file; the vector alone does not say where it belongs."""
    if path.suffix != ".json" or first_bytes(path, 1) != b"{":
        return False
    try:
        value = read_json(path, _MOST_JSON)
    except SteeringError:
        return False
    return (
        isinstance(value, dict)
        and isinstance(value.get("steering"), dict)
        and "vector_path" in value["steering"]
    )


def read(path: Path, model: ModelIdentity) -> Content:
    """Read the edit. The vector is looked for beside the JSON file, by the name at the end of its `vector_path`."""
    value = read_json(path, _MOST_JSON)
    steering = value.get("steering") if isinstance(value, dict) else None
    if not isinstance(steering, dict):
        raise SteeringError(f"{path} has no 'steering'; the JSON file of vLLM-Hook is expected")
    block, place = steering.get("optimal_layer"), steering.get("vector_path")
    if type(block) is not int or block < 0:
        raise SteeringError(f"{path}: optimal_layer is a number from 0 on, not {block!r:.60}")
    name = place.replace("\\", "/").rpartition("/")[2] if isinstance(place, str) else ""
    if name in ("", ".", ".."):
        raise SteeringError(f"{path}: vector_path names no file, but {place!r:.60}")
    if steering.get("apply_at_all_positions", True) is not True:
        raise SteeringError(f"{path} acts at some positions alone, which vLLM-Hook does not do either")
    where = path.parent / name
    found = torch_files.read(where)
    if not isinstance(found, dict) or "dir" not in found:
        raise SteeringError(f"{where} has no 'dir'; the vector of vLLM-Hook is expected")
    vector = torch_files.vector(found["dir"], f"{where}: dir")
    method = steering.get("method", "adjust_rs")
    if method == "add_vector":
        coefficient = finite_number(steering.get("coefficient", 0), "coefficient", path)
        return Content((Edit.add(block, vector, coefficient),), {"vector": name})
    if method != "adjust_rs":
        raise SteeringError(f"{path}: the method is adjust_rs or add_vector, not {method!r:.60}")
    target = found.get("avg_proj")
    number = target.item() if isinstance(target, torch.Tensor) and target.numel() == 1 else target
    edit = Edit(block, vector, alpha=finite_number(number, "avg_proj", where), p=-vector)
    return Content((edit,), {"vector": name}, (_HALF,))


def write(steering: Steering, path: Path) -> str:
    """Write the JSON file, and beside it the vector, under the same name with the ending .pt.

    Args:
        steering: One set projection, or added vectors, of one block.
        path: The file, with the ending .json.
    """
    says = "vLLM-Hook"
    if path.suffix != ".json":
        raise SteeringError(
            f"{says} wants a JSON file, which {path} does not end as; its vector is written beside it"
        )
    edits = acting(steering, says)
    if len({edit.block for edit in edits}) > 1:
        raise SteeringError(
            f"{says} acts at one block, and '{steering.name}' edits {', '.join(map(str, steering.blocks))}; the "
            "nearest is a steering of one block (trimtab learn --blocks N --rank 1)"
        )
    method, vector, target = "add_vector", None, 0.0
    if not any(is_gated(edit) for edit in edits):
        vector = summed(edits)[edits[0].block]
    elif len(edits) == 1 and (projection := as_projection(edits[0])):
        method, (vector, target) = "adjust_rs", projection
    else:
        raise InexpressibleError(
            f"{says} adds a vector or sets one projection, and the edit of block {edits[0].block} "
            f"{describe_edit(edits[0])}{', beside others' if len(edits) > 1 else ''}; {NEAREST}"
        )
    beside = path.with_suffix(".pt")
    if beside.exists() and not path.exists():
        raise SteeringError(
            f"{beside} is there already, and would be replaced by the vector; choose another name"
        )
    document: dict[str, Any] = {
        "steering": {
            "method": method,
            "coefficient": 1.0,
            "optimal_layer": edits[0].block,
            "vector_path": str(beside.absolute()),
            "apply_at_all_positions": True,
        }
    }
    # The vector as a tensor, where vLLM-Hook's own are arrays: its torch.load, of weights alone, refuses those.
    write_bytes(beside, torch_files.packed({"dir": vector, "avg_proj": torch.tensor(target)}))
    write_text(path, json.dumps(document, indent=2) + "\n")
    return f"VLLM_ACTSTEER_CONFIG={path}"


FORMAT = Format("vllm-hook", "IBM vLLM-Hook (.json, and .pt beside it).", recognises, read, write)

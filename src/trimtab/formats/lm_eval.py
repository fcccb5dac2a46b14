"""The files of `lm_eval --model steered` (lm-evaluation-harness): one action for each block, in a file of torch.save.

    {"layers.12": {"steering_vector": Tensor [d], "steering_coefficient": 1.0, "action": "add" or "clamp",
                   "bias": None, "head_index": None}}

The key is a module below `model.base_model`. `clamp` sets the projection on the vector, scaled to norm 1, to the
coefficient; with a bias b it does so for h - b, which sets that of h to the coefficient plus that of b.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.files import write_bytes
from trimtab.formats import torch_files
from trimtab.formats.additive import NEAREST, acting, as_projection, is_gated, summed
from trimtab.formats.base import Content, Format, InexpressibleError
from trimtab.steering.card import describe_edit
from trimtab.steering.documents import finite_number
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_BELOW_BASE = {
    **dict.fromkeys(("gpt2", "gptj", "bloom", "falcon", "gpt_neo", "codegen"), "h"),
    **dict.fromkeys(("opt",), "decoder.layers"),
    **dict.fromkeys(("mpt",), "blocks"),
    **dict.fromkeys(
        (
            "llama mistral mixtral qwen2 qwen2_moe qwen3 qwen3_moe phi phi3 gemma gemma2 gemma3_text gpt_neox cohere "
            "olmo olmo2 granite smollm3 stablelm starcoder2 glm4"
        ).split(),
        "layers",
    ),
}
"""Of each architecture, where the blocks are below `model.base_model`."""
_SAYS = "lm-eval's steered model"


def recognises(path: Path) -> bool:
    """Whether it is a file of torch.save with an action for each hookpoint."""
    if not torch_files.is_torch_file(path):
        return False
    try:
        value = torch_files.read(path)
    except SteeringError:
        return False
    entries = value.values() if isinstance(value, dict) else ()
    return bool(entries) and all(isinstance(one, dict) and "steering_vector" in one for one in entries)


def read(path: Path, model: ModelIdentity, *, hookpoint: str | None = None) -> Content:
    """Read the actions.

    Args:
        path: The file.
        model: The model it is for.
        hookpoint: What stands before the numbers of blocks; None knows it for common architectures.
    """
    value = torch_files.read(path)
    if not isinstance(value, dict) or not value:
        raise SteeringError(f"{path} holds no hookpoints; a dictionary of actions is expected")
    edits = [_edit(path, name, entry, hookpoint) for name, entry in value.items()]
    if len({edit.block for edit in edits}) < len(edits):
        raise SteeringError(f"{path} names a block twice")
    return Content(tuple(edits))


def write(steering: Steering, path: Path, *, hookpoint: str | None = None) -> str:
    """Write the actions: for each block a sum of added vectors, or one set projection.

    Args:
        steering: What does no more than that.
        path: The file, with the ending .pt.
        hookpoint: What stands before the numbers of blocks; None knows it for common architectures.
    """
    if path.suffix not in (".pt", ".pth"):
        raise SteeringError(f"lm-eval tells its files by the ending .pt, which {path} does not have")
    architecture = steering.record.model.architecture
    place = _BELOW_BASE.get(architecture) if hookpoint is None else hookpoint
    if not isinstance(place, str):
        raise SteeringError(
            f"it is not known where a {architecture} has its blocks below model.base_model; say it with --option "
            "hookpoint=layers, say"
        )
    entries = {f"{place}.{block}": action for block, action in _actions(steering).items()}
    write_bytes(path, torch_files.packed(entries))
    return f"lm_eval --model steered --model_args pretrained=MODEL,steer_path={path} --tasks TASK"


def _actions(steering: Steering) -> dict[int, dict[str, Any]]:
    by_block: dict[int, list[Edit]] = {}
    for edit in acting(steering, _SAYS):
        by_block.setdefault(edit.block, []).append(edit)
    actions = {}
    for block in sorted(by_block):
        edits = by_block[block]
        if not any(is_gated(edit) for edit in edits):
            actions[block] = _action("add", summed(edits)[block], 1.0)
            continue
        projection = as_projection(edits[0])
        if len(edits) > 1:
            raise InexpressibleError(
                f"{_SAYS} has one action for each block, and '{steering.name}' has {len(edits)} edits of block {block} "
                f"with a projection or a gate among them; {NEAREST}"
            )
        if projection is None:
            raise InexpressibleError(
                f"{_SAYS} adds a vector or sets a projection, and the edit of block {block} {describe_edit(edits[0])}; "
                f"{NEAREST}"
            )
        actions[block] = _action("clamp", *projection)
    return actions


def _action(action: str, vector: Tensor, coefficient: float) -> dict[str, Any]:
    return {
        "steering_vector": vector,
        "steering_coefficient": coefficient,
        "action": action,
        "bias": None,
        "head_index": None,
    }


def _edit(path: Path, name: Any, entry: Any, hookpoint: str | None) -> Edit:
    number = re.fullmatch(r"(.+)\.(0|[1-9][0-9]{0,5})", name) if isinstance(name, str) else None
    places = {*_BELOW_BASE.values()} if hookpoint is None else {hookpoint}
    if number is None or number[1] not in places:
        raise SteeringError(
            f"{path} acts at {name!r:.60}, and edits act at the output of a block, {min(places)}.12 say; if it "
            "is one, --option hookpoint=... names what stands before its number"
        )
    where = f"{path} ({name})"
    if not isinstance(entry, Mapping):
        raise SteeringError(f"{where} is no action")
    if entry.get("head_index") is not None:
        raise SteeringError(
            f"{where} acts on an attention head, which edits of the residual stream cannot say"
        )
    block, vector = (
        int(number[2]),
        torch_files.vector(entry.get("steering_vector"), f"{where}: steering_vector"),
    )
    coefficient = finite_number(entry.get("steering_coefficient", 1.0), "steering_coefficient", where)
    action, bias = entry.get("action"), entry.get("bias")
    if action == "add" and bias is None:
        return Edit.add(block, vector, coefficient)
    if action != "clamp":
        with_bias = " with a bias" if action == "add" else ""
        raise SteeringError(f"{where}: the action is add or clamp, not {action!r:.60}{with_bias}")
    if bias is not None:
        shift = torch_files.vector(bias, f"{where}: bias").double()
        if len(shift) != len(vector):
            raise SteeringError(f"{where}: the bias has another width than the vector")
        direction = vector.double() / vector.double().norm().clamp(min=1e-300)
        coefficient += float(direction @ shift)
    return Edit.set_projection(block, vector, coefficient)


FORMAT = Format("lm-eval", "lm-evaluation-harness, --model steered (.pt).", recognises, read, write)

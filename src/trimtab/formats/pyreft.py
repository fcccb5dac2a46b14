"""Folders of pyreft and pyvene with LoReFT: `config.json`, and for each layer a file of torch.save with R, W and b.

LoReFT (Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592) changes a layer's output to

    h + R^T (W h + b - R h)        R [r, d] with orthonormal rows, W [r, d], b [r]

which is r edits of a block: u = R_i, p = W_i - R_i, alpha = b_i. And k edits of a block, h + U^T (a + P h), are LoReFT
of rank k, whatever they do: with U = L Q, where Q has orthonormal rows, R = Q, W = L^T P + Q and b = L^T a. So a gated
steering is written here without loss. Where ReFT acts (at the first and last tokens of a prompt, mostly) is in the
call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats import torch_files
from trimtab.formats.additive import NEAREST, acting, constant, is_gated
from trimtab.formats.base import Content, Format, InexpressibleError
from trimtab.formats.bounded import numbered_files, read_json, write_files
from trimtab.steering.edits import Edit, TokenScope
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_MOST_JSON = 2**20
_NAMES = r"intkey_layer[._](0|[1-9][0-9]{0,5})[._]comp[._]block_output[._]unit[._]pos[._]nunit[._]1#0\.bin"
_TYPE = "<class 'pyreft.interventions.LoreftIntervention'>"
_FIELDS = 14
"""Of pyvene's RepresentationConfig; the first are layer, component, unit, number of units and rank."""


def recognises(path: Path) -> bool:
    """Whether it is a folder with a config.json and files of interventions."""
    try:
        return (path / "config.json").is_file() and bool(numbered_files(path, r"intkey_.*?(\d{1,6}).*\.bin"))
    except (SteeringError, OSError, ValueError):
        return False


def read(path: Path, model: ModelIdentity, *, tokens: str = "all") -> Content:
    """Read the interventions.

    Args:
        path: The folder.
        model: The model it is for.
        tokens: Where the edits shall act, which the folder does not say: all, prompt or generated tokens.
    """
    if tokens not in get_args(TokenScope):
        raise SteeringError(f"tokens is one of {', '.join(get_args(TokenScope))}, not {tokens!r:.60}")
    types = _types(path)
    for kind in types:
        if not re.fullmatch(r"(?:<class ')?[\w.]*\bLoreftIntervention(?:'>)?", kind):
            raise SteeringError(
                f"{path} has an intervention {kind:.80}; of pyreft's, LoReFT can be said in edits"
            )
    files = numbered_files(path, _NAMES)
    if len(files) != len(types):
        raise SteeringError(
            f"{path} lists {len(types)} interventions and has {len(files)} files of block outputs, one unit each; "
            "edits act there alone, and each on its own"
        )
    edits: list[Edit] = []
    for layer, one in files.items():
        edits += _edits(torch_files.read(one), one, layer, tokens)
    note = "ReFT acts at positions that its call names, often the first and last of the prompt; these edits act on "
    return Content(tuple(edits), {}, (note + ("all tokens" if tokens == "all" else f"{tokens} tokens"),))


def write(steering: Steering, path: Path) -> str:
    """Write the interventions: any edits, gated ones too, of all tokens and prompts.

    Args:
        steering: The steering.
        path: The folder, new or empty.
    """
    by_block: dict[int, list[Edit]] = {}
    for edit in acting(steering, "LoReFT"):
        if edit.rectified and is_gated(edit):
            raise InexpressibleError(
                f"LoReFT is linear, and the edit of block {edit.block} adds nothing where its amount is below zero; "
                f"{NEAREST}"
            )
        by_block.setdefault(edit.block, []).append(edit)
    blocks = sorted(by_block)
    width = steering.record.model.width
    keys = [f"layer_{block}_comp_block_output_unit_pos_nunit_1#0" for block in blocks]
    states = {block: _state(by_block[block], block) for block in blocks}
    ranks = [len(states[block]["bias"]) for block in blocks]
    document = {
        "intervention_constant_sources": [True] * len(blocks),
        "intervention_dimensions": [width] * len(blocks),
        "intervention_types": [_TYPE] * len(blocks),
        "mode": "parallel",
        "representations": [
            [block, "block_output", "pos", 1, rank, *[None] * (_FIELDS - 5)]
            for block, rank in zip(blocks, ranks, strict=True)
        ],
        "sorted_keys": keys,
    }
    files = {
        f"intkey_{key}.bin": torch_files.packed(states[block])
        for key, block in zip(keys, blocks, strict=True)
    }
    write_files(path, {**files, "config.json": (json.dumps(document, indent=2) + "\n").encode()})
    return f"ReftModel.load('{path}', model), at all positions of the layers {blocks}"


def _types(path: Path) -> list[str]:
    value = read_json(path / "config.json", _MOST_JSON)
    types = value.get("intervention_types") if isinstance(value, dict) else None
    if isinstance(types, str):
        types = [types]
    if not isinstance(types, list) or not types or not all(isinstance(one, str) for one in types):
        raise SteeringError(
            f"{path / 'config.json'} names no intervention_types; a folder of pyreft is expected"
        )
    return types


def _edits(state: Any, where: Path, layer: int, tokens: Any) -> list[Edit]:
    if not isinstance(state, dict):
        raise SteeringError(f"{where} holds no weights of LoReFT")
    names = ("rotate_layer", "weight", "bias")
    parts = [one for name in names if isinstance(one := state.get(name), Tensor)]
    if len(parts) < len(names):
        raise SteeringError(f"{where} lacks rotate_layer, weight or bias, the weights of LoReFT")
    rotation, weight, bias = (one.double() for one in parts)
    if rotation.dim() != 2 or weight.shape != rotation.T.shape or bias.shape != rotation.shape[1:]:
        shapes = ", ".join(str(list(one.shape)) for one in (rotation, weight, bias))
        raise SteeringError(f"{where} has the shapes {shapes}, and [d, r], [r, d] and [r] are expected")
    rows = rotation.T
    return [
        Edit(layer, row.float(), alpha=float(shift), p=(own - row).float(), tokens=tokens)
        for row, own, shift in zip(rows, weight, bias, strict=True)
    ]


def _state(edits: Sequence[Edit], block: int) -> dict[str, Tensor]:
    """R, W and b of the edits of one block."""
    directions = torch.stack([edit.u for edit in edits]).double()
    gates = torch.stack([torch.zeros_like(edit.u) if edit.p is None else edit.p for edit in edits]).double()
    constants = torch.tensor([constant(edit) for edit in edits], dtype=torch.float64)
    if len(edits) > directions.shape[1]:
        raise SteeringError(
            f"LoReFT has no more rows than the model is wide, and block {block} has {len(edits)} edits"
        )
    orthonormal, mix = torch.linalg.qr(directions.T)  # U^T = Q^T L^T
    return {
        "weight": (mix @ gates + orthonormal.T).float(),
        "bias": (mix @ constants).float(),
        "rotate_layer": orthonormal.float(),
    }


FORMAT = Format("pyreft", "LoReFT of pyreft and pyvene, a folder.", recognises, read, write)

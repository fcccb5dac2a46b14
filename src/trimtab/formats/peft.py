"""Adapters of peft: a LoRA that changes no weight, and whose bias is a vector that is added.

    adapter_config.json        {"peft_type": "LORA", "lora_bias": true, "r": 1, "lora_alpha": 1, "target_modules": [..]}
    adapter_model.safetensors  base_model.model.{module}.lora_A.weight [1, m], .lora_B.weight [d, 1], .lora_B.bias [d]

A LoRA gives its projection `W x + s (B (A x) + b)`. With A and B zero that is a vector more at each token, and at the
projection whose output a block adds to the residual stream last, it is a vector added to the block's output: exactly an
edit. What depends on the hidden state no tuner of peft can say: each reads what its projection is given, which is not
the residual stream.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats.additive import added_vectors
from trimtab.formats.base import Content, Format
from trimtab.formats.bounded import read_bytes, read_json, write_files
from trimtab.steering.documents import finite_number
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MOST_JSON = 2**20
_LAST = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3"), "model.layers.{}.mlp.down_proj"),
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "gptj": "transformer.h.{}.mlp.fc_out",
    "opt": "model.decoder.layers.{}.fc2",
    "falcon": "transformer.h.{}.mlp.dense_4h_to_h",
}
"""Of each architecture, the projection whose output a block adds to the residual stream last, with nothing between."""
_NAMES = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_B\.bias)")
_OTHERS = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "megatron_config", "loftq_config")
_HOLDS_WEIGHTS = (
    "it changes weights, as a trained LoRA does; that is no edit of the residual stream, and peft merges it into the "
    "model (merge_and_unload), which trimtab then loads"
)


def recognises(path: Path) -> bool:
    """Whether it is a folder with the two files."""
    try:
        return (path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()
    except (OSError, ValueError):
        return False


def read(path: Path, model: ModelIdentity, *, module: str | None = None) -> Content:
    """Read the vectors of an adapter that changes no weight.

    Args:
        path: The folder.
        model: The model it is for.
        module: The last projection of a block, with {} for its number; None knows it for common architectures.
    """
    pattern = _pattern(model.architecture, module)
    scale = _scale(path)
    vectors = _vectors(path)
    edits = []
    for name, vector in sorted(vectors.items()):
        match = re.fullmatch(re.escape(pattern).replace(r"\{\}", r"(0|[1-9]\d{0,5})"), name)
        if match is None:
            raise SteeringError(
                f"{path} has a bias at {name:.80}, and what is added to a block's output is one at {pattern}; another "
                "place is named by --option module=PATH"
            )
        edits.append(Edit.add(int(match[1]), vector, scale))
    if not edits:
        raise SteeringError(f"{path} has no biases (lora_bias), and changes nothing")
    return Content(tuple(sorted(edits, key=lambda edit: edit.block)))


def write(steering: Steering, path: Path, *, module: str | None = None, inner: int | None = None) -> str:
    """Write an adapter that peft opens.

    Args:
        steering: What adds vectors, and nothing else.
        path: The folder, new or empty.
        module: The last projection of a block, with {} for its number; None knows it for common architectures.
        inner: How many numbers that projection is given, the config's `intermediate_size`: A [1, inner] has that shape.
    """
    from safetensors.torch import save

    model = steering.record.model
    pattern = _pattern(model.architecture, module)
    added = added_vectors(steering, "an adapter of peft")
    if type(inner) is not int or not 0 < inner < 2**24:
        raise SteeringError(
            "an adapter has the shape of its projection, which a steering does not know: trimtab bake --to peft finds "
            "it in the model, or --option inner=N names the config's intermediate_size"
        )
    tensors: dict[str, Tensor] = {}
    for block, vector in added.items():
        name = f"base_model.model.{pattern.format(block)}"
        tensors[f"{name}.lora_A.weight"] = torch.zeros(1, inner)
        tensors[f"{name}.lora_B.weight"] = torch.zeros(len(vector), 1)
        tensors[f"{name}.lora_B.bias"] = vector.contiguous()
    document = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.id,
        "inference_mode": True,
        "r": 1,
        "lora_alpha": 1,
        "lora_dropout": 0.0,
        "lora_bias": True,
        "bias": "none",
        "fan_in_fan_out": model.architecture == "gpt2",
        "target_modules": [pattern.format(block) for block in added],
    }
    files = {
        _CONFIG: (json.dumps(document, indent=2) + "\n").encode(),
        _WEIGHTS: save(tensors, metadata={"format": "pt"}),
    }
    write_files(path, files)
    return f"PeftModel.from_pretrained(model, '{path}')"


def _pattern(architecture: str, module: Any) -> str:
    if module is not None:
        if not isinstance(module, str) or not re.fullmatch(r"[\w.]*\{\}[\w.]*", module):
            raise SteeringError(f"module is a path with {{}} for the block's number, not {module!r:.60}")
        return module
    if architecture not in _LAST:
        raise SteeringError(
            f"where a bias is added to a block's output is known of {', '.join(_LAST)}, not of {architecture}; if it "
            "has such a projection (a norm behind it, as in Gemma, is something else), --option module=PATH names it, "
            "with {} for the number"
        )
    return _LAST[architecture]


def _scale(path: Path) -> float:
    config = read_json(path / _CONFIG, _MOST_JSON)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise SteeringError(f"{path} is an adapter of the type {kind!r:.60}; of LORA vectors can be read")
    found = next((name for name in _OTHERS if config.get(name)), None)
    if found is not None or config.get("bias", "none") != "none":
        raise SteeringError(f"{path} has {found or 'bias'} in its config, which says more than vectors")
    alpha = finite_number(config.get("lora_alpha"), "lora_alpha", path)
    rank = config.get("r")
    if type(rank) is not int or rank < 1:
        raise SteeringError(f"{path}: r is a rank from 1 on, not {rank!r:.60}")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _vectors(path: Path) -> dict[str, Tensor]:
    """The bias `[d]`, float32, of each module."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: Mapping[str, Tensor] = load(read_bytes(path / _WEIGHTS))
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RuntimeError) as error:
        raise SteeringError(f"{path / _WEIGHTS} is damaged; fetch or export it again") from error
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAMES.fullmatch(name)
        if match is None or not tensor.is_floating_point():
            raise SteeringError(f"{path} has a tensor {name!r:.80}, which is of no LoRA with a bias")
        parts.setdefault(match[1], {})[match[2]] = tensor.float()
    vectors = {}
    for module, found in parts.items():
        if all(part not in found or bool(found[part].any()) for part in ("lora_A.weight", "lora_B.weight")):
            raise SteeringError(f"{path} cannot be read: at {module:.80} {_HOLDS_WEIGHTS}")
        if "lora_B.bias" in found:
            vector = found["lora_B.bias"]
            if vector.dim() != 1:
                raise SteeringError(f"{path}: the bias of {module:.80} has the shape {list(vector.shape)}")
            vectors[module] = vector
    return vectors


FORMAT = Format("peft", "An adapter of peft (LoRA with a bias alone), a folder.", recognises, read, write)

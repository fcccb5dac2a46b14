"""The way that takes every edit: blocks with a small module behind them, and the code of it beside the weights.

The code is `modeling_steered.py`, in which the architecture's own classes are put for Llama's. What it computes is what
`EditTable` does; it is read from the checkpoint by `trust_remote_code=True` and needs no trimtab.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from trimtab.baking.checkpoint import Checkpoint, plain_values, tensors_of
from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks
from trimtab.steering.edits import Edit, TokenScope

CODE = "modeling_steered.py"
_ON = {"all": (1.0, 1.0), "prompt": (1.0, 0.0), "generated": (0.0, 1.0)}


def refusal(model: Any) -> str | None:
    """Why a model cannot be written this way; None if it can."""
    import transformers

    kind = type(model)
    for one in (kind, type(model.config)):
        if getattr(transformers, one.__name__, None) is not one:
            return (
                f"the code of {one.__name__} does not come with transformers, so that no small file beside the weights "
                "can stand on it"
            )
    if model.config.get_text_config() is not model.config:
        return f"{kind.__name__} is for text and more, and only models for text alone are written with code"
    return None


@contextmanager
def prepared(model: Any, place: DecoderBlocks, edits: Sequence[Edit], folder: Path) -> Iterator[Checkpoint]:
    """What to write: the file of code is put into the folder, and is what the checkpoint's class comes from."""
    tensors, counts = edit_tensors(edits, place.path)
    model_name, config_name = type(model).__name__, type(model.config).__name__
    (folder / CODE).write_text(code_for(model_name, config_name, model.config.model_type), encoding="utf-8")
    with _imported(folder / CODE) as module:
        decoder = place.path.rpartition(".")[0]
        config = module.SteeredConfig(
            **plain_values(model.config),
            steering={
                "blocks": place.path,
                "decoder": decoder,
                "width": int(model.config.hidden_size),
                "edits": counts,
                "scoped": any(edit.tokens != "all" for edit in edits),
            },
            auto_map={
                "AutoConfig": f"{Path(CODE).stem}.SteeredConfig",
                "AutoModelForCausalLM": f"{Path(CODE).stem}.SteeredForCausalLM",
            },
        )
        yield Checkpoint(module.SteeredForCausalLM, config, {**tensors_of(model), **tensors})


def code_for(model: str, config: str, model_type: str) -> str:
    """The code for an architecture: the names of its classes are put for Llama's."""
    text = Path(__file__).with_name(CODE).read_text(encoding="utf-8")
    for ours, theirs in (
        ("LlamaConfig, LlamaForCausalLM", ", ".join(sorted((config, model)))),
        ("LlamaForCausalLM", model),
        ("LlamaConfig", config),
        ("steered_llama", f"steered_{model_type}"),
    ):
        text = text.replace(ours, theirs)
    return text


def edit_tensors(edits: Sequence[Edit], path: str) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors of all blocks by their names in the checkpoint, and how many edits each block has.

    What is added without a gate is summed up, for each scope.
    """
    tensors: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for block, several in groupby(sorted(edits, key=lambda edit: edit.block), key=lambda edit: edit.block):
        rows = _summed(list(several))
        counts[str(block)] = len(rows)
        for name, values in {
            "u": torch.stack([edit.u for edit in rows]),
            "p": torch.stack([torch.zeros_like(edit.u) if edit.p is None else edit.p for edit in rows]),
            "alpha": torch.tensor([edit.alpha for edit in rows]),
            "on": torch.tensor([_ON[edit.tokens] for edit in rows]).T.contiguous(),
        }.items():
            tensors[f"{path}.{block}.steering.{name}"] = values
    return tensors, counts


def _summed(edits: list[Edit]) -> list[Edit]:
    added: dict[TokenScope, Tensor] = {}
    kept: list[Edit] = []
    for edit in edits:
        if edit.p is None or not bool(edit.p.any()):
            vector = edit.alpha * edit.u.double()
            added[edit.tokens] = vector + added.get(edit.tokens, torch.zeros_like(vector))
        else:
            kept.append(edit)
    block = edits[0].block
    return kept + [Edit.add(block, vector.float(), tokens=scope) for scope, vector in added.items()]


@contextmanager
def _imported(path: Path) -> Iterator[ModuleType]:
    """A file as a module, for as long as the block runs."""
    name = f"trimtab_baked_{id(path)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # transformers looks up the file of a class there
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = writes_bytecode
        del sys.modules[name]

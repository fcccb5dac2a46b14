"""What is served: a random model, and many different steerings for it. Made on the spot; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks.shapes import SHAPES, random_model, random_tokenizer
from trimtab.engines.names import name_and_revision
from trimtab.steering.edits import Edit
from trimtab.steering.identity import model_identity
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

KINDS = ("additions", "gated edits")
"""One added vector in every block; one gated edit in every block, with a constant part as learned ones have."""

_SIZE = 0.3
"""Length of what an edit adds: about half that of the residual stream, so that other tokens come out."""


def make_model(folder: Path, shape: str) -> ModelIdentity:
    """Writes a random model of a shape, in bfloat16, with a tokenizer; one that is there stays.

    Args:
        folder: Where it lies, or shall lie.
        shape: One of `benchmarks.shapes.SHAPES`.

    Returns:
        Which model it is, as every engine says it.
    """
    done = folder / "shape.json"
    expected = json.dumps(SHAPES[shape].values)
    tokenizer = random_tokenizer()
    if not done.is_file() or done.read_text(encoding="utf-8") != expected:
        model = random_model(shape, device=torch.device("cpu"), dtype=torch.bfloat16)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        done.write_text(expected, encoding="utf-8")
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    name, revision = name_and_revision(folder)
    return model_identity(
        config, tokenizer, blocks=config.num_hidden_layers, model_id=name, revision=revision
    )


def make_steerings(folder: Path, identity: ModelIdentity, count: int) -> dict[str, list[str]]:
    """Writes steerings that all differ, each with one edit in every block.

    Args:
        folder: Gets a subfolder for each; those that are there are written anew.
        identity: The model they are for.
        count: How many of each kind.

    Returns:
        Their names, by kind.
    """
    names: dict[str, list[str]] = {}
    for kind in KINDS:
        names[kind] = [f"{kind.split()[0]}-{number:03d}" for number in range(count)]
        for number, name in enumerate(names[kind]):
            Steering(name, edits_of(kind, identity, number), Record(identity)).save(folder / name)
    return names


def edits_of(kind: str, identity: ModelIdentity, seed: int) -> tuple[Edit, ...]:
    """One random edit of a kind in every block.

    Args:
        kind: One of `KINDS`.
        identity: The model they are for.
        seed: Another gives other edits.
    """
    numbers = torch.Generator().manual_seed(seed)
    edits = []
    for block in range(identity.blocks):
        u, p = torch.nn.functional.normalize(torch.randn(2, identity.width, generator=numbers))
        gate = p if kind == "gated edits" else None
        edits.append(Edit(block, u * _SIZE, alpha=1.0, p=gate))
    return tuple(edits)

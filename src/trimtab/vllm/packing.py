"""Edits and activations as bytes, on their way to vLLM's workers and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.serve.rows import digest_of
from trimtab.steering.documents import take
from trimtab.steering.edit_files import edits_document, edits_tensors, read_edit
from trimtab.steering.edits import Edit
from trimtab.steering.folder import read_metadata, read_tensors

__all__ = ["pack_edits", "pack_tensors", "unpack_edits", "unpack_tensors"]

_FORMAT = "trimtab-edits"
_PACKED = "the file of packed edits"


def pack_edits(edits: Sequence[Edit]) -> bytes:
    """Edits as one safetensors file that says in its metadata what they are.

    `unpack_edits` gives them back, bit by bit.

    Raises:
        SteeringError: An edit has a `when`.
    """
    digest = digest_of(edits)
    tensors = {
        # Clones: safetensors refuses tensors that share memory, as the u and p of one edit may.
        name: tensor.contiguous().clone()
        for name, tensor in edits_tensors(edits, ()).items()
    }
    document = {
        "format": _FORMAT,
        "blocks": 1 + max((edit.block for edit in edits), default=0),
        "width": max((edit.width for edit in edits), default=0),
        "digest": digest,
        **edits_document(edits, ()),
    }
    content: bytes = save(tensors, {_FORMAT: json.dumps(document)})
    return content


def unpack_edits(content: bytes) -> tuple[Edit, ...]:
    """Read what `pack_edits` gave.

    Raises:
        SteeringError: It is something else, damaged, or its content is not what was packed.
    """
    tensors = read_tensors(content, _PACKED)
    try:
        document = json.loads(read_metadata(content)[_FORMAT])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SteeringError(f"{_PACKED} does not say what it is ({error!r}); pack the edits again") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise SteeringError(f"{_PACKED} is of another format, expected {_FORMAT}; pack the edits again")
    shape = take(document, "blocks", int, _PACKED), take(document, "width", int, _PACKED)
    edits = tuple(
        read_edit(values, number, tensors, shape, _PACKED)
        for number, values in enumerate(take(document, "edits", list, _PACKED))
    )
    unknown = sorted(set(tensors) - set(edits_tensors(edits, ())))
    if unknown:
        raise SteeringError(f"{_PACKED} has tensors that belong to no edit: {', '.join(unknown)}")
    if document.get("digest") != digest_of(edits):
        raise SteeringError(
            f"{_PACKED} was changed after it was packed: the digests differ; pack the edits again"
        )
    return edits


def pack_tensors(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> bytes:
    """Tensors, and plain JSON, as bytes."""
    # safetensors wants at least one tensor for its metadata to be read back
    return save({"none": torch.zeros(0), **tensors}, {"trimtab": json.dumps(document)})


def unpack_tensors(packed: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `pack_tensors` was given."""
    tensors = load(packed)
    tensors.pop("none")
    return tensors, json.loads(read_metadata(packed)["trimtab"])

"""Edits as bytes, whole or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialize_tensors
from tests.serve.test_rows import GATE, WIDTH, content, edit, edits

from trimtab.errors import SteeringError
from trimtab.steering import when
from trimtab.steering.edits import Edit
from trimtab.vllm.packing import pack_edits, unpack_edits


@given(st.lists(edits, max_size=5))
def test_packing_keeps_everything(some: list[Edit]) -> None:
    assert content(unpack_edits(pack_edits(some))) == content(some)


def test_u_and_p_may_share_memory() -> None:
    u = torch.ones(WIDTH)
    one = Edit(0, u, 1.0)
    object.__setattr__(one, "p", one.u)
    assert content(unpack_edits(pack_edits([one]))) == content([one])


def test_a_condition_cannot_be_packed() -> None:
    with pytest.raises(SteeringError, match="server does not decide"):
        pack_edits([Edit(0, torch.ones(WIDTH), 1.0, when=when.Matches("x"))])


def repacked(change: Any) -> bytes:
    """Two edits, packed by someone who changed the tensors or what is said about them."""
    packed = pack_edits([edit(1, alpha=1.0, p=GATE), edit(2, alpha=0.5)])
    length = int.from_bytes(packed[:8], "little")
    document = json.loads(json.loads(packed[8 : 8 + length])["__metadata__"]["trimtab-edits"])
    tensors = parse_tensors(packed)
    change(document, tensors)
    return serialize_tensors(tensors, {"trimtab-edits": json.dumps(document)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: t["edits.0.u"].mul_(2), "the digests differ"),
        (lambda d, t: d["edits"][0].update(alpha=2.0), "the digests differ"),
        (lambda d, t: d["edits"][0].update(block=2), "the digests differ"),
        (lambda d, t: d["edits"].pop(), "belong to no edit: edits.1.u"),
        (lambda d, t: t["edits.1.u"].fill_(float("nan")), "edits.1.u holds values that are not finite"),
        (lambda d, t: d["edits"][1].update(alpha=float("inf")), "alpha must be a finite number"),
        (lambda d, t: d["edits"][1].update(block=99), "block 99 is out of range"),
        (lambda d, t: d["edits"][1].update(tokens="some"), "tokens must be one of"),
        (lambda d, t: d.update(width=7), r"has shape \[5\], expected \[7\]"),
        (lambda d, t: t.update({"edits.0.p": t["edits.0.p"].half()}), "is float16, expected float32"),
        (lambda d, t: t.pop("edits.0.p"), "lacks the tensor edits.0.p"),
        (lambda d, t: d.pop("edits"), "lacks 'edits'"),
        (lambda d, t: d.update(format="other"), "of another format"),
    ],
)
def test_changed_bytes_are_refused(change: Any, message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        unpack_edits(repacked(change))


@pytest.mark.parametrize(
    "packed", [b"", b"\x80\x04]", pack_edits([edit(alpha=1.0)])[:-3], serialize_tensors({})]
)
def test_other_bytes_are_refused(packed: bytes) -> None:
    with pytest.raises(SteeringError, match=r"the file of packed edits (is|does)"):
        unpack_edits(packed)


def test_honest_changes_are_not_refused() -> None:
    assert len(unpack_edits(repacked(lambda document, tensors: None))) == 2

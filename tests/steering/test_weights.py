"""Which weights a model has: the same in every dtype that keeps them, others after training."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tests.tiny import tiny_model
from torch import nn

from trimtab.steering.record import ModelIdentity
from trimtab.steering.weights import weights_digest

IDENTITY = ModelIdentity("checkpoint-500", None, "llama", 3, 32, "plain")


def digest(model: Any) -> str | None:
    return weights_digest(model, model.model.layers)


def test_it_is_the_same_in_every_dtype_that_rounds_alike() -> None:
    saved = digest(tiny_model("llama"))
    assert saved is not None
    assert saved.startswith("bfloat16:")
    assert digest(tiny_model("llama").to(torch.bfloat16)) == saved
    assert digest(tiny_model("llama").to(torch.bfloat16).float()) == saved
    halved = digest(tiny_model("llama").half())
    assert halved is not None
    assert halved.startswith("float16:")
    assert halved == digest(tiny_model("llama").half())


def test_a_step_of_training_changes_it() -> None:
    model = tiny_model("llama")
    before = digest(model)
    model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    assert digest(model) not in (None, before)


def test_names_and_order_do_not_count() -> None:
    block = nn.ModuleDict({"one": nn.Linear(3, 4), "two": nn.Linear(4, 3)})
    renamed = nn.ModuleDict({"second": block["two"], "first": block["one"]})
    assert weights_digest(None, [block]) == weights_digest(None, [renamed])


def test_weights_that_say_nothing_have_none() -> None:
    model = tiny_model("llama")
    model.hf_quantizer = object()
    assert digest(model) is None
    assert weights_digest(None, [nn.Linear(2, 2, device="meta")]) is None
    assert weights_digest(None, []) is None
    packed = nn.Linear(2, 2)
    packed.weight = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    assert weights_digest(None, [packed]) is None


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        ("bfloat16:1", "bfloat16:2", "the weights differ"),
        ("bfloat16:1", "bfloat16:1", None),
        ("bfloat16:1", "float16:2", None),
        ("bfloat16:1", None, None),
        (None, "bfloat16:2", None),
    ],
)
def test_weights_decide_where_both_are_known(own: str | None, other: str | None, reason: str | None) -> None:
    mine = dataclasses.replace(IDENTITY, weights=own)
    theirs = dataclasses.replace(IDENTITY, weights=other)
    assert mine.refusal(theirs) == reason
    assert mine.refusal(theirs, allow_other_model=True) is None
    renamed = dataclasses.replace(theirs, id="another", revision="abc")
    assert mine.refusal(renamed) == (None if own == other else reason or "the names differ")


def test_it_is_kept_in_files_where_it_is_known() -> None:
    known = dataclasses.replace(IDENTITY, weights="bfloat16:1")
    assert ModelIdentity.from_dict(known.to_dict()).weights == "bfloat16:1"
    assert "weights" not in IDENTITY.to_dict()
    assert ModelIdentity.from_dict(IDENTITY.to_dict()) == IDENTITY == known

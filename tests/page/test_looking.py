from __future__ import annotations

import pytest
import torch

from trimtab.errors import SteeringError
from trimtab.page import panels
from trimtab.page.composing import checked, together
from trimtab.page.looking import pushes, sweep
from trimtab.page.workplace import Workplace
from trimtab.steering.edits import Edit
from trimtab.steering.record import Record
from trimtab.steering.steering import Steering

QUESTION = "What is Blackwick?"


def test_what_each_token_was_pushed_by_is_what_the_edit_adds(workplace: Workplace) -> None:
    identity = workplace.engine.identity
    torch.manual_seed(0)
    edit = Edit(1, torch.randn(identity.width) * 0.05, alpha=1.0)
    steering = Steering("added", (edit,), Record(identity))
    found = pushes(workplace, QUESTION, steering)
    [answer] = workplace.engine.generate(
        [QUESTION], steering=steering, max_new_tokens=workplace.max_new_tokens
    )
    assert found.answer == answer.text
    assert "".join(found.pieces) == answer.text
    assert [value > 0 for value in found.by_block] == [False, True, False, False, False][: identity.blocks]
    # Block 1 reads what block 0 gave, unsteered: the length added is that of u.
    tokenizer = workplace.engine.tokenizer
    from trimtab.engines.chat import prompt_ids

    ids = [*prompt_ids(tokenizer, QUESTION), *answer.token_ids]
    with torch.inference_mode():
        hidden = workplace.twin.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2]
    expected = edit.u.norm() / hidden[0, -len(answer.token_ids) :].norm(dim=-1)
    torch.testing.assert_close(torch.tensor(found.by_token), expected)


def test_the_model_is_left_alone_and_its_weights_are_shared(workplace: Workplace) -> None:
    pushes(workplace, QUESTION, workplace.steering("json"))
    assert not any(block._forward_hooks for block in workplace.engine.decoder_blocks.blocks)
    twin, model = workplace.another().model, workplace.engine.model
    assert twin is not model
    assert all(one is other for one, other in zip(twin.parameters(), model.parameters(), strict=True))


def test_strength_against_followed(workplace: Workplace) -> None:
    found = list(sweep(workplace, workplace.steering("lowercase"), (0.0, 1.0), questions=3))
    assert [one.followed for one in found] == [0.0, 1.0]
    assert all(one.perplexity and 0 <= one.repetition <= 1 for one in found)
    assert panels.swept("lowercase", found).count("<polyline") == 3


def test_two_that_leave_each_other_alone_and_two_that_cannot_meet(workplace: Workplace) -> None:
    found = list(together(workplace, "lowercase", "no_commas", questions=3))
    assert [len(one.shares) for one in found] == [0, 1, 2, 3, 4]
    assert found[-1].shares["lowercase+no_commas"] == (1.0, 1.0, 1.0)
    assert found[-1].shares["lowercase"][0] == 1.0
    assert found[-1].verdict().startswith("They leave each other alone")
    assert found[2].verdict() == ""
    assert "both at once" in panels.together(found[-1])
    with pytest.raises(SteeringError, match="cannot be followed at once"):
        checked(workplace, "json", "bullets")
    with pytest.raises(SteeringError, match="two different"):
        checked(workplace, "json", "json")


def test_what_disturbs_is_named() -> None:
    from trimtab.page.composing import Together

    shares = {"a": (1.0, 0.0, 0.0), "b": (0.0, 1.0, 0.0), "a+b": (0.5, 1.0, 0.5)}
    [one, other] = _two()
    assert (
        Together(("a", "b"), (one, other), shares)
        .verdict()
        .startswith("They disturb each other: a falls from 100% to 50%.")
    )


def _two() -> list[object]:
    from trimtab import instructions

    return list(instructions.parse_instructions("lowercase,no_commas"))

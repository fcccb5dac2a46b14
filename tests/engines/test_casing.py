from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS

from trimtab.constraint import Constraint
from trimtab.engines.casing import OtherCase
from trimtab.engines.constraining import allowed, restrained

SMALL = Constraint.regex(r"(?s)[^\p{Lu}\p{Lt}]*")


@pytest.fixture(scope="module")
def nano(engines: Any) -> Any:
    return engines("nano")


@pytest.fixture(scope="module")
def other_case(nano: Any) -> OtherCase:
    return OtherCase(nano.tokenizer, nano.matchers.width)


def token(engine: Any, text: str) -> int:
    return int(engine.tokenizer(text, add_special_tokens=False)["input_ids"][0])


def test_what_may_not_stand_is_said_in_the_other_case(nano: Any, other_case: OtherCase) -> None:
    capital, small, digit = (token(nano, text) for text in ("The", "the", "7"))
    may = torch.zeros(1, nano.matchers.width, dtype=torch.bool)
    may[0, [small, digit]] = True
    likely = torch.zeros(1, nano.matchers.width)
    likely[0, [capital, small, digit]] = torch.tensor([0.6, 0.1, 0.3])
    moved = other_case.moved(likely, may)
    assert moved[0, small] == pytest.approx(0.7)
    assert moved[0, digit] == pytest.approx(0.3)
    assert float(moved.sum()) == pytest.approx(1.0)


def test_where_neither_case_may_stand_the_probability_is_gone(nano: Any, other_case: OtherCase) -> None:
    capital, digit = token(nano, "The"), token(nano, "7")
    may = torch.zeros(1, nano.matchers.width, dtype=torch.bool)
    may[0, digit] = True
    likely = torch.zeros(1, nano.matchers.width)
    likely[0, [capital, digit]] = torch.tensor([0.6, 0.4])
    moved = other_case.moved(likely, may)
    assert moved[0, digit] == pytest.approx(0.4)
    assert float(moved.sum()) == pytest.approx(0.4)


def test_what_a_row_forbids_moves_nothing_in_another(nano: Any, other_case: OtherCase) -> None:
    random, width = torch.Generator().manual_seed(0), nano.matchers.width
    likely = torch.rand(3, width, generator=random).softmax(-1)
    may = torch.rand(3, width, generator=random) < torch.tensor([[0.1], [0.9], [1.0]])
    together = other_case.moved(likely, may)
    for row in range(3):
        assert torch.equal(together[row], other_case.moved(likely[row : row + 1], may[row : row + 1])[0])
    assert torch.equal(together[2], likely[2])


def test_an_answer_begins_as_it_would_have_begun(nano: Any) -> None:
    free = nano.generate(PROMPTS, max_new_tokens=1)
    held = nano.generate(PROMPTS, constraints=replace(SMALL, other_case=True), max_new_tokens=1)
    begun = [one.text for one in free]
    assert any(text != text.lower() for text in begun)
    assert [one.text.strip() for one in held] == [text.lower().strip() for text in begun]


def test_rows_of_a_batch_go_their_own_ways(nano: Any) -> None:
    ways = [None, SMALL, replace(SMALL, other_case=True)]
    alone = [
        nano.generate([PROMPTS[0]], constraints=None if way is None else way, max_new_tokens=12)[0].text
        for way in ways
    ]
    together = nano.generate([PROMPTS[0]] * 3, constraints=ways, max_new_tokens=12)
    assert [one.text for one in together] == alone


def test_what_an_answer_is_drawn_from(nano: Any) -> None:
    way = replace(SMALL, other_case=True)
    [answer] = nano.generate([PROMPTS[0]], constraints=way, max_new_tokens=12)
    prompt = nano.encoding.prompts([PROMPTS[0]])[0]
    with torch.no_grad():
        logits = nano.model(torch.tensor([[*prompt, *answer.token_ids]])).logits[0, len(prompt) - 1 : -1]
    found = restrained(nano, way, logits.log_softmax(-1), allowed(nano, way, answer.token_ids))
    assert found.exp().sum(-1).allclose(torch.ones(len(answer.token_ids)), atol=1e-5)
    assert found.argmax(-1).tolist() == list(answer.token_ids)

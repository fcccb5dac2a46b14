"""What an instruction's constraint admits, what rewriting gives, and which checks hold for beginnings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import instructions


@pytest.mark.parametrize(
    ("name", "answer", "rewritten"),
    [
        ("no_commas", "Apples, pears, and plums, all 1,000.", "Apples and pears and plums all 1000."),
        ("lowercase", "The Sun shines on the Sea today.", "the sun shines on the sea today."),
        ("uppercase", "The Sun shines on the Sea today.", "THE SUN SHINES ON THE SEA TODAY."),
    ],
)
def test_rewriting_changes_what_the_instruction_asks_for(name: str, answer: str, rewritten: str) -> None:
    instruction = instructions.get(name)
    assert instruction.rewrite(answer) == rewritten
    assert instruction.rewrite(rewritten) == rewritten
    assert instruction.rewrite(" \n") is None


@given(st.text(max_size=60))
def test_an_answer_is_rewritten_so_that_it_passes_or_not_at_all(answer: str) -> None:
    for name in ("no_commas", "lowercase", "uppercase"):
        instruction = instructions.get(name)
        rewritten = instruction.rewrite(answer)
        assert rewritten is None or instruction.check(rewritten)

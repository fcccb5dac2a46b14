"""Instructions in the prompts of a task."""

from __future__ import annotations

import pytest

from trimtab import instructions
from trimtab.errors import PromptError
from trimtab.harness.telling import Telling
from trimtab.instructions import InstructionType, Phrasings


def test_without_instructions_prompts_stay_as_they_are() -> None:
    nothing = Telling([], 0)
    chat = [{"role": "user", "content": "Why?"}]
    assert (nothing.mark, nothing.in_front("Why?"), nothing.in_chat(chat)) == ("", "Why?", chat)


def test_a_prompt_that_has_its_instructions_gets_them_no_second_time() -> None:
    telling = Telling(instructions.resolve_all("lowercase,no_commas"), 3)
    told = telling.in_front("Why?")
    assert told.endswith("\n\nWhy?")
    assert telling.in_front(told) == told
    assert telling.in_front("Why?") == told
    assert telling.in_front("") == " ".join(telling._phrasings(""))


def test_the_mark_is_that_of_instructions_and_seed() -> None:
    wanted = instructions.resolve_all("lowercase")
    others = instructions.resolve_all("uppercase")
    marks = {Telling(wanted, 0).mark, Telling(wanted, 1).mark, Telling(others, 0).mark}
    assert len(marks) == 3
    assert Telling(wanted, 0).mark in marks


def test_an_instruction_that_nothing_says_is_refused() -> None:
    unsaid = InstructionType("unsaid", lambda: str.islower, {"": Phrasings(("Be small.",), (), ())})()
    with pytest.raises(PromptError, match="unsaid has no test phrasings"):
        Telling([unsaid], 0).in_front("Why?")

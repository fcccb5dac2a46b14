"""The answer in texts of models of which nothing is known."""

from __future__ import annotations

import pytest

from trimtab.thoughts.texts import answer_of


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes", "Yes"),
        ("", ""),
        ("<think>hm</think>\n\nYes", "Yes"),
        ("hm\n</think>\n\nNo.", "No."),  # the template opened it
        ("<think>\nhm", None),
        ("\n<thi", None),
        ("[THINK]hm[/THINK]No", "No"),
        ("<seed:think>hm", None),
        ("I <think> so", "I <think> so"),
    ],
)
def test_what_stands_behind_a_thought(text: str, answer: str | None) -> None:
    assert answer_of(text) == answer

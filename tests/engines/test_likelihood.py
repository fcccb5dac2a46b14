from __future__ import annotations

import torch

from trimtab.engines.encoding import Scored
from trimtab.engines.likelihood import in_one_pass
from trimtab.steering.edits import Edit


def test_single_tokens_after_the_same_text_share_a_pass() -> None:
    yes, no = Scored([1, 2], [3], [True]), Scored([1, 2], [4], [True])
    longer, elsewhere = Scored([1, 2], [3, 4], [True, True]), Scored([1], [3], [True])
    free: list[tuple[Edit, ...]] = [()] * 4
    assert in_one_pass([yes, longer, no, elsewhere], free) == [[0, 2], [1], [3]]


def test_a_response_without_an_answer_takes_no_pass() -> None:
    unanswered, empty = Scored([1], [2], [False]), Scored([1], [], [])
    assert in_one_pass([unanswered, Scored([1], [2], [True]), empty], [(), (), ()]) == [[1]]


def test_rows_under_different_edits_share_none() -> None:
    edit, other = (Edit(0, torch.ones(4), alpha=alpha) for alpha in (1.0, 2.0))
    row = Scored([1, 2], [3], [True])
    assert in_one_pass([row] * 4, [(), (edit,), (other,), (edit,)]) == [[0], [1, 3], [2]]

"""Requests followed on the device, step by step, against the whole text read at once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import spelt, thinking, tiny_engine

from trimtab.thoughts import Reader
from trimtab.vllm.worker.following import AnswerFollower


def reader() -> Reader:
    found: Reader = thinking(tiny_engine()).thoughts
    return found


READER = reader()
SIZE = len(spelt(len(READER.pieces)))
DRAFTS = 2

text = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=20)


@given(st.lists(st.tuples(text, text), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_any_schedule_marks_the_answers(rows: list[tuple[list[int], list[int]]], random: object) -> None:
    """Prompts in chunks, pauses, requests taken up again behind a cached prefix, drafts that are refused."""
    follower = AnswerFollower(READER, requests=3, drafts=DRAFTS, device="cpu")
    whole = {str(number): prompt + written for number, (prompt, written) in enumerate(rows)}
    ends = {str(number): len(prompt) for number, (prompt, _) in enumerate(rows)}
    done = dict.fromkeys(whole, 0)
    for name, tokens in whole.items():
        follower.admit(name, ends[name], tokens[: ends[name]])
    waiting = set(whole)
    while waiting:
        step = [name for name in waiting if random.random() < 0.8] or list(waiting)  # type: ignore[attr-defined]
        wanted, ids, positions, scheduled = [], [], [], []
        refused = {}
        for name in step:
            before, end, tokens = done[name], ends[name], whole[name]
            if before > end and random.random() < 0.2:  # type: ignore[attr-defined]  # interrupted, taken up again
                follower.release(name)
                follower.admit(name, end, tokens[:before])
                before = done[name] = random.randint(0, before - 1)  # type: ignore[attr-defined]
            if before < end:
                most = end - before
            else:
                most = max(1, min(1 + DRAFTS, len(tokens) - before))
            count = random.randint(1, most)  # type: ignore[attr-defined]
            read = tokens[before : before + count]
            refused[name] = 0
            if before >= end and count > 1:
                refused[name] = random.randint(0, count - 1)  # type: ignore[attr-defined]
                for place in range(count - refused[name], count):
                    read[place] = random.randrange(SIZE)  # type: ignore[attr-defined]
            text = tokens[end:before] + read[max(0, end - before) :]
            labels = READER.of_answer(READER.after(tokens[:end]), text)
            labels = [False] * max(0, end - before) + labels[max(0, before - end) :]
            wanted += [3 + 1 + label for label in labels[:count]]
            ids += read
            positions += range(before, before + count)
            scheduled.append(count)
        index = torch.full((len(ids) + 3,), 4, dtype=torch.int32)
        computed = np.array([done[name] for name in step])
        follower.mark(index, step, np.array(scheduled), computed, torch.tensor(ids), torch.tensor(positions))
        assert index.tolist() == [*wanted, 4, 4, 4]
        for name, count in zip(step, scheduled, strict=True):
            done[name] += count - refused[name]
            if done[name] >= len(whole[name]):
                waiting.discard(name)
                follower.release(name)


def test_requests_that_are_not_followed_are_left_alone() -> None:
    follower = AnswerFollower(READER, requests=1, drafts=0, device="cpu")
    index = torch.tensor([4, 4], dtype=torch.int32)
    step = ["other"], np.array([2]), np.array([0]), torch.tensor([1, 2]), torch.tensor([0, 1])
    follower.mark(index, *step)
    follower.admit("own", 1, [5])
    follower.mark(index, *step)
    assert index.tolist() == [4, 4]

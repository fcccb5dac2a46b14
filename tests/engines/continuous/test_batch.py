from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.engines.continuous.asking import alone, asked, finished
from tests.tiny import PROMPTS, hooks_of, random_steering

from trimtab.engines.continuous import Ask, RunningBatch
from trimtab.engines.continuous.asks import Row
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.steering.when import Resembles

MANY = [*PROMPTS, "a", "what does the moon do to the sea?", "go on", "who", "where is it?"]


@contextmanager
def disturbed(engine: Any, disturb: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Has a function look at the token ids of each forward pass, before it begins; it may raise."""
    handle = engine.model.register_forward_pre_hook(
        lambda module, args, kwargs: disturb(kwargs["input_ids"]), with_kwargs=True
    )
    try:
        yield
    finally:
        handle.remove()


def test_an_answer_comes_token_by_token_and_the_model_is_free_in_between(tiny_llama: Any) -> None:
    steering = random_steering(tiny_llama, 1)
    batch = RunningBatch(tiny_llama)
    running = batch.submit(asked(tiny_llama, PROMPTS[0], steering, max_new_tokens=4))
    before = hooks_of(tiny_llama.model)
    for number in range(4):
        [event] = batch.step()
        assert event.running is running
        assert event.token == running.token_ids[-1]
        assert len(running.token_ids) == number + 1
        assert hooks_of(tiny_llama.model) == before
    assert (event.ended, running.ended) == ("length", "length")
    assert not batch.step()
    assert running.token_ids == alone(tiny_llama, PROMPTS[0], steering, max_new_tokens=4)


def test_an_end_token_ends_an_answer_and_is_not_part_of_it(tiny_llama: Any) -> None:
    whole = alone(tiny_llama, PROMPTS[0], max_new_tokens=6)
    batch = RunningBatch(tiny_llama)
    running = batch.submit(asked(tiny_llama, PROMPTS[0], max_new_tokens=6, ends=[whole[3]]))
    events = finished(batch)
    assert running.token_ids == whole[: whole.index(whole[3])]
    assert (events[-1].token, events[-1].ended) == (None, "stop")


def test_a_place_that_is_free_is_taken_by_who_waits(tiny_llama: Any) -> None:
    batch = RunningBatch(tiny_llama, max_rows=2)
    running = [batch.submit(asked(tiny_llama, text, max_new_tokens=3)) for text in MANY[:3]]
    batch.step()
    assert (batch.running, batch.waiting) == (2, 1)
    batch.cancel(running[0])
    [told] = [event for event in batch.step() if event.running is running[2]]
    assert told.token is not None
    assert (batch.running, batch.waiting) == (2, 0)
    finished(batch)
    assert running[0].is_cancelled
    assert len(running[0].token_ids) == 1
    assert [one.ended for one in running] == [None, "length", "length"]


def test_a_waiting_request_that_is_cancelled_never_begins(tiny_llama: Any) -> None:
    batch = RunningBatch(tiny_llama, max_rows=1)
    running = [batch.submit(asked(tiny_llama, text, max_new_tokens=2)) for text in MANY[:2]]
    batch.cancel(running[1])
    assert {event.running for event in finished(batch)} == {running[0]}


def test_prompts_of_like_length_are_run_together(tiny_llama: Any) -> None:
    sizes: list[tuple[int, ...]] = []
    batch = RunningBatch(tiny_llama)
    for length in (20, 100, 21):
        batch.submit(Ask([5] * length, max_new_tokens=1))
    with disturbed(tiny_llama, lambda ids: sizes.append(tuple(ids.shape))):
        finished(batch)
    assert sizes == [(1, 100), (2, 21)]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_where_memory_runs_out_half_of_the_rows_go_on(engines: Any, name: str) -> None:
    engine = engines(name)
    rows = [(text, random_steering(engine, seed % 3, "generated")) for seed, text in enumerate(MANY)]
    expected = [alone(engine, text, steering, max_new_tokens=20) for text, steering in rows]
    most: list[int] = []

    def small(ids: torch.Tensor) -> None:
        if len(ids) > 3:
            raise torch.OutOfMemoryError("too much")
        most.append(len(ids))

    batch = RunningBatch(engine, max_rows=8)
    running = [batch.submit(asked(engine, text, steering, max_new_tokens=20)) for text, steering in rows]
    with disturbed(engine, small):
        finished(batch)
    assert [one.token_ids for one in running] == expected
    assert max(most) > 1
    most.clear()
    for text, steering in rows:  # memory that is free again is used again
        batch.submit(asked(engine, text, steering, max_new_tokens=2))
    with disturbed(engine, lambda ids: most.append(len(ids))):
        finished(batch)
    assert max(most) == 8


def test_samples_go_on_where_they_were_when_memory_runs_out(tiny_llama: Any) -> None:
    asks = [
        asked(tiny_llama, text, max_new_tokens=12, do_sample=True, seed=seed)
        for seed, text in enumerate(MANY)
    ]
    expected = []
    for ask in asks:
        batch = RunningBatch(tiny_llama)
        expected.append(batch.submit(ask))
        finished(batch)
    batch = RunningBatch(tiny_llama)
    running = [batch.submit(ask) for ask in asks]
    passes = iter(range(1000))

    def once(ids: torch.Tensor) -> None:
        if len(ids) > 4 and next(passes) == 5:
            raise torch.OutOfMemoryError("too much")

    with disturbed(tiny_llama, once):
        finished(batch)
    assert next(passes) > 5
    assert [one.token_ids for one in running] == [one.token_ids for one in expected]


def test_a_single_row_that_does_not_fit_ends_with_one_clear_line(tiny_llama: Any) -> None:
    def never(ids: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("too much")

    batch = RunningBatch(tiny_llama)
    running = batch.submit(asked(tiny_llama, "hi", max_new_tokens=5))
    with disturbed(tiny_llama, never):
        [event] = finished(batch)
    assert isinstance(event.error, ModelError)
    assert "out of memory with a single prompt" in str(running.error)


def test_a_prompt_that_fails_ends_alone(tiny_llama: Any) -> None:
    bad = asked(tiny_llama, "hi Q", max_new_tokens=5)

    def refuse(ids: torch.Tensor) -> None:
        if ids.shape[1] > 1 and any(
            row[-len(bad.prompt_tokens) :] == list(bad.prompt_tokens) for row in ids.tolist()
        ):
            raise RuntimeError("the model failed")

    batch = RunningBatch(tiny_llama)
    running = [batch.submit(ask) for ask in (asked(tiny_llama, "hi R", max_new_tokens=5), bad)]
    with disturbed(tiny_llama, refuse):
        events = finished(batch)
    assert [one.ended for one in running] == ["length", "error"]
    assert running[0].token_ids == alone(tiny_llama, "hi R", max_new_tokens=5)
    [failed] = [event for event in events if event.error is not None]
    assert (failed.running, failed.ended, str(failed.error)) == (running[1], "error", "the model failed")


def test_a_forward_pass_that_fails_ends_its_rows_and_the_batch_goes_on(tiny_llama: Any) -> None:
    batch = RunningBatch(tiny_llama, max_rows=2)
    running = [batch.submit(asked(tiny_llama, text, max_new_tokens=5)) for text in MANY[:3]]
    batch.step()

    def fail(ids: torch.Tensor) -> None:
        if ids.shape[1] == 1:
            raise RuntimeError("the model failed")

    with disturbed(tiny_llama, fail):
        events = batch.step()
    assert [event.ended for event in events if event.error is not None] == ["error", "error"]
    finished(batch)
    assert [one.ended for one in running] == ["error", "error", "length"]
    assert running[2].token_ids == alone(tiny_llama, MANY[2], max_new_tokens=5)


def test_what_an_earlier_row_left_that_is_not_finite_reaches_no_other(tiny_llama: Any) -> None:
    steering = random_steering(tiny_llama, 1)
    wild = [replace(edit, u=edit.u * 3e37, alpha=3e37) for edit in steering.edits]
    [tokens] = tiny_llama.encoding.prompts([MANY[4]])
    batch = RunningBatch(tiny_llama, max_rows=3)
    keeps = batch.submit(asked(tiny_llama, MANY[4], max_new_tokens=20))
    batch.submit(Ask(tokens, wild, max_new_tokens=3))
    for _ in range(5):
        batch.step()
    later = batch.submit(asked(tiny_llama, "a", max_new_tokens=10))
    finished(batch)
    assert keeps.token_ids == alone(tiny_llama, MANY[4], max_new_tokens=20)
    assert later.token_ids == alone(tiny_llama, "a", max_new_tokens=10)


def test_nothing_is_left_of_many_requests(tiny_llama: Any) -> None:
    batch = RunningBatch(tiny_llama, max_rows=16)
    [tokens] = tiny_llama.encoding.prompts(["hi"])
    steering = random_steering(tiny_llama, 1)
    for number in range(300):
        edits = [replace(edit, alpha=edit.alpha + number) for edit in steering.edits]
        batch.submit(Ask(tokens, edits, max_new_tokens=1 + number % 3))
    finished(batch)
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Row]
    assert batch._cache is None
    assert len(batch._forward._changing._known) <= 64


def test_requests_come_from_many_threads_while_the_engine_is_used_otherwise(tiny_llama: Any) -> None:
    steerings = [None, random_steering(tiny_llama, 1), random_steering(tiny_llama, 2, "generated")]
    batch = RunningBatch(tiny_llama, max_rows=5)
    rows = [(text, steerings[number % 3]) for number, text in enumerate(MANY * 3)]
    running: dict[int, Any] = {}

    def submit(first: int) -> None:
        for number in range(first, len(rows), 4):
            text, steering = rows[number]
            running[number] = batch.submit(asked(tiny_llama, text, steering, max_new_tokens=8))

    threads = [threading.Thread(target=submit, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    other = threading.Thread(
        target=lambda: answers.extend(tiny_llama.generate(MANY[:2], steering=steerings[1], max_new_tokens=8))
    )
    answers: list[Any] = []
    other.start()
    while len(running) < len(rows) or not batch.is_idle:
        batch.wait(0.01)
        batch.step()
    for thread in (*threads, other):
        thread.join()
    expected = {
        (text, steering): alone(tiny_llama, text, steering, max_new_tokens=8) for text, steering in set(rows)
    }
    assert [running[number].token_ids for number in range(len(rows))] == [expected[row] for row in rows]
    assert [list(one.token_ids) for one in answers] == [
        alone(tiny_llama, text, steerings[1], max_new_tokens=8) for text in MANY[:2]
    ]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prompt_tokens": []}, PromptError, "no prompt"),
        ({"prompt_tokens": [1, 9999]}, PromptError, "token 9999"),
        ({"prompt_length": 9}, PromptError, "prompt_length is 9"),
        ({"max_new_tokens": 1000}, PromptError, "context"),
        ({"max_new_tokens": 0}, ModelError, "max_new_tokens is 0"),
        ({"temperature": 0.5}, ModelError, "do_sample"),
        ({"logprobs": -1}, ModelError, "logprobs is -1"),
        ({"seed": 2**64}, ModelError, "seed"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_handed_in(
    tiny_llama: Any, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    batch = RunningBatch(tiny_llama)
    with pytest.raises(error, match=words):
        batch.submit(Ask(**{"prompt_tokens": [5, 6], **changes}))
    assert batch.is_idle


def test_edits_that_do_not_fit_are_refused(tiny_llama: Any) -> None:
    edit = random_steering(tiny_llama, 1).edits[0]
    batch = RunningBatch(tiny_llama)
    with pytest.raises(ModelError, match="does not fit"):
        batch.submit(Ask([5], [replace(edit, block=7)]))
    with pytest.raises(ModelError, match="does not fit"):
        batch.submit(Ask([5], [replace(edit, u=torch.ones(8), p=None)]))
    when = Resembles(tiny_llama.identity, 0, torch.ones(32), 0.0)
    with pytest.raises(SteeringError, match="decide that first"):
        batch.submit(Ask([5], [replace(edit, when=when)]))
    with pytest.raises(ModelError, match="max_rows is 0"):
        RunningBatch(tiny_llama, max_rows=0)


def test_a_row_whose_logits_are_not_finite_ends_alone_and_says_why(tiny_llama: Any) -> None:
    many = torch.full((tiny_llama.identity.width,), 1e15)
    edits = [Edit(block, many, alpha=1.0, p=many) for block in range(tiny_llama.identity.blocks)]
    strong = Steering("strong", edits, Record(tiny_llama.identity))
    batch = RunningBatch(tiny_llama)
    good = batch.submit(asked(tiny_llama, PROMPTS[0], max_new_tokens=4))
    drawn = batch.submit(asked(tiny_llama, PROMPTS[1], strong, max_new_tokens=4, do_sample=True))
    bad = batch.submit(asked(tiny_llama, PROMPTS[1], strong, max_new_tokens=4))
    finished(batch)
    assert good.token_ids == alone(tiny_llama, PROMPTS[0], max_new_tokens=4)
    for one in (drawn, bad):
        assert one.ended == "error"
        assert "lower the strength of the steering" in str(one.error)
        assert one.token_ids == []
    with pytest.raises(ModelError, match=r"\(prompt 1\); lower the strength"):
        tiny_llama.generate(PROMPTS[:2], steering=[None, strong], max_new_tokens=4)

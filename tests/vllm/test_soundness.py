"""Answers of values that are not finite: marked by workers, ended by the frontend; vLLM's parts are made here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trimtab.engines.finite import UNSOUND
from trimtab.errors import ModelError
from trimtab.vllm import soundness
from trimtab.vllm.running import Request, Requests
from trimtab.vllm.soundness import MARK
from trimtab.vllm.worker.judging import Judge, after_sampling, watch

GOOD, BAD, FLAT = [0.0, 1.0, 2.0], [0.0, torch.nan, 1.0], [0.0, 0.0, 0.0]


def output(**tokens: list[int]) -> Any:
    """A `ModelRunnerOutput` with the tokens of each request."""
    return SimpleNamespace(
        req_ids=list(tokens),
        req_id_to_index={name: place for place, name in enumerate(tokens)},
        sampled_token_ids=list(tokens.values()),
        num_nans_in_logits=None,
    )


def judged(rows: list[list[float]], counts: list[int], **tokens: list[int]) -> Any:
    """What is told after a step with these logits."""
    judge = Judge()
    judge.begin(list(tokens), np.array(counts))
    judge.look(torch.tensor(rows))
    return after_sampling(judge, output(**tokens)).num_nans_in_logits


def test_the_requests_of_unsound_rows_are_marked_and_no_others() -> None:
    found = judged([GOOD, BAD, GOOD, FLAT], [1, 1, 1, 1], a=[1], b=[1], c=[1], d=[1])
    assert found == {"b": MARK, "d": MARK}
    assert judged([GOOD, GOOD], [1, 1], a=[1], b=[1]) is None


def test_a_part_of_a_prompt_writes_nothing_that_could_be_unsound() -> None:
    assert judged([GOOD, BAD], [1, 1], a=[1], b=[]) == {}


def test_with_drafts_rows_are_those_of_their_request_and_rejected_ones_do_not_count() -> None:
    rows = [GOOD, BAD, BAD, GOOD, GOOD, GOOD, BAD]
    found = judged(rows, [3, 1, 3], a=[1], b=[1], c=[1, 2, 3])
    assert found == {"c": MARK}
    assert judged(rows, [3, 1, 3], a=[1, 2], b=[1], c=[1, 2]) == {"a": MARK}


def test_the_first_logits_of_a_step_are_those_that_tokens_are_taken_from() -> None:
    model, judge = SimpleNamespace(compute_logits=torch.tensor), Judge()
    watch(model, judge)
    model.compute_logits([BAD])  # to warm up: no step has begun
    assert judge.verdict() is None
    judge.begin(["a"], np.array([1]))
    model.compute_logits([BAD])
    model.compute_logits([GOOD, GOOD])  # of the prompt
    assert after_sampling(judge, output(a=[1])).num_nans_in_logits == {"a": MARK}
    assert after_sampling(judge, output(a=[1])).num_nans_in_logits is None


def test_ranks_that_compute_no_logits_tell_nothing() -> None:
    judge = Judge()
    judge.begin(["a"], np.array([1]))
    judge.look(None)
    given = output(a=[1])
    assert after_sampling(judge, given) is given
    assert after_sampling(None, given) is given
    assert given.num_nans_in_logits is None


def test_what_is_still_on_its_way_is_marked_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, "vllm.v1", SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, "vllm.v1.outputs", SimpleNamespace(AsyncModelRunnerOutput=object))
    judge = Judge()
    judge.begin(["a", "b"], np.array([1, 1]))
    judge.look(torch.tensor([GOOD, BAD]))
    later = after_sampling(judge, SimpleNamespace(get_output=lambda: output(a=[1], b=[1])))
    judge.begin(["c"], np.array([1]))  # the next step does not wait for it
    assert later.get_output().num_nans_in_logits == {"b": MARK}


# --- the frontend ----------------------------------------------------------------------------------------------------


def told(name: str, nans: int, finish: Any = None) -> Any:
    """An `EngineCoreOutput`."""
    return SimpleNamespace(
        request_id=name,
        new_token_ids=[7],
        new_logprobs="some",
        new_sampling_mask=None,
        num_nans_in_logits=nans,
        finish_reason=finish,
        stop_reason=None,
    )


def test_a_marked_request_ends_and_the_scheduler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(FinishReason=SimpleNamespace(ERROR="error"))
    for name, module in {"vllm": None, "vllm.v1": None, "vllm.v1.engine": engine}.items():
        monkeypatch.setitem(sys.modules, name, module or SimpleNamespace(__path__=[]))
    seen: list[Any] = []

    def original(self: Any, outputs: Any, *args: Any) -> Any:
        seen.extend(outputs)
        return SimpleNamespace(reqs_to_abort=["stopped"])

    hooked = soundness.process_outputs(original)
    processor = SimpleNamespace(request_states={"a": 1, "b": 1, "c": 1, "d": 1})
    given = [told("a", 0), told("b", MARK), told("c", MARK, "stop"), told("d", 3), told("gone", MARK)]
    result = hooked(processor, given, 0.0)
    assert result.reqs_to_abort == ["stopped", "b"]
    ended = [(one.request_id, one.new_token_ids, one.finish_reason, one.stop_reason) for one in seen]
    assert ended == [
        ("a", [7], None, None),
        ("b", [], "error", UNSOUND),
        ("c", [], "error", UNSOUND),
        ("d", [7], None, None),  # what vLLM counted of its own is left alone
        ("gone", [], "error", UNSOUND),
    ]


def answer(reason: str | None, stop: Any = None, name: str = "a") -> Any:
    """A `RequestOutput`."""
    one = SimpleNamespace(finish_reason=reason, stop_reason=stop)
    return SimpleNamespace(outputs=[one], finished=reason is not None, request_id=name)


def test_the_server_answers_with_the_reason_and_lets_go_of_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exceptions = SimpleNamespace(GenerationError=type("GenerationError", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, "vllm.exceptions", exceptions)
    closed: list[str] = []

    async def original(self: Any, outputs: list[Any]) -> AsyncIterator[Any]:
        try:
            for one in outputs:
                yield one
        finally:
            closed.append(self)

    hooked = soundness.generate(original)

    async def collect(name: str, outputs: list[Any], first: bool = False) -> list[Any]:
        found = []
        stream = hooked(name, outputs)
        async for one in stream:
            found.append(one)
            if first:
                await stream.aclose()
        return found

    good, other = [answer(None), answer("stop", 5)], [answer("error")]
    assert asyncio.run(collect("good", good)) == good
    assert asyncio.run(collect("other", other)) == other  # vLLM has words of its own for that
    with pytest.raises(exceptions.GenerationError, match="a steering is too strong"):
        asyncio.run(collect("bad", [answer(None), answer("error", UNSOUND), answer("stop")]))
    assert asyncio.run(collect("left", good, first=True)) == good[:1]
    assert closed == ["good", "other", "bad", "left"]


class Engine:
    """As much of vLLM's `LLMEngine` as requests need: every one is answered as it is told."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.names: list[str] = []
        self.aborted: list[str] = []
        self.engine_core = SimpleNamespace()

    def add_request(self, name: str, *_: Any) -> None:
        self.names.append(name)

    def step(self) -> list[Any]:
        one = self.answers.pop(0)
        one.request_id = (
            self.names[len(self.names) - 1 - len(self.answers)] if one.request_id == "a" else None
        )
        return [one]

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = type("EngineDeadError", (Exception,), {})
    for name, module in {
        "vllm": None,
        "vllm.inputs": None,
        "vllm.inputs.engine": SimpleNamespace(tokens_input=list),
        "vllm.v1": None,
        "vllm.v1.engine": None,
        "vllm.v1.engine.exceptions": SimpleNamespace(EngineDeadError=dead),
    }.items():
        monkeypatch.setitem(sys.modules, name, module or SimpleNamespace(__path__=[]))


@pytest.mark.parametrize(("stop", "says"), [(UNSOUND, "not finite"), (None, "an error of its own")])
def test_the_engine_raises_and_gives_up_the_others(inputs: None, stop: Any, says: str) -> None:
    engine = Engine(answer("error", stop), answer("stop"))
    with pytest.raises(ModelError, match=says):
        list(Requests(engine).outputs([Request([1], None), Request([2], None)]))
    assert engine.aborted == [engine.names[1]]


def test_what_nobody_looks_at_may_be_unsound(inputs: None) -> None:
    engine = Engine(answer("error", UNSOUND))
    [(number, _)] = Requests(engine).outputs([Request([1], None, dropped=True)])
    assert number == 0

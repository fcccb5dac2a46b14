"""What model runners tell the steering: who came, who left, whose token is whose; with runners made here."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trimtab.steering.edits import Edit
from trimtab.vllm.packing import pack_edits
from trimtab.vllm.worker.runners import (
    SteeringState,
    after_v1_update,
    before_v1_step,
    model_state_class,
)
from trimtab.vllm.worker.table import SteeringTable

WIDTH = 4


def edits(value: float) -> tuple[Edit, ...]:
    return (Edit.add(0, torch.full((WIDTH,), value)),)


class Seen:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[list[int | None]] = []

    def before_step(self, request_ids: Any, scheduled: Any, computed: Any, rows: Any) -> None:
        self.rows.append(list(rows))


@pytest.fixture
def state() -> SteeringState:
    table = SteeringTable([0], WIDTH, slots=2, gates=1, tokens=16, dtype=torch.float32, device="cpu")
    table.hold("a", edits(1.0))
    table.hold("b", edits(2.0))
    return SteeringState(table, Seen())  # type: ignore[arg-type]


def params(composition: list[list[Any]] | None = None, **more: Any) -> Any:
    return SimpleNamespace(
        extra_args=None if composition is None else {"trimtab": {"composition": composition, **more}}
    )


def added(state: SteeringState, tokens: int) -> list[float]:
    """What the next step adds to each token."""
    rows = state.table.buffers(0).added[state.table.index[:tokens].long()]
    return [float(row[0]) for row in rows]


def test_a_request_gets_what_the_frontend_decided(state: SteeringState) -> None:
    state.admit("one", params([["a", 1.0], ["b", -0.5]]), 2)
    state.admit("two", params(), 2)
    state.admit("three", None, 2)
    state.admit("four", params([["b", 2.0]]), 2)
    state.before_step(["two", "four", "one", "three"], np.array([1, 1, 2, 1]), np.array([0, 0, 0, 0]))
    assert added(state, 5) == [0.0, 4.0, 0.0, 0.0, 0.0]
    state.release("four")
    state.admit("four", params([["a", 3.0]]), 2)
    state.before_step(["four"], np.array([2]), np.array([0]))
    assert added(state, 3) == [3.0, 3.0, 0.0]


def test_a_worker_never_serves_what_it_lacks(state: SteeringState) -> None:
    with pytest.raises(RuntimeError, match="does not hold the steering c"):
        state.admit("one", params([["c", 1.0]]), 2)


def test_edits_of_a_request_stay_as_long_as_one_has_them(state: SteeringState) -> None:
    own = {"own": pack_edits(edits(5.0))}
    state.admit("one", params([["own", 1.0]], inline=own), 2)
    state.admit("two", params([["own", 2.0]], inline=own), 2)
    state.release("one")
    assert "own" in state.table.held
    state.before_step(["two"], np.array([1]), np.array([0]))
    assert added(state, 1) == [10.0]
    state.admit("two", params([["own", 1.0]], inline=own), 3)  # again, as after a preemption
    assert "own" in state.table.held
    state.release("two")
    assert "own" not in state.table.held


def test_edits_of_a_request_that_are_held_anyway_stay_held(state: SteeringState) -> None:
    state.admit("one", params([["a", 1.0]], inline={"a": pack_edits(edits(1.0))}), 2)
    state.release("one")
    assert "a" in state.table.held


def test_what_counts_as_prompt_can_be_less_than_what_was_given(state: SteeringState) -> None:
    state.table.hold("later", (Edit.add(0, torch.ones(WIDTH), tokens="generated"),))
    state.admit("one", params([["later", 1.0]], prompt_tokens=2), 4)
    state.before_step(["one"], np.array([4]), np.array([0]))
    assert added(state, 4) == [0.0, 0.0, 1.0, 1.0]


def test_the_recorder_is_told_which_requests_are_its(state: SteeringState) -> None:
    state.admit("one", params([["a", 1.0]], record=7), 2)
    state.admit("two", params(), 2)
    state.before_step(["two", "one"], np.array([1, 1]), np.array([0, 0]))
    state.release("one")
    state.admit("one", params(), 2)
    state.before_step(["one"], np.array([1]), np.array([0]))
    assert state.recorder.rows == [[None, 7], [None]]  # type: ignore[union-attr]


class RunnerV1:
    """As much of vLLM's as is looked at."""

    def __init__(self, state: SteeringState) -> None:
        self.model = SimpleNamespace(trimtab=state)
        self.requests: dict[str, Any] = {}
        self.input_batch = SimpleNamespace(req_ids=[], num_computed_tokens_cpu=np.zeros(8, np.int32))

    def get_model(self) -> Any:
        return self.model

    def step(self, batch: dict[str, int], new: list[str] = []) -> None:  # noqa: B006
        """One step with so many tokens of each request, after `new` came."""
        self.input_batch.req_ids = list(batch)
        output = SimpleNamespace(scheduled_new_reqs=[SimpleNamespace(req_id=one) for one in new])
        after_v1_update(self, output)
        before_v1_step(self, np.array(list(batch.values()), np.int32))


NOTHING: dict[str, Any] = {"prompt_token_ids": None, "output_token_ids": []}


def test_v1_admits_and_releases(state: SteeringState) -> None:
    runner = RunnerV1(state)
    for name, composition in {"one": [["a", 1.0]], "two": [["b", 1.0]], "three": [["a", 2.0]]}.items():
        runner.requests[name] = SimpleNamespace(
            sampling_params=params(composition), num_prompt_tokens=4, **NOTHING
        )
    runner.step({"one": 2, "two": 1}, new=["one", "two"])
    assert added(state, 3) == [1.0, 1.0, 2.0]
    # Two is preempted: it is known to the runner, but its row is for others, of which there are two.
    runner.step({"three": 1, "one": 1}, new=["three"])
    assert added(state, 3) == [2.0, 1.0, 0.0]
    assert set(state.table.requests) == {"one", "three"}
    runner.step({"two": 1, "three": 1})
    assert added(state, 2) == [2.0, 2.0]
    # A session goes on under its name with something else.
    runner.requests["two"] = SimpleNamespace(
        sampling_params=params([["a", 3.0]]), num_prompt_tokens=6, **NOTHING
    )
    runner.step({"two": 1}, new=["two"])
    assert added(state, 2) == [3.0, 0.0]


def test_v1_leaves_models_alone_that_are_not_steered() -> None:
    runner = RunnerV1(None)  # type: ignore[arg-type]
    runner.model = SimpleNamespace()
    runner.step({"one": 1}, new=["one"])


def test_v2_admits_releases_and_leaves_dummies_alone(
    state: SteeringState, monkeypatch: pytest.MonkeyPatch
) -> None:
    class State:
        """The state that vLLM would have made."""

        def __init__(self) -> None:
            self.calls: list[str] = []

        def add_request(self, req_index: int, new_req_data: Any) -> None:
            self.calls.append("add")

        def remove_request(self, req_id: str) -> None:
            self.calls.append("remove")

        def prepare_inputs(self, input_batch: Any, req_states: Any) -> dict[str, Any]:
            self.calls.append("prepare")
            return {"positions": 1}

    states = SimpleNamespace(resolve_model_state_cls=lambda vllm_config, model: State)
    monkeypatch.setitem(sys.modules, "vllm.v1.worker.gpu.model_states", states)
    for package in ("vllm", "vllm.v1", "vllm.v1.worker", "vllm.v1.worker.gpu"):
        monkeypatch.setitem(sys.modules, package, SimpleNamespace(__path__=[]))
    made = model_state_class(SimpleNamespace(trimtab=state), None)()

    def batch(*names: str) -> Any:
        ones = np.ones(len(names), np.int32)
        return SimpleNamespace(
            req_ids=list(names),
            num_scheduled_tokens=ones,
            num_computed_tokens_np=ones,
            cu_num_logits_np=np.arange(len(names) + 1, dtype=np.int32),
            input_ids=None,
            positions=None,
        )

    known = SimpleNamespace(req_id_to_index={"one": 0})
    new = SimpleNamespace(
        req_id="one",
        sampling_params=params([["a", 1.0]]),
        prompt_len=4,
        prefill_token_ids=None,
        prompt_token_ids=[5] * 4,
    )
    made.add_request(0, new)
    assert made.prepare_inputs(batch("one"), known) == {"positions": 1}
    assert added(state, 1) == [1.0]
    made.prepare_inputs(batch("req_0_dummy"), known)
    assert added(state, 1) == [1.0]
    made.remove_request("one")
    assert not state.table.requests
    assert made.calls == ["add", "prepare", "prepare", "remove"]

"""What a model runner of vLLM tells the steering before each step: who came, who left, whose token is whose.

vLLM has two. V2 asks the model for the class of its state and calls that; V1, on its way out, has no such place, so
its `_prepare_inputs` is wrapped. Both run before a captured CUDA graph is replayed, where wrapping the model's
`forward` would be skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.vllm.packing import unpack_edits
from trimtab.vllm.prefix_cache import INTERNAL
from trimtab.vllm.worker.judging import Judge, after_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from trimtab.vllm.worker.following import AnswerFollower
    from trimtab.vllm.worker.recording import Recorder
    from trimtab.vllm.worker.table import SteeringTable


@dataclass
class SteeringState:
    """What a worker keeps for steering: the rows in use, what `capture` reads through, and who judges the logits.

    `model.trimtab` is one.
    """

    table: SteeringTable
    recorder: Recorder | None = None
    follower: AnswerFollower | None = None
    judge: Judge = field(default_factory=Judge)
    _inline: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by request
    _inline_uses: Counter[str] = field(default_factory=Counter)
    _records: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, runner: Any) -> SteeringState | None:
        """That of a model runner; None where its model is not steered."""
        state: SteeringState | None = getattr(runner.get_model(), "trimtab", None)
        return state

    def admit(
        self, request_id: str, sampling_params: Any, prompt_tokens: int, tokens: Sequence[int] = ()
    ) -> None:
        """Gives a request its row, by its parameters as the frontend left them; for one that is already there, anew.

        `tokens` are all that are known of its text.
        """
        self.release(request_id)
        extra = getattr(sampling_params, "extra_args", None) or {}
        internal = extra.get(INTERNAL)
        if internal is None:
            self.table.admit(request_id, (), prompt_tokens)
            return
        self._hold_inline(request_id, internal.get("inline") or {})
        if internal.get("record") is not None:
            self._records[request_id] = int(internal["record"])
        composition = [(str(digest), float(strength)) for digest, strength in internal["composition"]]
        own = internal.get("prompt_tokens")
        end = prompt_tokens if own is None else int(own)
        follower = self.follower
        if self.table.admit(request_id, composition, end, follows=follower is not None) and follower:
            follower.admit(request_id, end, tokens)

    def release(self, request_id: str) -> None:
        """Takes a request's row back; for one that is unknown, nothing."""
        self.table.release(request_id)
        if self.follower is not None:
            self.follower.release(request_id)
        self._records.pop(request_id, None)
        for digest in self._inline.pop(request_id, ()):
            self._inline_uses[digest] -= 1
            if not self._inline_uses[digest]:
                del self._inline_uses[digest]
                self.table.forget(digest)

    def keep_only(self, request_ids: Iterable[str]) -> None:
        """Releases every request but these."""
        for request_id in set(self.table.requests).difference(request_ids):
            self.release(request_id)

    def before_step(
        self,
        request_ids: Sequence[str],
        scheduled: np.ndarray,
        computed: np.ndarray,
        logits: np.ndarray | None = None,
    ) -> None:
        """Tells the table, and the recorder, whose token is whose in the step to come (see `SteeringTable.fill`).

        `logits` is how many rows of logits each request will have; None for one.
        """
        self.table.fill(request_ids, scheduled, computed)
        self.judge.begin(request_ids, np.ones(len(request_ids), np.int64) if logits is None else logits)
        if self.recorder is not None:
            rows = [self._records.get(request_id) for request_id in request_ids]
            self.recorder.before_step(request_ids, scheduled, computed, rows)

    def mark_answers(
        self,
        request_ids: Sequence[str],
        scheduled: np.ndarray,
        computed: np.ndarray,
        ids: Tensor,
        positions: Tensor,
    ) -> None:
        """Tells the table which tokens of the step are answer, once they are on the device (see `AnswerFollower`)."""
        if self.follower is not None:
            self.follower.mark(self.table.index, request_ids, scheduled, computed, ids, positions)

    def _hold_inline(self, request_id: str, inline: dict[str, bytes]) -> None:
        """Holds what a request brought along, as long as a request that brought it is there."""
        held = []
        for digest, packed in inline.items():
            if digest not in self._inline_uses:
                if digest in self.table.held:
                    continue  # held for another reason, and for longer
                self.table.hold(digest, unpack_edits(packed))
            self._inline_uses[digest] += 1
            held.append(digest)
        self._inline[request_id] = tuple(held)


def model_state_class(model: Any, vllm_config: Any) -> type:
    """The class of the state that model runner V2 shall make for a steered model: its own, telling the steering too.

    The model's own `get_model_state_cls`, if it has one, must be uncovered.
    """
    from vllm.v1.worker.gpu.model_states import resolve_model_state_cls

    base: Any = resolve_model_state_cls(vllm_config, model)
    state: SteeringState = model.trimtab

    class SteeredModelState(base):  # type: ignore[misc]
        """Admits and releases requests as vLLM does, and fills the index before each step."""

        def add_request(self, req_index: int, new_req_data: Any) -> None:
            super().add_request(req_index, new_req_data)
            data = new_req_data
            tokens = data.prefill_token_ids or data.prompt_token_ids or ()
            state.admit(data.req_id, data.sampling_params, data.prompt_len, tokens)

        def remove_request(self, req_id: str) -> None:
            super().remove_request(req_id)
            state.release(req_id)

        def prepare_inputs(self, input_batch: Any, req_states: Any) -> dict[str, Any]:
            # A dummy batch, which warms up or keeps step with other ranks, holds requests that nobody made.
            if input_batch.req_ids[0] in req_states.req_id_to_index:
                batch = input_batch
                step = batch.req_ids, batch.num_scheduled_tokens, batch.num_computed_tokens_np
                state.before_step(*step, np.diff(batch.cu_num_logits_np))
                state.mark_answers(*step, batch.input_ids, batch.positions)
            inputs: dict[str, Any] = super().prepare_inputs(input_batch, req_states)
            return inputs

    SteeredModelState.__name__ = SteeredModelState.__qualname__ = f"Steered{base.__name__}"
    return SteeredModelState


def after_v1_update(runner: Any, scheduler_output: Any) -> None:
    """What model runner V1 does once its batch is that of the step to come: admits who is new, releases who left."""
    state = SteeringState.of(runner)
    if state is None:
        return
    request_ids = runner.input_batch.req_ids
    # Preempted requests stay known to the runner, but do not compute: their rows are for others.
    state.keep_only(request_ids)
    # One that was there can come again under its name with a longer prompt (a session), or with another composition.
    again = {request.req_id for request in scheduler_output.scheduled_new_reqs}
    admitted = set(state.table.requests)
    for request_id in request_ids:
        if request_id in again or request_id not in admitted:
            request = runner.requests[request_id]
            tokens = [*(request.prompt_token_ids or ()), *request.output_token_ids]
            state.admit(request_id, request.sampling_params, request.num_prompt_tokens, tokens)


def before_v1_step(
    runner: Any, scheduled: np.ndarray, drafts: Mapping[str, Collection[int]] | None = None
) -> None:
    """What model runner V1 does before it prepares the inputs of a step; `drafts` are tokens by request."""
    state = SteeringState.of(runner)
    if state is not None:
        names, counts, computed = _v1_step(runner, scheduled)
        logits = np.array([1 + len(drafts.get(name, ())) for name in names]) if drafts else None
        state.before_step(names, counts, computed, logits)


def after_v1_inputs(runner: Any, scheduled: np.ndarray) -> None:
    """What model runner V1 does once the inputs of a step are on their way to the device."""
    state = SteeringState.of(runner)
    if state is not None:
        state.mark_answers(*_v1_step(runner, scheduled), runner.input_ids.gpu, runner.positions)


def after_step(runner: Any, output: Any) -> Any:
    """What either model runner gives for a step, with what is unsound in it marked."""
    state = SteeringState.of(runner)
    return after_sampling(None if state is None else state.judge, output)


def _v1_step(runner: Any, scheduled: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    batch = runner.input_batch
    return batch.req_ids, scheduled, batch.num_computed_tokens_cpu[: len(batch.req_ids)]

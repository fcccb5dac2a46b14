"""Whether what a step writes is sound: a worker looks at the logits, and what is not rides with the tokens.

What is found goes to the frontend as `num_nans_in_logits`, a channel of vLLM's that costs nothing where it is not used.
vLLM's own count (`VLLM_COMPUTE_NANS_IN_LOGITS`) is not taken: it knows no infinity, and where tokens are drafted it
takes the rows of one request for those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trimtab.engines.finite import unsound
from trimtab.vllm.soundness import MARK


@dataclass
class Verdict:
    """What was found in a step, on its way to the host.

    Attributes:
        request_ids: The requests of the step.
        rows: How many rows of logits each has: one, and one for each token that was drafted.
        found: Which rows are unsound, bool `[sum(rows)]`, on the host once `copied` says so.
        copied: An event of the device; None where the values are there already.
    """

    request_ids: Sequence[str]
    rows: np.ndarray
    found: Tensor
    copied: Any = None

    def put_into(self, output: Any) -> None:
        """Marks the requests of a `ModelRunnerOutput` whose tokens were taken from unsound rows."""
        if self.copied is not None:
            self.copied.synchronize()
        found = self.found.numpy()
        if not found.any():
            return
        marks = dict(output.num_nans_in_logits or {})
        for name, end, count in zip(self.request_ids, np.cumsum(self.rows), self.rows, strict=True):
            place = output.req_id_to_index.get(name)
            taken = (
                0 if place is None else len(output.sampled_token_ids[place])
            )  # rejected drafts do not count
            if found[end - count : end - count + taken].any():
                marks[name] = MARK
        output.num_nans_in_logits = marks


class Judge:
    """Looks at the logits of each step of a model, those that tokens are taken from."""

    def __init__(self) -> None:
        self._step: tuple[list[str], np.ndarray] | None = None
        self._found: Tensor | None = None

    def begin(self, request_ids: Sequence[str], rows: np.ndarray) -> None:
        """Begins a step with so many rows of logits for each request; both are copied."""
        self._step, self._found = (list(request_ids), np.array(rows, dtype=np.int64)), None

    def look(self, logits: Tensor | None) -> None:
        """Judges logits, those that come first in a step: others, of prompts say, follow them. None is left alone."""
        if logits is not None and self._step is not None and self._found is None:
            self._found = unsound(logits)

    def verdict(self) -> Verdict | None:
        """Ends the step; None where this worker had no logits, or there was no step."""
        step, found = self._step, self._found
        self._step = self._found = None
        if step is None or found is None or len(found) != step[1].sum():
            return None
        if found.device.type == "cpu":
            return Verdict(*step, found)
        host, copied = found.to("cpu", non_blocking=True), torch.Event(found.device)
        copied.record()
        return Verdict(*step, host, copied)


def watch(model: Any, judge: Judge) -> None:
    """Shows the judge all logits that a vLLM model computes."""
    original = model.compute_logits

    def compute_logits(*args: Any, **kwargs: Any) -> Any:
        logits = original(*args, **kwargs)
        judge.look(logits)
        return logits

    model.__dict__["compute_logits"] = compute_logits


def after_sampling(judge: Judge | None, output: Any) -> Any:
    """What a model runner gives for a step, with what the judge found in it."""
    verdict = None if judge is None else judge.verdict()
    if verdict is None:
        return output
    if hasattr(output, "get_output"):
        return _judged_later()(output, verdict)
    if getattr(output, "req_ids", None):
        verdict.put_into(output)
    return output


@cache
def _judged_later() -> Callable[[Any, Verdict], Any]:
    from vllm.v1.outputs import AsyncModelRunnerOutput

    class JudgedLater(AsyncModelRunnerOutput):  # type: ignore[misc]
        """An output whose tokens are still on their way to the host."""

        def __init__(self, output: Any, verdict: Verdict) -> None:
            self._output, self._verdict = output, verdict

        def get_output(self) -> Any:
            output = self._output.get_output()
            self._verdict.put_into(output)
            return output

    return JudgedLater

"""Answers of values that are not finite end as errors, in the process that takes requests; the others go on.

Workers mark them (`trimtab.vllm.worker.judging`) in a field that vLLM sends along with every token. Here such a request
is ended as one that failed, with `UNSOUND` for a reason: the engine raises it, and vLLM's server answers with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from trimtab.engines.finite import UNSOUND

MARK = 1 << 30
"""What a marked request has in `num_nans_in_logits`: more than any vocabulary, so that no count of vLLM's is meant."""


def failure(output: Any) -> str | None:
    """Why a `vllm.RequestOutput` holds an answer that failed; None where it did not."""
    for one in output.outputs:
        if one.finish_reason == "error":
            return UNSOUND if one.stop_reason == UNSOUND else "vllm ended a request with an error of its own"
    return None


def process_outputs(original: Callable[..., Any]) -> Callable[..., Any]:
    """`OutputProcessor.process_outputs`, ending what is marked."""

    def process_outputs(self: Any, engine_core_outputs: Any, *args: Any, **kwargs: Any) -> Any:
        marked = [one for one in engine_core_outputs if one.num_nans_in_logits >= MARK]
        if not marked:
            return original(self, engine_core_outputs, *args, **kwargs)
        from vllm.v1.engine import FinishReason

        running = [
            one.request_id
            for one in marked
            if one.finish_reason is None and one.request_id in self.request_states
        ]
        for one in marked:
            one.new_token_ids, one.new_logprobs, one.new_sampling_mask = [], None, None
            one.finish_reason, one.stop_reason = FinishReason.ERROR, UNSOUND
        result = original(self, engine_core_outputs, *args, **kwargs)
        result.reqs_to_abort.extend(running)  # the scheduler knows nothing of it
        return result

    return process_outputs


def generate(original: Callable[..., Any]) -> Callable[..., Any]:
    """`AsyncLLM.generate`, by which every route of vLLM's server gets its tokens, failing with the reason.

    vLLM's own words for a request that ended with an error are "Internal server error".
    """

    async def generate(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        from vllm.exceptions import GenerationError

        async with aclosing(original(self, *args, **kwargs)) as outputs:
            async for output in outputs:
                if failure(output) == UNSOUND:
                    raise GenerationError(UNSOUND)
                yield output

    return generate

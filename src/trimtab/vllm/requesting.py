"""The requests that the engine makes of vLLM: to write an answer, to tell how likely one is, to read a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.engines.decoding import Settings
from trimtab.serve.request import STEERING_KEY
from trimtab.vllm import constraining, sampling
from trimtab.vllm.running import Request

if TYPE_CHECKING:
    from trimtab.constraint import Constraint


def writing(
    row: list[int],
    composition: Any,
    settings: Settings,
    own: sampling.ModelSettings,
    seed: int | None,
    held: Constraint | None,
    kind: Any = None,
) -> Request:
    """A request for one answer; `kind` is the `RequestOutputKind`, by default all of it at the end."""
    from vllm.sampling_params import RequestOutputKind

    params = sampling.sampling_params(
        settings,
        own,
        len(row),
        seed,
        **constraining.structured(held),
        extra_args=_extra(composition=composition),
        output_kind=RequestOutputKind.FINAL_ONLY if kind is None else kind,
    )
    return Request(row, params)


def scoring(start: list[int], answer: list[int], composition: Any, *, drafts: bool = False) -> Request:
    """All of the response is read but its last token, whose probability is that of being written next.

    So a response may fill the context, although vLLM always writes one token. Where it writes with `drafts`, it does
    not tell how likely another token is than the one it wrote: there the last one is read, too.
    """
    if drafts:
        params = sampling.one_token(
            prompt_logprobs=0, extra_args=_extra(composition=composition, prompt_tokens=len(start))
        )
        return Request(start + answer, params)
    params = sampling.one_token(
        prompt_logprobs=0 if len(answer) > 1 else None,
        logprob_token_ids=[answer[-1]],
        extra_args=_extra(composition=composition, prompt_tokens=len(start)),
    )
    return Request(start + answer[:-1], params)


def reading(row: list[int], number: int) -> Request:
    """A request whose prompt the workers record under a number."""
    # What is not computed is not seen.
    params = sampling.one_token(skip_reading_prefix_cache=True, extra_args=_extra(record=number))
    return Request(row, params, dropped=True)  # what was read is judged itself


def log_probabilities(output: Any, start: int, answer: list[int]) -> list[float]:
    """Of each token of a response, of what a scoring request gave."""
    read = answer if start + len(answer) == len(output.prompt_token_ids) else answer[:-1]
    found = [output.prompt_logprobs[place][token].logprob for place, token in enumerate(read, start)]
    return found if read is answer else [*found, output.outputs[0].logprobs[0][answer[-1]].logprob]


def _extra(**fields: Any) -> dict[str, Any]:
    from trimtab.vllm.frontend.frontend import TrustedRequest

    return {STEERING_KEY: TrustedRequest(**fields)}

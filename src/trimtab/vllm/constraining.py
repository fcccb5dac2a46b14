"""Answers of vLLM held to constraints, by its structured outputs, and what that took from the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trimtab.constraint import Constraint
from trimtab.engines.base import Prompt
from trimtab.engines.chat import beginning
from trimtab.engines.constraining import Constraints, Matchers, constraints_of_rows
from trimtab.errors import ModelError

BACKEND = {"structured_outputs_config": {"backend": "guidance"}}
"""The options by which vLLM reads the grammars of constraints."""


def checked(
    matchers: Matchers, constraints: Constraints, prompts: Sequence[Prompt], *, raw: bool
) -> list[Constraint | None]:
    """The constraint of each row, after refusing what vLLM could not hold.

    Raises:
        InstructionError: A constraint cannot be compiled, or their number is not that of the prompts.
        ModelError: The model's answers cannot be held to any, or a prompt begins the answer.
    """
    rows = constraints_of_rows(constraints, len(prompts))
    for number, (constraint, prompt) in enumerate(zip(rows, prompts, strict=True)):
        if constraint is None:
            continue
        matchers.matcher(constraint)
        if not raw and beginning(prompt):
            raise ModelError(
                f"vllm cannot hold an answer to a constraint that the prompt begins, as prompt {number} does; use the "
                "transformers engine, or leave the beginning or the constraint out"
            )
    return rows


def structured(constraint: Constraint | None) -> dict[str, Any]:
    """What of `vllm.SamplingParams` holds an answer to a constraint, and asks how likely its tokens were under it."""
    if constraint is None:
        return {}
    from vllm.sampling_params import StructuredOutputsParams

    return {"structured_outputs": StructuredOutputsParams(grammar=constraint.grammar), "logprobs": 0}


def under_mask(output: Any) -> list[tuple[int, float]]:
    """Each token written, the end token included, and its log-probability among what was allowed."""
    answer = output.outputs[0]
    return [(token, at[token].logprob) for token, at in zip(answer.token_ids, answer.logprobs, strict=True)]


def taken(held: Sequence[tuple[int, float]], free: Sequence[float]) -> float:
    """The mean probability that a constraint took away: of what is left, each token has the greater share.

    Args:
        held: What `under_mask` gave.
        free: The log-probability of each token among all.
    """
    shares = [1 - math.exp(min(0.0, own - among)) for (_, among), own in zip(held, free, strict=True)]
    return sum(shares) / len(shares)

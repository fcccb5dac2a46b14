"""Answers of values that are not finite end as errors however vLLM runs, and what is beside them is as it was alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.on_vllm import cases

TOKENS = 12
PLAIN: dict[str, Any] = {"enforce_eager": True}
GUESSED = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 2, "prompt_lookup_min": 1}


@pytest.fixture(scope="module")
def bench(model_folder: Callable[[str], Path], reference: Callable[[str], Any]) -> Any:
    """A run of twelve requests, every third with edits that are too strong, and what the others write."""
    engine = reference("llama")
    width, blocks = engine.identity.width, range(engine.identity.blocks)
    many = [1e15] * width
    strong = {"edits": [{"block": block, "u": many, "p": many, "alpha": 1} for block in blocks]}
    asked = [cases.Case(f"{cases.LONG[: 40 * (number % 4)]} Item {number}") for number in range(12)]
    requests = [
        {"prompt": prompt, "extra_args": {"steering": strong} if number % 3 == 1 else {}}
        for number, prompt in enumerate(cases.prompts_of(engine, asked))
    ]
    expected = cases.answers(engine, asked, {}, TOKENS)

    def run(**options: Any) -> dict[str, Any]:
        sizes = {
            "max_model_len": 384,
            "max_num_seqs": 16,
            "max_num_batched_tokens": 64,
            "block_size": 32,
            "additional_config": {"trimtab": {}},
        }
        return {
            "model": str(model_folder("llama")),
            "requests": requests,
            "passes": 2,
            "sampling": {"max_tokens": TOKENS, "detokenize": False},
            "options": {**sizes, **options},
        }

    def check(result: dict[str, Any]) -> None:
        if "error" in result:
            pytest.fail(result["error"])
        for one in result["passes"]:
            for number, ([ended], [tokens]) in enumerate(zip(one["ended"], one["tokens"], strict=True)):
                if number % 3 == 1:
                    assert (ended, tokens) == ("error", []), number
                else:
                    assert tokens == expected[number], number

    return run, check


def test_on_one_worker(bench: Any, run_job: Callable[..., Any]) -> None:
    """Step by step, a step ahead, and with drafts, of whose rows of logits some are another request's."""
    run, check = bench
    runs = [run(**PLAIN), {**run(**PLAIN), "asynchronous": True}, run(**PLAIN, speculative_config=GUESSED)]
    results = run_job(runs, separate=False)
    assert [result.get("asynchronous") for result in results] == [False, True, False]
    for result in results:
        check(result)
    assert results[2]["drafts"] > 0


def test_on_model_runner_v2(bench: Any, run_job: Callable[..., Any]) -> None:
    run, check = bench
    [result] = run_job([run(**PLAIN)], separate=False, v2=True, seconds=400)
    check(result)
    assert result["runner"] == "v2"

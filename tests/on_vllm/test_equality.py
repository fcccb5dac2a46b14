"""Steered on vLLM and steered on transformers: the same tokens, in float32, whatever vLLM does meanwhile.

Every run has 64 requests under 40 different steerings (gated edits, scopes, compositions, edits of the request's own),
half of them with one prompt, in chunks of 64 tokens, and sends them twice: the second time prompts come from the prefix
cache.

The widest matrix, every architecture compiled and eager, on both model runners, over two ranks both ways:

    make test-vllm ARGS="tests/vllm/test_equality.py -m wide"
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.on_vllm import cases

TOKENS = 16
OPTIONS: dict[str, Any] = {
    "max_model_len": 384,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 64,
    "block_size": 32,
    "enable_prefix_caching": True,
}
ARCHITECTURES = (
    "llama",
    "mistral",
    "phi3",
    "gemma2",
    "qwen2",
    "qwen3",
    "mixtral",
    "nano",
    # Layers that return their stream in other ways: beside something stale, as one tensor, by vLLM's backend for
    # transformers.
    "cohere",
    "opt",
    "gpt_neox",
)
FEW = ["llama", "mistral", "phi3", "gemma2", "qwen2", "qwen3", "mixtral", "nano"]


class Bench:
    """Makes runs for architectures, and compares what came back with transformers."""

    def __init__(
        self, model_folder: Callable[[str], Path], reference: Callable[[str], Any], folder: Path
    ) -> None:
        self._model_folder = model_folder
        self._reference = reference
        self._folder = folder
        self._made: dict[str, tuple[dict[str, Any], list[list[int]]]] = {}

    def run(self, architecture: str, passes: int = 2, every: int = 1, **options: Any) -> dict[str, Any]:
        """A run for `tests.on_vllm.job`, of all requests, or of every seventh, say."""
        run, _ = self._case(architecture)
        changes = {"passes": passes, "requests": run["requests"][::every]}
        return {**run, **changes, "options": {**run["options"], **options}}

    def quoting(self, architecture: str) -> list[dict[str, Any]]:
        """The requests again, each with its answer at the end of its prompt and a little more."""
        run, expected = self._case(architecture)
        return [
            {**request, "prompt": [*request["prompt"], *answer, *request["prompt"][:20]]}
            for request, answer in zip(run["requests"], expected, strict=True)
        ]

    def mismatches(
        self, architecture: str, result: dict[str, Any], answers: int = 1, every: int = 1
    ) -> list[str]:
        """The answers that differ from those of transformers, one line for each."""
        if "error" in result:
            pytest.fail(result["error"])
        expected = self._case(architecture)[1][::every]
        return [
            f"{architecture}, pass {number}, request {place}: {got} instead of {wanted}"
            for number, one in enumerate(result["passes"])
            for place, (got, wanted) in enumerate(zip(one["tokens"], expected, strict=True))
            if [tokens[:TOKENS] for tokens in got] != [wanted] * answers
        ]

    def _case(self, architecture: str) -> tuple[dict[str, Any], list[list[int]]]:
        if architecture not in self._made:
            engine = self._reference(architecture)
            known = cases.steerings(engine)
            folder = cases.save(known, self._folder / architecture)
            asked = cases.cases(known)
            expected = cases.answers(engine, asked, known, TOKENS)
            assert len({tuple(one) for one in expected[:32]}) > 24, (
                "the steerings hardly show: nothing would be tested"
            )
            requests = [
                {"prompt": prompt, "extra_args": case.asks()}
                for prompt, case in zip(cases.prompts_of(engine, asked), asked, strict=True)
            ]
            settings = {"steerings": str(folder), "gates": cases.GATES}
            run = {
                "model": str(self._model_folder(architecture)),
                "requests": requests,
                "sampling": {"max_tokens": TOKENS, "detokenize": False},
                "options": {**OPTIONS, "additional_config": {"trimtab": settings}},
            }
            self._made[architecture] = run, expected
        return self._made[architecture]


@pytest.fixture(scope="module")
def bench(
    model_folder: Callable[[str], Path],
    reference: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    """Runs and what they must give."""
    return Bench(model_folder, reference, tmp_path_factory.mktemp("steerings"))


@pytest.fixture(scope="module")
def eager(bench: Bench, run_job: Callable[..., Any]) -> dict[str, Any]:
    """What came back in one process: of every architecture, and of Llama in ways that say so by their name."""
    plain = {"enforce_eager": True}
    runs = {architecture: bench.run(architecture, **plain) for architecture in ARCHITECTURES}
    # So few blocks, and answers so long, that the requests which run take blocks from each other.
    runs["preempted"] = bench.run("llama", **plain, num_gpu_blocks_override=18)
    runs["preempted"]["sampling"] = {**runs["preempted"]["sampling"], "max_tokens": 4 * TOKENS}
    runs["asynchronous"] = {**runs["preempted"], "asynchronous": True}
    runs["children"] = bench.run("llama", passes=1, **plain)
    # Sampled from the most likely token alone: three answers of one request, all of them that of greedy decoding.
    runs["children"]["sampling"] = {**runs["children"]["sampling"], "n": 3, "temperature": 1.0, "top_k": 1}
    # What was written is quoted, as every turn of a chat does it, and asked on: once after it was, and once alone.
    quoted = bench.quoting("llama")
    runs["after writing"] = {**bench.run("llama", **plain), "turns": [bench.run("llama")["requests"], quoted]}
    runs["alone"] = {**bench.run("llama", **plain), "turns": [quoted]}
    runs["without salt"] = {**bench.run("llama", **plain), "without_salt": True}
    # The last: what drafting imports keeps vLLM from starting again in this process.
    guessed = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 2, "prompt_lookup_min": 1}
    runs["drafted"] = bench.run("llama", **plain, speculative_config=guessed)
    results = run_job(list(runs.values()), separate=False)
    return dict(zip(runs, results, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture: str, eager: dict[str, Any], bench: Bench) -> None:
    result = eager[architecture]
    assert bench.mismatches(architecture, result) == []
    first, second = (sum(one["cached"]) for one in result["passes"])
    assert second > first, "nothing came from the prefix cache"
    assert result["runner"] == "v1"


def test_what_is_called_tested_is_tested(model_folder: Callable[[str], Path]) -> None:
    from trimtab.vllm.architectures import TESTED, architectures

    configs = [json.loads((model_folder(one) / "config.json").read_text()) for one in ARCHITECTURES]
    served = {config["architectures"][0] for config in configs}
    assert served & {one.name for one in architectures()} == TESTED


def test_preempted_requests(eager: dict[str, Any], bench: Bench) -> None:
    assert bench.mismatches("llama", eager["preempted"]) == []
    assert eager["preempted"]["preemptions"] > 0, "the cache was not small enough to preempt anyone"


def test_asynchronous_scheduling(eager: dict[str, Any], bench: Bench) -> None:
    # The next step is scheduled while one runs, and requests are preempted meanwhile.
    assert bench.mismatches("llama", eager["asynchronous"]) == []
    assert eager["asynchronous"]["asynchronous"]
    assert eager["asynchronous"]["preemptions"] > 0
    assert not eager["preempted"]["asynchronous"]


def test_several_answers_of_a_request(eager: dict[str, Any], bench: Bench) -> None:
    assert bench.mismatches("llama", eager["children"], answers=3) == []


def test_drafted_tokens(eager: dict[str, Any], bench: Bench) -> None:
    # What is drafted is verified by the steered model, several tokens of a request at once.
    assert bench.mismatches("llama", eager["drafted"]) == []
    assert eager["drafted"]["drafts"] > 0, "nothing was drafted"


def test_without_the_salt_answers_are_wrong(eager: dict[str, Any], bench: Bench) -> None:
    # The negative control: so it is the salt that keeps the cached blocks of different steerings apart.
    wrong = bench.mismatches("llama", eager["without salt"])
    assert len(wrong) > 10, "the requests would be right without isolation: they test nothing"


def test_answers_that_are_quoted(eager: dict[str, Any]) -> None:
    # Under edits for the prompt only, or for generated tokens only, an answer in the cache is no prompt.
    written, after = eager["after writing"]["passes"]
    [alone] = eager["alone"]["passes"]
    assert after["tokens"] == alone["tokens"]
    assert sum(after["cached"]) > sum(alone["cached"]) + 1000, "what was written was not found in the cache"
    assert written["tokens"] != after["tokens"]


COMPILED = ("llama", "gemma2", "mixtral", "nano")


@pytest.fixture(scope="module")
def compiled(bench: Bench, run_job: Callable[..., Any]) -> dict[str, Any]:
    """What came back of compiled models."""
    results = run_job([bench.run(architecture) for architecture in COMPILED], separate=False, seconds=600)
    return dict(zip(COMPILED, results, strict=True))


@pytest.mark.parametrize("architecture", COMPILED)
def test_compiled(architecture: str, compiled: dict[str, Any], bench: Bench) -> None:
    assert bench.mismatches(architecture, compiled[architecture]) == []


# Triton's interpreter takes a second for what a GPU does in microseconds: some of the requests must do. Among them are
# gated edits, compositions and edits of a request's own.
INTERPRETED = 7


def test_some_of_the_requests_are_of_every_kind(bench: Bench) -> None:
    asked = [one["extra_args"].get("steering") for one in bench.run("llama", every=INTERPRETED)["requests"]]
    assert any(isinstance(one, dict) for one in asked)
    assert any(isinstance(one, str) and "+" in one for one in asked)
    assert None in asked


def test_model_runner_v2(bench: Bench, run_job: Callable[..., Any]) -> None:
    run = {**bench.run("llama", every=INTERPRETED, enforce_eager=True), "asynchronous": True}
    [result] = run_job([run], v2=True, separate=False)
    assert bench.mismatches("llama", result, every=INTERPRETED) == []
    assert (result["runner"], result["asynchronous"]) == ("v2", True)


def test_tensor_parallel(bench: Bench, run_job: Callable[..., Any]) -> None:
    [result] = run_job([bench.run("llama", enforce_eager=True, tensor_parallel_size=2)], ranks=2)
    assert bench.mismatches("llama", result) == []
    assert [rank["blocks"] for rank in result["status"]] == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_pipeline_parallel(bench: Bench, run_job: Callable[..., Any]) -> None:
    # Model runner V1 of vLLM's CPU backend cannot do it without compiling.
    run = bench.run("llama", every=INTERPRETED, enforce_eager=True, pipeline_parallel_size=2)
    [result] = run_job([run], ranks=2, v2=True)
    assert bench.mismatches("llama", result, every=INTERPRETED) == []
    assert [rank["blocks"] for rank in result["status"]] == [[0, 1], [2, 3]]


WIDE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "compiled": ({}, {}),
    "v2": ({"enforce_eager": True}, {"v2": True}),
    "v2 compiled": ({}, {"v2": True}),
    "tensor parallel": ({"enforce_eager": True, "tensor_parallel_size": 2}, {"ranks": 2}),
    "tensor parallel, compiled": ({"tensor_parallel_size": 2}, {"ranks": 2}),
    "pipeline parallel, compiled": ({"pipeline_parallel_size": 2}, {"ranks": 2}),
    "v2 pipeline parallel": ({"enforce_eager": True, "pipeline_parallel_size": 2}, {"ranks": 2, "v2": True}),
}


@pytest.mark.wide
@pytest.mark.parametrize("mode", WIDE)
@pytest.mark.parametrize("architecture", FEW)
def test_wide(architecture: str, mode: str, bench: Bench, run_job: Callable[..., Any]) -> None:
    options, where = WIDE[mode]
    every = 2 if where.get("v2") else 1
    [result] = run_job([bench.run(architecture, every=every, **options)], seconds=1200, **where)
    assert bench.mismatches(architecture, result, every=every) == []

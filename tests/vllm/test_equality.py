"""Steered on vLLM and steered on transformers: the same tokens, in float32, whatever vLLM does meanwhile.

Every run has 64 requests under 40 different steerings (gated edits, scopes, compositions, edits of the request's own),
half of them with one prompt, in chunks of 64 tokens, and sends them twice: the second time prompts come from the prefix
cache.

The widest matrix, every architecture compiled and eager, on both model runners, over two ranks both ways:

    python -m pytest tests/vllm/test_equality.py -m wide
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.vllm import cases

TOKENS = 16
OPTIONS: dict[str, Any] = {
    "max_model_len": 384,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 64,
    "block_size": 32,
    "enable_prefix_caching": True,
}
ARCHITECTURES = ("llama", "mistral", "phi3", "gemma2", "qwen2", "qwen3", "mixtral", "nano")


class Bench:
    """Makes runs for architectures, and compares what came back with transformers."""

    def __init__(
        self, model_folder: Callable[[str], Path], reference: Callable[[str], Any], folder: Path
    ) -> None:
        self._model_folder = model_folder
        self._reference = reference
        self._folder = folder
        self._made: dict[str, tuple[dict[str, Any], list[list[int]]]] = {}

    def run(self, architecture: str, passes: int = 2, **options: Any) -> dict[str, Any]:
        """A run for `tests.vllm.job`."""
        run, _ = self._case(architecture)
        return {**run, "passes": passes, "options": {**run["options"], **options}}

    def mismatches(self, architecture: str, result: dict[str, Any]) -> list[str]:
        """The answers that differ from those of transformers, one line for each."""
        _, expected = self._case(architecture)
        return [
            f"{architecture}, pass {number}, request {place}: {got} instead of {wanted}"
            for number, one in enumerate(result["passes"])
            for place, (got, wanted) in enumerate(zip(one["tokens"], expected, strict=True))
            if got != [wanted]
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


def test_every_architecture_eager(bench: Bench, run_job: Callable[..., Any]) -> None:
    runs = [bench.run(architecture, enforce_eager=True) for architecture in ARCHITECTURES]
    results = run_job({"runs": runs}, separate=False)
    for architecture, result in zip(ARCHITECTURES, results, strict=True):
        assert bench.mismatches(architecture, result) == []
        assert sum(result["passes"][1]["cached"]) > sum(result["passes"][0]["cached"]), (
            "nothing came from the cache"
        )

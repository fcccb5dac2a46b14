"""What the tests on a running vLLM share. Without vLLM installed none of them is collected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.on_vllm import models

if find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]

ROOT = Path(__file__).parents[2]
INTERPRETED = Path(__file__).parent / "interpreted"


@pytest.fixture(scope="session")
def models_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models of this session are."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def model_folder(models_parent: Path) -> Callable[[str], Path]:
    """Folders of tiny random models with a tokenizer, by architecture (see `tests.tiny`), or `"nano"`."""
    return cache(lambda architecture: models.model_folder(architecture, models_parent))


@pytest.fixture(scope="session")
def reference(models_parent: Path) -> Callable[[str], Any]:
    """The same models under transformers, by architecture."""
    return cache(lambda architecture: models.reference(architecture, models_parent))


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Environment variables for a process of vLLM: offline, quiet, one thread, little memory."""

    def make(*, v2: bool = False, ranks: int = 1, separate: bool = True, **more: str) -> dict[str, str]:
        found = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(INTERPRETED), str(ROOT)] if v2 else [str(ROOT)]),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if separate else "0",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        if v2:
            found |= {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}
        if ranks > 1:
            found["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(
                str(rank % (os.cpu_count() or 1)) for rank in range(ranks)
            )
        return {**found, **more}

    return make


@pytest.fixture(scope="session")
def run_job(
    tmp_path_factory: pytest.TempPathFactory, environment: Callable[..., dict[str, str]]
) -> Callable[..., list[dict[str, Any]]]:
    """Runs a job of `tests.on_vllm.job` in a process of its own, with a limit, and gives its results."""

    def run(runs: list[dict[str, Any]], *, seconds: float = 300, **where: Any) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("job")
        asked, got, log = folder / "job.json", folder / "result.json", folder / "log.txt"
        asked.write_text(json.dumps(runs))
        with log.open("w") as output:
            ended = subprocess.run(
                [sys.executable, "-m", "tests.on_vllm.job", str(asked), str(got)],
                env=environment(**where),
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        if ended.returncode:
            pytest.fail(f"vLLM ended with {ended.returncode}:\n{log.read_text()[-6000:]}")
        results: list[dict[str, Any]] = json.loads(got.read_text())
        return results

    return run


@pytest.fixture(scope="session")
def quiet() -> Iterator[None]:
    """For engines that tests start from their own process: quiet, one thread, little memory."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "OMP_NUM_THREADS": "1",
        }.items():
            patch.setenv(name, value)
        yield


SMALL: dict[str, Any] = {
    "enforce_eager": True,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 32,
    "use_tqdm_on_load": False,
    "gates": 8,
}
"""Options of an engine that takes prompts in chunks, several steps each, and few requests at once."""


@pytest.fixture(scope="session")
def nano(quiet: None) -> Iterator[Any]:
    """The engine over vLLM for nano; the last test of tests/vllm/test_engine_commands.py closes it."""
    import trimtab

    with trimtab.load("nano", engine="vllm", **SMALL) as engine:
        yield engine

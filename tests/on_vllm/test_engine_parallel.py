"""The engine over several workers, and on the other model runner: each part is read once, and put together rightly.

All of it, some minutes: `python -m pytest tests/vllm/test_engine_parallel.py -m "wide or not wide"`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.on_vllm.conftest import ROOT

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "two tensor-parallel ranks": ({"tensor_parallel_size": 2, "enforce_eager": True}, {"ranks": 2}),
    # Eager pipelines fail in vLLM's own model runner for CPUs.
    "two pipeline stages, compiled": ({"pipeline_parallel_size": 2}, {"ranks": 2}),
    "two pipeline stages, model runner V2": (
        {"pipeline_parallel_size": 2, "enforce_eager": True},
        {"ranks": 2, "v2": True},
    ),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if "V2" in case else [pytest.mark.wide]) for case in CASES]
)
def test_it_is_the_same_engine(
    case: str,
    model_folder: Callable[[str], Path],
    environment: Callable[..., dict[str, str]],
    tmp_path: Path,
) -> None:
    options, where = CASES[case]
    options = {**options, "max_num_seqs": 4, "max_num_batched_tokens": 64, "max_model_len": 384}
    result, log = tmp_path / "result.json", tmp_path / "log.txt"
    with log.open("w") as output:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.on_vllm.engine_job",
                model_folder("llama"),
                json.dumps(options),
                result,
            ],
            env=environment(**where),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=400,
            check=False,
        )
    assert ended.returncode == 0, log.read_text()[-6000:]
    found = json.loads(result.read_text())
    assert found["identity"]
    assert max(found["read"].values()) < 1e-3
    assert all(found["written"])
    assert found["told apart"]
    assert found["scores"] < 1e-3
    assert found["streamed"]

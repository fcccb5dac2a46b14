"""Steering over Ray: two nodes with one worker each, tensor-parallel and pipeline-parallel, steerings by RPC only.

vLLM's platform for CPUs refuses Ray; `tests/vllm/placeable` is a platform for vLLM that is the same CPU, except that
Ray may place workers on it. The executor, its actors and its message queues (over TCP, as between machines, since the
nodes differ) are vLLM's own. Two machines, as far as one can be two:

    python -m pytest tests/vllm/test_ray.py -m wide
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.on_vllm import cases

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")

ROOT = Path(__file__).parents[2]
PLACEABLE = Path(__file__).parent / "placeable"
TOKENS = 12
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONPATH": f"{PLACEABLE}:{ROOT}",
    "RAY_AUTH_MODE": "disabled",  # nobody but this machine reaches the loopback addresses
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_HOST_IP": "127.0.0.2",
}
OPTIONS: dict[str, Any] = {
    "gates": cases.GATES,
    "max_model_len": 384,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 64,
    "block_size": 32,
}
WAYS: dict[str, dict[str, Any]] = {
    "tensor-parallel": {"tensor_parallel_size": 2, "enforce_eager": True},
    # Eager, vLLM's own pipeline on a CPU fails in model runner V1.
    "pipeline-parallel": {"pipeline_parallel_size": 2},
}


@pytest.fixture(scope="module")
def asked(reference: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Prompts with steerings, and what transformers answers."""
    engine = reference("llama")
    known = cases.steerings(engine)
    folder = cases.save(known, tmp_path_factory.mktemp("of-the-driver-alone"))
    names = [None, *known]
    rows = [names[number % len(names)] for number in range(2 * len(names))]
    prompts = [cases.LONG if number % 2 else f"Item {number}" for number in range(len(rows))]
    answers = engine.generate(
        prompts, steering=[known[name] if name else None for name in rows], max_new_tokens=TOKENS
    )
    return {
        "prompts": prompts,
        "steerings": [str(folder / name) if name else None for name in rows],
        "answers": [list(answer.token_ids) for answer in answers],
        "captured": engine.capture(prompts[:2]).mean.tolist(),
    }


def answers_over_ray(
    asked: dict[str, Any], model: Path, folder: Path, wrapper: Sequence[str] = (), **more: str
) -> dict[str, dict[str, Any]]:
    """What both ways of running give, on one cluster."""
    runs = [
        {
            "model": str(model),
            "options": {**OPTIONS, **options},
            "prompts": asked["prompts"],
            "steerings": asked["steerings"],
            "tokens": TOKENS,
        }
        for options in WAYS.values()
    ]
    job, got, log = folder / "job.json", folder / "result.json", folder / "log.txt"
    job.write_text(json.dumps({"runs": runs}))
    with log.open("w") as output:
        ended = subprocess.run(
            [*wrapper, sys.executable, "-m", "tests.on_vllm.ray_job", str(job), str(got)],
            env={**os.environ, **ENVIRONMENT, **more},
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=500,
            check=False,
        )
    if ended.returncode:
        pytest.fail(f"it ended with {ended.returncode}:\n{log.read_text()[-6000:]}")
    return dict(zip(WAYS, json.loads(got.read_text()), strict=True))


@pytest.fixture(scope="module")
def results(
    asked: dict[str, Any], model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What came back from two nodes of this machine."""
    return answers_over_ray(asked, model_folder("llama"), tmp_path_factory.mktemp("ray"))


@pytest.mark.parametrize("way", WAYS)
def test_two_nodes_answer_as_one_process(
    way: str, results: dict[str, dict[str, Any]], asked: dict[str, Any]
) -> None:
    found = results[way]
    assert len(found["nodes"]) == 2, "both workers ran on one node: nothing of Ray was tested"
    assert found["passes"] == [asked["answers"], asked["answers"]]
    assert len({tuple(answer) for answer in asked["answers"]}) > len(asked["answers"]) // 2


@pytest.mark.parametrize("way", WAYS)
def test_steerings_reach_every_worker_without_a_folder(
    way: str, results: dict[str, dict[str, Any]], asked: dict[str, Any]
) -> None:
    first, second = results[way]["status"]
    assert first["held"] == second["held"]
    assert len(first["held"]) == len({path for path in asked["steerings"] if path})
    blocks = first["blocks"], second["blocks"]
    every = sorted({*blocks[0], *blocks[1]})
    assert every == list(range(4))
    if way == "pipeline-parallel":
        assert not {*blocks[0]} & {*blocks[1]}
    else:
        assert blocks == (every, every)


@pytest.mark.parametrize("way", WAYS)
def test_capture_collects_from_every_node(
    way: str, results: dict[str, dict[str, Any]], asked: dict[str, Any]
) -> None:
    for got, expected in zip(results[way]["captured"], asked["captured"], strict=True):
        assert got == pytest.approx(expected, abs=2e-4)


@pytest.mark.wide
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and ip")
def test_two_machines_of_which_one_has_the_steerings(
    asked: dict[str, Any], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two network namespaces with a Ray node in each; the second does not see the folder of the steerings."""
    hidden = str(Path(asked["steerings"][1]).parent)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # ray's own command
    script = [str(Path(__file__).parent / "two_machines.sh"), str(tmp_path), hidden]
    found = answers_over_ray(asked, model_folder("llama"), tmp_path, script, PATH=path)
    for result in found.values():
        assert len(result["nodes"]) == 2
        assert result["passes"] == [asked["answers"], asked["answers"]]

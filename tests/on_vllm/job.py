"""Runs requests on vLLM in a process of its own: `python -m tests.on_vllm.job JOB RESULT`, both JSON.

A job is a list of runs, done one after the other; each names a model, options of `vllm.LLM`, requests, and how often to
send them all (or, as turns, several lists of requests). Runs can share the process when vLLM's engine runs in it, which
saves most of the time of a start.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


def main(job: Path, result: Path) -> None:
    """Does all runs of a job; the result is written after each, so that a crash shows which it was."""
    from trimtab.vllm.frontend import frontend

    salt = frontend.salt
    done = []
    for run in json.loads(job.read_text()):
        # The negative control: without its salt, a request is served blocks that were computed under another steering.
        frontend.salt = (lambda client_salt, composition: client_salt) if run.get("without_salt") else salt
        try:
            done.append(one(run))
        except Exception:  # noqa: BLE001 - one that fails is told, and the others are done
            done.append({"error": traceback.format_exc()})
        finally:
            clean()
        result.write_text(json.dumps(done))


def clean() -> None:
    """Leaves the process as it was before a run."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    gc.collect()


def one(run: dict[str, Any]) -> dict[str, Any]:
    """Starts vLLM, sends the requests of a run as often as it says, and tells what came back."""
    from vllm import LLM, SamplingParams

    begun = time.monotonic()
    with scheduling_ahead(bool(run.get("asynchronous"))):
        llm = LLM(
            model=run["model"],
            dtype="float32",
            seed=0,
            disable_log_stats=False,
            worker_extension_cls="trimtab.vllm.worker.worker.SteeringWorker",
            **run["options"],
        )
    started = time.monotonic()
    passes = []
    for requests in run.get("turns") or [run["requests"]] * run.get("passes", 1):
        prompts = [{"prompt_token_ids": request["prompt"]} for request in requests]
        parameters = [
            SamplingParams(
                **{"temperature": 0, **run.get("sampling", {}), **request.get("sampling", {})},
                extra_args=request["extra_args"] or None,
            )
            for request in requests
        ]
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        passes.append(
            {
                "tokens": [[written(one) for one in output.outputs] for output in outputs],
                "cached": [output.num_cached_tokens for output in outputs],
                "ended": [[one.finish_reason for one in output.outputs] for output in outputs],
            }
        )
    counts = {metric.name: metric.value for metric in llm.get_metrics() if hasattr(metric, "value")}
    result = {
        "passes": passes,
        "status": llm.collective_rpc("trimtab_status"),
        "preemptions": counts.get("vllm:num_preemptions", 0),
        "drafts": counts.get("vllm:spec_decode_num_drafts", 0),
        "start_seconds": started - begun,
        "run_seconds": time.monotonic() - started,
        "asynchronous": llm.llm_engine.vllm_config.scheduler_config.async_scheduling,
        "runner": "v2" if llm.llm_engine.vllm_config.use_v2_model_runner else "v1",
    }
    llm.llm_engine.engine_core.shutdown()
    return result


@contextmanager
def scheduling_ahead(wanted: bool) -> Iterator[None]:
    """Whether a step is scheduled while one runs, as on GPUs; vLLM's CPU platform forbids it, and it works."""
    from vllm.platforms.cpu import CpuPlatform

    original = CpuPlatform.check_and_update_config

    def check_and_update_config(vllm_config: Any) -> None:
        original(vllm_config)
        vllm_config.scheduler_config.async_scheduling = wanted

    with patch.object(CpuPlatform, "check_and_update_config", staticmethod(check_and_update_config)):
        yield


def written(answer: Any) -> list[int]:
    """The tokens of an answer, without the one that ended it."""
    tokens = list(answer.token_ids)
    return tokens[:-1] if answer.finish_reason == "stop" else tokens


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

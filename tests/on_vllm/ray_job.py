"""Answers on vLLM over Ray: `python -m tests.on_vllm.ray_job JOB RESULT`, both JSON.

Unless `RAY_ADDRESS` names a cluster, one of two nodes is made, each with a raylet, an address and a node id of its own,
as two machines have; each takes one worker. What the workers know of steerings came by RPC: there is no folder of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.steering.steering import Steering


def main(job: Path, result: Path) -> None:
    """Starts the cluster, runs all runs of a job on it, and ends it."""
    wanted = json.loads(job.read_text())
    done = []
    with cluster():
        for run in wanted["runs"]:
            done.append(one(run))
            result.write_text(json.dumps(done))


@contextmanager
def cluster() -> Iterator[None]:
    """Inside, this process is connected to a Ray cluster, and so will be what it starts."""
    import ray
    from ray.cluster_utils import Cluster

    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, _node_ip_address=os.environ["VLLM_HOST_IP"])
        yield
        ray.shutdown()
        return
    node = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2"})
    try:
        made.add_node(**node, node_ip_address="127.0.0.3")
        os.environ["RAY_ADDRESS"] = made.address
        ray.init(address=made.address, log_to_driver=False, _node_ip_address="127.0.0.2")
        yield
    finally:
        ray.shutdown()
        made.shutdown()


def one(run: dict[str, Any]) -> dict[str, Any]:
    """Starts the engine, answers every prompt with its steering, and tells where the workers are."""
    from ray.util import placement_group_table

    from trimtab.vllm.engine import VllmEngine

    known = {path: Steering.load(path) for path in {*run["steerings"]} - {None}}
    with VllmEngine(run["model"], distributed_executor_backend="ray", **run["options"]) as engine:
        rows = [known.get(path) for path in run["steerings"]]
        passes = [
            [
                list(answer.token_ids)
                for answer in engine.generate(run["prompts"], steering=rows, max_new_tokens=run["tokens"])
            ]
            for _ in range(2)
        ]
        captured = engine.capture(run["prompts"][:2]).mean
        groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
        return {
            "passes": passes,
            "status": engine.llm.collective_rpc("trimtab_status"),
            "nodes": sorted({node for group in groups for node in group["bundles_to_node_id"].values()}),
            "captured": captured.tolist(),
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

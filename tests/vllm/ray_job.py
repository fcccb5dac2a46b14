"""Answers on vLLM over Ray: `python -m tests.vllm.ray_job JOB RESULT`, both JSON.

The cluster is one of two nodes, each with a raylet, an address and a node id of its own, as two machines have; each
takes one worker. What the workers know of steerings came by RPC: there is no folder of them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from trimtab.steering import Steering


def main(job: Path, result: Path) -> None:
    """Starts the cluster, runs all runs of a job on it, and ends it."""
    import ray
    from ray.cluster_utils import Cluster

    wanted = json.loads(job.read_text())
    node = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2"})
    try:
        cluster.add_node(**node, node_ip_address="127.0.0.3")
        os.environ["RAY_ADDRESS"] = cluster.address
        ray.init(address=cluster.address, log_to_driver=False, _node_ip_address="127.0.0.2")
        done = []
        for run in wanted["runs"]:
            done.append(one(run))
            result.write_text(json.dumps(done))
    finally:
        ray.shutdown()
        cluster.shutdown()


def one(run: dict[str, Any]) -> dict[str, Any]:
    """Starts the engine, answers every prompt with its steering, and tells where the workers are."""
    from ray.util import placement_group_table

    from trimtab.engines.vllm.engine import VllmEngine

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

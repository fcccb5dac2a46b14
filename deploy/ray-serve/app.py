"""A Ray Serve application: vLLM with steering behind Ray Serve's own OpenAI-compatible ingress.

    serve run app:app

Ray 2.60 pins vLLM 0.29 in its extra `llm`, and trimtab needs 0.32: docs/cluster.md says what to install.
"""

from __future__ import annotations

from ray.serve.llm import LLMConfig, build_openai_app

llm_config = LLMConfig(
    model_loading_config={"model_id": "llama", "model_source": "meta-llama/Llama-3.1-8B-Instruct"},
    accelerator_type="H100",
    deployment_config={"autoscaling_config": {"min_replicas": 1, "max_replicas": 4}},
    engine_kwargs={
        "max_model_len": 8192,
        "tensor_parallel_size": 1,
        # What `trimtab serve` would set. Every node must see the folder under this path.
        "additional_config": {"trimtab": {"steerings": "/steerings", "gates": 4}},
        "worker_extension_cls": "trimtab.vllm.worker.worker.SteeringWorker",
    },
    # Workers load the plug-in by themselves. If you set VLLM_PLUGINS, trimtab must be in it.
    runtime_env={"env_vars": {"VLLM_PLUGINS": "trimtab"}},
)

app = build_openai_app({"llm_configs": [llm_config]})

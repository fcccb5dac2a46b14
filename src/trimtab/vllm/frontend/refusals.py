"""What cannot be steered rightly is refused with the reason, never served half right: at the start, where it can be."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

from trimtab.errors import ModelError
from trimtab.serve.request import STEERING_KEY
from trimtab.vllm.settings import SteeringSettings

CONNECTORS = frozenset(
    {
        "MooncakeConnector",
        "MooncakeStoreConnector",
        "MultiConnector",
        "NixlConnector",
        "NixlPullConnector",
        "NixlPushConnector",
        "OffloadingConnector",
        "SimpleCPUOffloadConnector",
    }
)
"""The KV connectors of vLLM under which steerings stay apart: what they store goes by block hashes, which cover the
steering, or they hand it from one request to the very same. Others look it up by tokens, or are not in vLLM."""
_REQUESTS = (
    ("vllm.entrypoints.openai.chat_completion.protocol", "ChatCompletionRequest"),
    ("vllm.entrypoints.openai.completion.protocol", "CompletionRequest"),
)


def check_config(vllm_config: Any) -> None:
    """Refuses a `VllmConfig` under which steering would be wrong, with the reason and what to do."""
    for refuse in (_model, _parallelism, _shortcuts, _loading, _sharing, _frontend):
        reason = refuse(vllm_config)
        if reason is not None:
            raise ModelError(f"steering cannot be served: {reason}")


def _model(vllm_config: Any) -> str | None:
    model = vllm_config.model_config
    if model is None:
        return "there is no model"
    if model.runner_type != "generate":
        return f"the model is run for {model.runner_type}, and only text generation is steered"
    if model.is_encoder_decoder:
        return f"{model.model} is an encoder-decoder, and only decoder-only models are steered"
    if getattr(model, "is_diffusion", False):
        return f"{model.model} writes by diffusion: it has no order of prompt and generated tokens"
    return None


def _parallelism(vllm_config: Any) -> str | None:
    parallel = vllm_config.parallel_config
    if parallel.use_ubatching:
        return (
            "microbatches (--enable-dbo, --ubatch-size) run a part of the batch that the index of steered tokens does "
            "not begin with; leave them out"
        )
    if parallel.prefill_context_parallel_size > 1:
        return (
            "prefill context parallelism spreads the tokens of one prompt over ranks; leave out "
            "--prefill-context-parallel-size"
        )
    if getattr(parallel, "enable_batch_sharded_sampling", False):
        return (
            "sampling spread over ranks (--enable-batch-sharded-sampling) has the logits of a request where nobody "
            "looks whether they are finite; leave it out"
        )
    if parallel.enable_elastic_ep:
        return (
            "workers that join later would lack the steerings that were loaded; leave out --enable-elastic-ep"
        )
    settings = SteeringSettings.from_vllm(vllm_config)
    if settings is not None and settings.record and parallel.data_parallel_size > 1:
        return "ranks that only keep step with others would overwrite what is recorded; serve without record"
    return None


def _shortcuts(vllm_config: Any) -> str | None:
    if vllm_config.cache_config.kv_sharing_fast_prefill:
        return "--kv-sharing-fast-prefill skips most tokens in the later layers; leave it out"
    speculative = vllm_config.speculative_config
    if speculative is not None and getattr(speculative, "enable_adaptive_verification", False):
        return (
            "adaptive verification of drafts decides on the GPU which tokens a batch holds; leave "
            "enable_adaptive_verification out of the speculative config"
        )
    return None


def _loading(vllm_config: Any) -> str | None:
    form = vllm_config.load_config.load_format
    if form in ("tensorizer", "ipc_cache"):
        return (
            f"--load-format {form} makes the model where steering cannot be put in; use another, such as auto"
        )
    return None


def _sharing(vllm_config: Any) -> str | None:
    transfer = vllm_config.kv_transfer_config
    if transfer is None:
        return None
    names = [transfer.kv_connector]
    names += [one.get("kv_connector") for one in transfer.kv_connector_extra_config.get("connectors", [])]
    if unknown := [str(name) for name in names if name not in CONNECTORS]:
        return (
            f"the KV connector {unknown[0]} may hand what was computed under one steering to a request with another: "
            f"it is not known to tell them apart by vLLM's block hashes or by request; use one of "
            f"{', '.join(sorted(CONNECTORS))}"
        )
    return None


def _frontend(_: Any) -> str | None:
    if os.environ.get("VLLM_USE_RUST_FRONTEND", "0") not in ("", "0"):
        return "vLLM's frontend in Rust does not ask trimtab what requests may have; unset VLLM_USE_RUST_FRONTEND"
    return None


def refuse_beams() -> None:
    """Refuses beam search with a steering, which would drop what a request says beside vLLM's own options.

    Wraps the requests of the server that this process is; where it is none, nothing. Again changes nothing.
    """
    for module, name in _REQUESTS:
        request = getattr(sys.modules.get(module), name, None)
        if hasattr(request, "to_beam_search_params"):
            _wrap_beams(request)


def _wrap_beams(request: Any) -> None:
    original = request.to_beam_search_params
    if getattr(original, "trimtab", False):
        return

    @functools.wraps(original)
    def to_beam_search_params(self: Any, *args: Any, **kwargs: Any) -> Any:
        from vllm.exceptions import VLLMValidationError

        arguments = getattr(self, "vllm_xargs", None)
        if isinstance(arguments, Mapping) and arguments.get(STEERING_KEY) is not None:
            raise VLLMValidationError(
                "beam search cannot be steered; leave use_beam_search or the steering out"
            )
        return original(self, *args, **kwargs)

    to_beam_search_params.trimtab = True  # type: ignore[attr-defined]
    request.to_beam_search_params = to_beam_search_params

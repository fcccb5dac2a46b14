"""What cannot be steered rightly is refused when vLLM starts, with the reason, never served half right."""

from __future__ import annotations

from typing import Any

import torch

from trimtab.errors import ModelError


def check_config(vllm_config: Any) -> None:
    """Refuses a configuration of vLLM under which steering would be wrong.

    Args:
        vllm_config: A `vllm.config.VllmConfig` that asks for steering.

    Raises:
        ModelError: With the reason, and what to do.
    """
    for refuse in (_model, _parallelism, _shortcuts, _loading):
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
    passes = vllm_config.compilation_config.pass_config
    if getattr(passes, "enable_sp", False) or getattr(passes, "enable_sequence_parallelism", False):
        return "the sequence-parallel pass spreads the tokens of a batch over ranks; leave enable_sp out"
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


def check_memory(needed: int, device: torch.device, *, slots: int, gates: int) -> None:
    """Refuses tables that do not fit beside the weights.

    Args:
        needed: Their size in bytes.
        device: Where they go.
        slots: For how many requests at once.
        gates: How many gated edits each.

    Raises:
        ModelError: If less is free.
    """
    free = _free(device)
    if free is not None and needed > free:
        raise ModelError(
            f"steering cannot be served: its tables for {slots} requests at once with {gates} gated edits each take "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free; lower --max-num-seqs or gates"
        )


def _free(device: torch.device) -> int | None:
    """Bytes free on a device; None if it does not say."""
    if device.type == "cpu":
        import psutil  # type: ignore[import-untyped]

        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "xpu":
        return int(torch.xpu.mem_get_info(device)[0])
    return None

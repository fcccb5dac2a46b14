"""Tiny random models in folders, as vLLM loads them: those of `tests.tiny`, in shapes its CPU kernels take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests import tiny

from trimtab.engines.transformers import TransformersEngine

CONTEXT = 512
WIDTH = 64

# Heads of 32, the narrowest that vLLM has for a CPU; two of them, so that they can be split over two ranks.
_SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "num_hidden_layers": 4,
}
_GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 48, "tie_word_embeddings": True}
_OWN: dict[str, dict[str, Any]] = {
    "mistral": {"head_dim": 32, "sliding_window": None},
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "qwen3": {"head_dim": 32},
    "mixtral": {"head_dim": 32},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": WIDTH},
}
# Beyond those of `tests.tiny`: layers of vLLM that return their stream in other ways, and a second kind of experts.
_MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "cohere": ("CohereConfig", {"tie_word_embeddings": True, "logit_scale": 1.0}),
    "stablelm": ("StableLmConfig", {}),
    "granite": ("GraniteConfig", {}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
        },
    ),
}


def model_folder(architecture: str, parent: Path) -> Path:
    """The folder of a tiny random model with a tokenizer of bytes, made if it is not there yet; `nano` has its own.

    Args:
        architecture: One of `tests.tiny`, one of those here, or `"nano"`.
        parent: Where to put it, as `tiny-<architecture>`.
    """
    if architecture == "nano":
        from trimtab import nano

        return nano.path("nano")
    folder = parent / f"tiny-{architecture}"
    if not folder.is_dir():
        model = _model(architecture)
        if model.config.tie_word_embeddings:
            # vLLM has no such model with a head of its own. With small embeddings a random one does not just repeat.
            model.get_input_embeddings().weight.data *= 0.1
        model.save_pretrained(folder)
        tiny.tiny_tokenizer().save_pretrained(folder)
    return folder


def _model(architecture: str) -> Any:
    import transformers

    name, own = (tiny.ARCHITECTURES | _MORE)[architecture]
    changes = {**own, **_SHAPE, **_OWN.get(architecture, {})}
    config = getattr(transformers, name)(**{**tiny._SHAPE, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def reference(architecture: str, parent: Path) -> TransformersEngine:
    """The same model under transformers, in float32 on the CPU."""
    import trimtab

    engine: TransformersEngine = trimtab.load(model_folder(architecture, parent), device="cpu")
    # The default attention of transformers leaves out Gemma 2's cap on the scores; vLLM does not.
    engine.model.set_attn_implementation("eager")
    return engine

"""Tiny random models in folders, as vLLM loads them: those of `tests.tiny`, in shapes its CPU kernels take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny import tiny_model, tiny_tokenizer

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
_HEADS: dict[str, dict[str, Any]] = {
    "mistral": {"head_dim": 32, "sliding_window": None},
    "gemma2": {
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 48,
        "tie_word_embeddings": True,
    },
    "gemma3": {
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 48,
        "tie_word_embeddings": True,
    },
    "qwen3": {"head_dim": 32},
    "mixtral": {"head_dim": 32},
}


def model_folder(architecture: str, parent: Path) -> Path:
    """The folder of a tiny random model with a tokenizer of bytes, made if it is not there yet; `nano` has its own.

    Args:
        architecture: One of `tests.tiny`, or `"nano"`.
        parent: Where to put it, as `tiny-<architecture>`.
    """
    if architecture == "nano":
        from trimtab import nano

        return nano.path("nano")
    folder = parent / f"tiny-{architecture}"
    if not folder.is_dir():
        model = tiny_model(architecture, **{**_SHAPE, **_HEADS.get(architecture, {})})
        if model.config.tie_word_embeddings:
            # vLLM has no Gemma with a head of its own. With small embeddings a random model does not just repeat.
            model.get_input_embeddings().weight.data *= 0.1
        model.save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return folder


def reference(architecture: str, parent: Path) -> TransformersEngine:
    """The same model under transformers, in float32 on the CPU."""
    import trimtab

    engine: TransformersEngine = trimtab.load(model_folder(architecture, parent), device="cpu")
    # The default attention of transformers leaves out Gemma 2's cap on the scores; vLLM does not.
    engine.model.set_attn_implementation("eager")
    return engine

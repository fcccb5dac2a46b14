"""The shapes of real models, written out: their size without their weights, and nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from trimtab import nano
from trimtab.engines.base import Generation, Prompt
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError


@dataclass(frozen=True)
class Shape:
    """One architecture at one size.

    Attributes:
        config: Name of its configuration class in transformers.
        values: What that is made with.
    """

    config: str
    values: dict[str, Any] = field(default_factory=dict)


_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_TINY = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    **_TOKENS,
}

SHAPES: dict[str, Shape] = {
    "phi-3-mini": Shape(
        "Phi3Config",
        {
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "sliding_window": 2047,
            "rms_norm_eps": 1e-5,
            **_TOKENS,
        },
    ),
    "gemma-2-9b": Shape(
        "Gemma2Config",
        {
            "vocab_size": 256000,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "max_position_embeddings": 8192,
            **_TOKENS,
        },
    ),
    "mistral-7b": Shape(
        "MistralConfig",
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
            "max_position_embeddings": 32768,
            **_TOKENS,
        },
    ),
    # 143 million parameters: what `benchmarks.serving` serves.
    "llama-143m": Shape(
        "LlamaConfig",
        {
            "vocab_size": 4096,
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 12,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            **_TOKENS,
        },
    ),
    # For a machine without a GPU, and for the tests: it shows that the benchmark runs, and nothing about speed.
    "tiny": Shape("LlamaConfig", _TINY),
    # The same with the smallest heads that vLLM has on a CPU.
    "tiny_for_vllm": Shape("LlamaConfig", {**_TINY, "head_dim": 32}),
}


def layers_of(width: int, blocks: int) -> Shape:
    """Blocks of a Llama of any width: heads of 128, a quarter as many for keys, a feed-forward part 3.5 times as wide.

    Those of Llama 3 8B at a width of 4096, of 70B at 8192.
    """
    heads = max(width // 128, 4)
    return Shape(
        "LlamaConfig",
        {
            "vocab_size": 4096,
            "hidden_size": width,
            "intermediate_size": width * 7 // 2,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "num_key_value_heads": max(heads // 4, 1),
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            **_TOKENS,
        },
    )


def shape_names(text: str) -> list[str]:
    """The shapes named, separated by commas.

    Raises:
        TrimtabError: There is no such shape, or none is named.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in SHAPES]
    if unknown or not names:
        what = f"no shape is called {unknown[0]!r}" if unknown else "no shape is named"
        raise TrimtabError(f"{what}; the shapes are {', '.join(SHAPES)}")
    return names


class EndlessEngine(TransformersEngine):
    """Writes on and on, and calls every answer finished: what is cut off is of no use to a distillation."""

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[Generation]:
        """As any engine."""
        return [replace(answer, finished=True) for answer in super().generate(prompts, **options)]


def random_model(name: str, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A model of transformers of a shape, with random weights, always the same.

    Args:
        name: One of `SHAPES`.
        device: Where its weights are made.
        dtype: Of its weights.
    """
    import transformers

    shape = SHAPES[name]
    config = getattr(transformers, shape.config)(**shape.values)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    # What ends an answer is never the most likely token, so that all are equally long.
    end = config.vocab_size - 1
    model.generation_config.eos_token_id = end
    with torch.no_grad():
        model.get_output_embeddings().weight[end] = 0.0
    return model


def random_tokenizer() -> Any:
    """The tokenizer of all shapes, the built-in model's: what text is tokenised to does not matter for speed."""
    import transformers

    return transformers.AutoTokenizer.from_pretrained(nano.path("nano"))


def random_engine(name: str, *, device: torch.device, dtype: torch.dtype) -> EndlessEngine:
    """An engine over a model of a shape with random weights.

    Args:
        name: One of `SHAPES`.
        device: Where its weights are made.
        dtype: Of its weights.
    """
    model = random_model(name, device=device, dtype=dtype)
    return EndlessEngine(model, random_tokenizer(), model_id=f"random {name}")

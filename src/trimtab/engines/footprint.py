"""How much memory the tokens of a batch take beside the model, roughly: what decides how many rows go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Footprint:
    """Bytes that one token takes.

    Attributes:
        cache: Of its keys and values, in all blocks.
        activations: Inside a block.
        logits: Of its logits in float32.
    """

    cache: int
    activations: int
    logits: int

    @classmethod
    def of(cls, model: Any, blocks: int) -> Footprint:
        """That of a model of transformers with so many decoder blocks."""
        config = model.config.get_text_config()
        width = int(config.hidden_size)
        heads = getattr(config, "num_attention_heads", 1)
        head_width = getattr(config, "head_dim", None) or width // heads
        kept = getattr(config, "num_key_value_heads", None) or heads
        inner = getattr(config, "intermediate_size", None) or 4 * width
        return cls(
            cache=int(2 * blocks * kept * head_width * model.dtype.itemsize),
            activations=int((8 * width + 3 * inner) * 4),
            logits=int(4 * config.vocab_size),
        )

"""A model whose weights take no gradients while something else is learned, and are afterwards as they were."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine


class Frozen:
    """The model's weights take no gradients, and its blocks keep no activations if `checkpointing`.

    Blocks are checkpointed here and not by transformers, which does so only for blocks in training mode: that would
    switch on the dropout that some (OPT's) compute themselves.

    On a CPU a model in half precision attends by plain products: torch's attention is slow there on the way back, which
    takes a seventh of a step of SmolLM2.

    Args:
        engine: The model.
        checkpointing: Compute block activations again in the backward pass instead of keeping them.
    """

    def __init__(self, engine: TransformersEngine, checkpointing: bool) -> None:
        self._model: Any = engine.model
        self._blocks: tuple[Any, ...] = tuple(engine.decoder_blocks.blocks) if checkpointing else ()

    def __enter__(self) -> None:
        self._wanted = [weight for weight in self._model.parameters() if weight.requires_grad]
        for weight in self._wanted:
            weight.requires_grad_(False)
        # What was set on a block itself (accelerate does, to move weights) comes back afterwards.
        self._own = [vars(block).get("forward") for block in self._blocks]
        self._attention = _by_products(self._model)
        for block in self._blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)

    def __exit__(self, *error: object) -> None:
        if self._attention is not None:
            self._model.set_attn_implementation(self._attention)
        for weight in self._wanted:
            weight.requires_grad_(True)
        for block, own in zip(self._blocks, self._own, strict=True):
            if own is None:
                del block.forward
            else:
                block.forward = own


def _by_products(model: Any) -> str | None:
    """Lets a model attend by plain products where that is quicker; gives how it did before, None where it stays."""
    usual = getattr(model.config, "_attn_implementation", None)
    can = getattr(model, "_can_set_attn_implementation", None)  # where it cannot, it would only warn
    if model.device.type != "cpu" or model.dtype.itemsize > 2 or usual != "sdpa" or can is None or not can():
        return None
    model.set_attn_implementation("eager")
    return str(usual)

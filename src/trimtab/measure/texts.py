"""What a model makes of whole texts that it reads by themselves: the mean output of its blocks over their tokens.

The first token is left out. Models park attention there, with outputs hundreds of times as large as elsewhere (M. Sun
et al.: Massive Activations in Large Language Models, 2024): a mean with it tells of little but how long a text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trimtab.errors import ModelError
from trimtab.progress import Progress, shown

if TYPE_CHECKING:
    from trimtab.engines.base import Engine


def text_means(
    engine: Engine,
    texts: Sequence[str],
    blocks: Sequence[int] | None = None,
    *,
    progress: Progress = False,
    stage: str = "reading",
) -> Tensor:
    """The mean output of blocks over the tokens of each text but the first, read unsteered and without a template.

    Args:
        engine: The model.
        texts: At least one; of one that is a single token, that one counts.
        blocks: Which blocks, 0-based; None for all.
        progress: See `trimtab.progress.Progress`.
        stage: What is told of it.

    Returns:
        `[n, L, d]` float32.

    Raises:
        PromptError: A text is empty, or does not fit the model's context.
        ModelError: There is no such block, or the engine keeps no activations.
    """
    means = []
    with shown(progress) as tell:
        for number, text in enumerate(texts):
            tell(stage, number, len(texts))
            capture = engine.capture([text], blocks=blocks, positions="all", keep=True, raw=True)
            if capture.activations is None:
                raise ModelError(
                    f"{engine.identity.id} keeps no activations, which are read here; take another engine"
                )
            read = capture.activations.float()
            means.append((read[1:] if len(read) > 1 else read).mean(0))
        tell(stage, len(texts), len(texts))
    return torch.stack(means)

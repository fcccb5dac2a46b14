"""What a model makes of whole texts that it reads by themselves: the mean output of its blocks over their tokens.

The first token is left out. Models park attention there, with outputs hundreds of times as large as elsewhere (M. Sun
et al.: Massive Activations in Large Language Models, 2024): a mean with it tells of little but how long a text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trimtab.engines.chat import prompt_ids
from trimtab.errors import ModelError, PromptError
from trimtab.progress import Progress, shown

if TYPE_CHECKING:
    from trimtab.engines.base import Engine


def answers_in(engine: Engine, texts: Sequence[str]) -> list[str]:
    """What of example answers is answer: of one that was copied with its thought, what is behind that.

    Args:
        engine: The model, whose format of thoughts it is; its chat template may be what opens them.
        texts: Example answers.

    Raises:
        PromptError: A text is a thought without an answer.
    """
    reader, tokenizer = engine.thoughts, getattr(engine, "tokenizer", None)
    if reader is None or tokenizer is None or reader.is_trivial:
        return list(texts)
    begins = reader.after(prompt_ids(tokenizer, "Hello"))
    found = [reader.answer_in(text, begins) for text in texts]
    for text, answer in zip(texts, found, strict=True):
        if text.strip() and not answer.strip():
            raise PromptError(
                f"the example {text[:60]!r} is a thought without an answer behind it, in the format "
                f"{reader.form.name!r} of {engine.identity.id}; give the answer, or load it with thoughts='plain'"
            )
    return found


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

"""The selection rule of the paper: layers from a fifth of the depth on, and no outputs of low perplexity.

Stolfo et al. (ICLR 2025) set the projection at one layer, try the layers from a fifth of the depth on (every second;
every third for the deepest of their models), and take the layer whose outputs follow the instruction most often by
IFEval's loose check. A layer is out if any of its outputs has a perplexity below 2.5 under GPT-2, given no prompt:
so predictable a text is a loop. Steering nothing is a candidate as well, and wins ties; then the earliest layer does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.errors import ModelError, SteeringError
from trimtab.measure.rows import Row
from trimtab.tune.guard import Rule
from trimtab.tune.tuned import Measured

if TYPE_CHECKING:
    from trimtab.engines.base import Engine

PERPLEXITY_MODEL = "openai-community/gpt2"
"""The model whose perplexity the paper goes by (keywords/validation_results.py in microsoft/llm-steer-instruct)."""

THRESHOLD = 2.5
"""A response below it is degenerate; one such response bars a block (ifeval_experiments/precompute_ivs.py)."""

TextPerplexity = Callable[[Sequence[str]], Sequence[float | None]]
"""`texts -> perplexity of each`; None for a text too short to have one."""


def searched_blocks(total: int, every: int) -> list[int]:
    """The blocks of a model of `total` blocks from a fifth of the depth on (format/find_best_layer.py)."""
    return list(range(total // 5, total, every))


@dataclass(frozen=True)
class PaperRule:
    """The paper's rule, as an option of `tune.search`.

    Attributes:
        perplexity: Gives the perplexity of texts, such as `text_perplexity(trimtab.load("openai-community/gpt2"))`,
            which is what the paper used. None lets the model that is searched, unsteered and given no prompt, stand
            in.
        threshold: A text of a perplexity below this is degenerate.
        every: Step from one layer to the next: 2 in the paper, 3 for its deepest model.

    Raises:
        SteeringError: The threshold or the step makes no sense.
    """

    perplexity: TextPerplexity | None = None
    threshold: float = THRESHOLD
    every: int = 2

    def __post_init__(self) -> None:
        if self.perplexity is not None:
            arguments.function(self.perplexity, "perplexity", "a function of texts, or None", SteeringError)
        arguments.number(
            self.threshold, "threshold (a perplexity)", SteeringError, least=1, wanted="a number from 1 on"
        )
        arguments.whole(self.every, "every (the step between blocks)", SteeringError, least=1)

    def blocks(self, total: int) -> list[int]:
        """The blocks of a model of `total` blocks that are tried."""
        return searched_blocks(total, self.every)

    def degenerate(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are too easy to predict; one without a perplexity is not.

        Raises:
            SteeringError: The rule names no perplexity.
        """
        if self.perplexity is None:
            raise SteeringError("the paper's rule names nothing that gives the perplexity of texts")
        return [value is not None and value < self.threshold for value in self.perplexity(texts)]

    def scorer(self, engine: Engine) -> Rule:
        """Scores candidates: the share followed (loose), rejected if any response is degenerate.

        Args:
            engine: The model that stands in where the rule names none.

        Raises:
            ModelError: The rule names none, and the engine gives no access to its own.
        """
        rule = self if self.perplexity else replace(self, perplexity=text_perplexity(engine))
        known: dict[str, bool] = {}

        def measure(row: Row) -> Measured:
            texts = [response.text for response in row.responses]
            new = [text for text in dict.fromkeys(texts) if text not in known]
            if new:
                known.update(zip(new, rule.degenerate(new), strict=True))
            low = sum(known[text] for text in texts)
            good = sum(loose and not known[text] for loose, text in zip(row.loose, texts, strict=True))
            return Measured(
                n=row.n,
                followed=row.followed,
                loose=row.followed_loose,
                good=good / row.n,
                quality=row.quality,
                score=row.followed_loose,
                objections=(f"{low} below perplexity {self.threshold:g}",) if low else (),
                rejected=low > 0,
            )

        return measure


def text_perplexity(engine: Engine, batch_size: int = 32) -> TextPerplexity:
    """The perplexity of texts on their own, as a language model without any prompt sees them.

    Args:
        engine: An engine over a model of transformers; it is not steered.
        batch_size: Texts per forward pass.

    Returns:
        A function that gives, for each text, the exponential of the mean negative log-likelihood (nats) of its tokens
        from the second on. None for a text of fewer than two tokens. Longer ones than the model's context are cut.

    Raises:
        ModelError: The engine gives no access to a model and a tokenizer of transformers; where texts are measured,
            also if the model gives values that are not finite.
    """
    model, tokenizer = getattr(engine, "model", None), getattr(engine, "tokenizer", None)
    if model is None or tokenizer is None:
        raise ModelError(
            f"{type(engine).__name__} gives no access to its model, so it cannot score texts without a prompt; name "
            "another model for the perplexity, one loaded with trimtab.load"
        )

    from trimtab.engines.finite import UNSOUND

    def measure(texts: Sequence[str]) -> list[float | None]:
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        rows = [list(tokenizer(text, add_special_tokens=False)["input_ids"])[:limit] for text in texts]
        order = sorted(
            (row for row in range(len(rows)) if len(rows[row]) > 1), key=lambda row: len(rows[row])
        )
        result: list[float | None] = [None] * len(texts)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            for row, value in zip(batch, _losses(model, [rows[row] for row in batch]), strict=True):
                if math.isnan(value):
                    raise ModelError(UNSOUND)
                result[row] = math.exp(min(value, 709.0)) if math.isfinite(value) else None
        return result

    return measure


def _losses(model: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """Nats per token of each row of token ids, the first token left out."""
    import torch

    width = max(map(len, rows))
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return [
        float(
            torch.nn.functional.cross_entropy(
                logits[row, : len(tokens) - 1].float(), ids[row, 1 : len(tokens)].to(logits.device)
            )
        )
        for row, tokens in enumerate(rows)
    ]

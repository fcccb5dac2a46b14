"""Values that are not finite: no answer is made of them, and what is to blame is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab.engines.base import Capture
from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.steering.edits import Edit

UNSOUND = (
    "the model gives values that are not finite: its weights are damaged, a steering is too strong, or they leave its "
    "dtype (load it in bfloat16 or float32)"
)
"""What to say where nobody can tell which of these it is."""


class NotFiniteError(Exception):
    """The model gave logits that are not finite, for these `rows` of a batch."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__("the logits are not finite")
        self.rows = list(rows)


class Watch:
    """Watches logits while `generate` of transformers writes.

    It is a logits processor, the first. Rows that have no finite largest logit are noted, and made zeros: to sample
    from them would end the whole process on a GPU. Which there were is asked once in a while, not at every token.
    """

    def __init__(self) -> None:
        self._bad: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Notes rows of `scores`, `[rows, vocabulary]`, and returns it."""
        bad = unsound(scores)
        self._bad = bad if self._bad is None else self._bad | bad
        return scores.masked_fill(bad[:, None], 0)

    def rows(self) -> list[int]:
        """The numbers of the rows that were noted."""
        return [] if self._bad is None else self._bad.nonzero().flatten().tolist()


def unsound(logits: Tensor) -> Tensor:
    """Which of `[..., vocabulary]` logits no token may be taken from, bool `[...]`.

    They hold nan, or infinity, or minus infinity alone, by which a model says that it never writes a token. Or all are
    the same: a stream whose squares leave float32 comes out of the last norm as zeros, and tells nothing of any token.
    """
    low, high = torch.aminmax(logits, dim=-1)
    return ~((low < high) & (high < torch.inf))  # what is no number compares false


def finite(capture: Capture, model: str) -> Capture:
    """A capture, whose values have to be finite.

    Raises:
        ModelError: They are not; it names the first block.
    """
    sound = torch.isfinite(capture.mean).all(-1)
    if not bool(sound.all()):
        block = capture.blocks[int(sound.logical_not().nonzero()[0])]
        raise ModelError(
            f"{model} gives values that are not finite at block {block}: the checkpoint is damaged, or its "
            "values leave the dtype; load it in bfloat16 or float32"
        )
    return capture


@contextmanager
def cause_named(
    engine: TransformersEngine, prompts: Sequence[int], edits: Sequence[Sequence[Edit]]
) -> Iterator[None]:
    """Makes a `NotFiniteError` of a batch an error that names the cause.

    Args:
        engine: What runs the model.
        prompts: The number of the prompt of each row.
        edits: What steers each row.

    Raises:
        ModelError: In the place of the `NotFiniteError`.
    """
    try:
        yield
    except NotFiniteError as found:
        row = next((row for row in found.rows if not edits[row]), found.rows[0])
        steered = bool(edits[row])
        place, name = engine.decoder_blocks, engine.identity.id
        raise blamed(engine.model, place, name, prompts[row], steered=steered) from found


def blamed(
    model: Any, place: DecoderBlocks, name: str, prompt: int | None = None, *, steered: bool
) -> ModelError:
    """What to say where a model gave logits that are not finite.

    Args:
        model: The model of transformers.
        place: Its decoder blocks.
        name: What it is called.
        prompt: The number of the prompt it happened at; None where there is but one.
        steered: Whether edits acted on that.
    """
    damaged = next(_damaged(model, place), None)
    if damaged is not None:
        return ModelError(
            f"{name} holds weights that are not finite, in {damaged}: the checkpoint is damaged; load it anew"
        )
    where = "" if prompt is None else f" (prompt {prompt})"
    if steered:
        return ModelError(
            f"steered, {name} gives values that are not finite{where}; lower the strength of the steering"
        )
    return ModelError(
        f"{name} gives values that are not finite{where}: they leave its dtype; load it in "
        "bfloat16 or float32"
    )


def _damaged(model: Any, place: DecoderBlocks) -> Iterator[str]:
    """The weights that are not all finite, by name and block; those that cannot be looked at are passed over."""
    numbers = {id(one): number for number, block in enumerate(place.blocks) for one in block.parameters()}
    for name, weight in model.named_parameters():
        if type(weight.data) is not Tensor or weight.is_meta or not weight.is_floating_point():
            continue
        if not bool(torch.isfinite(weight.data).all()):
            yield f"block {numbers[id(weight)]} ({name})" if id(weight) in numbers else name

"""The activations learning starts from: the last token of prompt pairs, with and without the instruction.

The last token of a prompt in its chat template stands right before the answer: what the model has understood of the
prompt by then, the instruction included, has to pass through there. Contrast examples are texts and no prompts: of
these it is the mean over their tokens.

Most instructions are learned from prompts that say them. An exclusion is not: "do not say rocket" brings rockets to a
model's mind, and its mean difference often makes it say the word. So, as in Stolfo et al. (ICLR 2025, section 6), one
learns the direction of *saying* the word and applies it with a negative strength.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from trimtab import instructions
from trimtab.engines import as_engine
from trimtab.engines.base import Capture
from trimtab.engines.finite import finite
from trimtab.errors import ModelError
from trimtab.learn.directions import Directions, oriented
from trimtab.measure.texts import answers_in, text_means
from trimtab.progress import Progress, shown
from trimtab.prompts.pairs import PromptPair, digest, pair_list

if TYPE_CHECKING:
    from trimtab.engines.base import Model, Prompt
    from trimtab.instructions import Instruction

UNNAMED = "prompt pairs"
"""What is called so was learned from pairs that no instruction stands for."""


class Source(NamedTuple):
    """What to learn from.

    Attributes:
        instruction: The instruction whose prompt pairs to learn from.
        sign: +1, or -1 where its direction is to be applied with negative strengths.
    """

    instruction: Instruction
    sign: int


# The instruction, the one that says the opposite, and how its parameters are called there.
_OPPOSITES = {
    "exclude": ("include", {"word": "word", "words": "words"}),
    "forbidden_words": ("keywords", {"forbidden_words": "keywords"}),
}


def learning_source(instruction: Instruction | str) -> Source:
    """What to learn an instruction from: `include` with sign -1 for an `exclude`, itself for most others.

    Raises:
        InstructionError: It is a spelling of no instruction, or of several.
    """
    instruction = instructions.resolve(instruction)
    if instruction.name not in _OPPOSITES:
        return Source(instruction, 1)
    name, renamed = _OPPOSITES[instruction.name]
    params = {renamed[key]: value for key, value in instruction.params.items() if key in renamed}
    return Source(instructions.get(name, **params), -1)


@dataclass(frozen=True, eq=False)
class Captured:
    """Block outputs at the last token of prompt pairs, or their means over texts.

    Attributes:
        blocks: The blocks read, ascending; `L` of them.
        instructed: `[L, d]` float64, mean over the instructed prompts.
        plain: `[L, d]` float64, mean over the plain prompts.
        differences: `[N, L, d]` float32, instructed minus plain of each pair; empty if they were not asked for.
    """

    blocks: tuple[int, ...]
    instructed: Tensor = field(repr=False)
    plain: Tensor = field(repr=False)
    differences: Tensor = field(repr=False)

    @property
    def difference(self) -> Tensor:
        """`[L, d]` float64, the mean of instructed minus plain."""
        return self.instructed - self.plain


def directions_by(
    find: Callable[[Captured], tuple[Tensor, dict[str, Any]]],
    model: Model,
    pairs: Sequence[PromptPair],
    instruction: Instruction | str | None,
    *,
    method: str,
    blocks: Sequence[int] | None,
    keep: bool,
    batch_size: int | None,
    progress: Progress,
) -> Directions:
    """Read both sides of prompt pairs, find a direction in each block, and say where both sides lie on it.

    All else is as in `mean_difference`; `find` gives the directions, `[L, d]` of any norm and sign, and more to record,
    and `keep` says whether it needs the difference of each pair.
    """
    pairs = pair_list(pairs)
    return _directions(
        find,
        model,
        [pair.instructed for pair in pairs],
        [pair.plain for pair in pairs],
        instruction,
        digest(pairs),
        method=method,
        texts=False,
        blocks=blocks,
        keep=keep,
        batch_size=batch_size,
        progress=progress,
    )


def directions_between(
    model: Model,
    follows: Sequence[str],
    fails: Sequence[str],
    instruction: Instruction | str | None,
    *,
    method: str,
    blocks: Sequence[int] | None,
    batch_size: int | None,
    progress: Progress,
) -> Directions:
    """The directions between the means of texts of two sides, each read by itself, and where both sides lie on them.

    A text is read as an answer: without the template, which may open a thought, and without a thought of its own. All
    else is as in `trimtab.learn.contrast.contrast`.
    """
    engine = as_engine(model)
    follows, fails = answers_in(engine, follows), answers_in(engine, fails)
    sides = [PromptPair(one, other) for one, other in zip_longest(fails, follows, fillvalue="")]
    return _directions(
        lambda captured: (captured.difference, {"follows": len(follows), "fails": len(fails)}),
        engine,
        follows,
        fails,
        instruction,
        digest(sides),
        method=method,
        texts=True,
        blocks=blocks,
        keep=False,
        batch_size=batch_size,
        progress=progress,
    )


def _directions(
    find: Callable[[Captured], tuple[Tensor, dict[str, Any]]],
    model: Model,
    follows: Sequence[Prompt],
    fails: Sequence[Prompt],
    instruction: Instruction | str | None,
    prompts: str,
    *,
    method: str,
    texts: bool,
    blocks: Sequence[int] | None,
    keep: bool,
    batch_size: int | None,
    progress: Progress,
) -> Directions:
    engine = as_engine(model)
    wanted = None if instruction is None else instructions.resolve(instruction)
    with shown(progress) as tell:

        def side(asked: Sequence[Any]) -> Capture:
            if texts:
                numbers = engine.block_numbers(blocks)
                means = text_means(engine, asked, numbers, progress=tell)
                return Capture(numbers, len(asked), means.mean(0))
            return engine.capture(
                asked,
                blocks=blocks,
                positions="last",
                keep=keep,
                batch_size=batch_size,
                progress=tell,
            )

        # Engines of other packages need not look.
        instructed, plain = (finite(side(asked), engine.identity.id) for asked in (follows, fails))
    differences = torch.empty(0)
    if instructed.activations is not None and plain.activations is not None:
        differences = instructed.activations - plain.activations
    elif keep:
        raise ModelError(
            f"the engine of {engine.identity.id} kept no activations; use mean_difference with it"
        )
    captured = Captured(instructed.blocks, instructed.mean.double(), plain.mean.double(), differences)
    found, settings = find(captured)
    unit = oriented(found, captured.difference)
    return Directions(
        name=UNNAMED if wanted is None else wanted.label,
        method=method,
        instruction=None if wanted is None else wanted.to_dict(),
        model=engine.identity,
        blocks=captured.blocks,
        directions=unit.float(),
        # Mean projections are those of the means, as a projection is linear.
        instructed=(captured.instructed * unit).sum(-1).float(),
        plain=(captured.plain * unit).sum(-1).float(),
        difference_norm=torch.linalg.vector_norm(captured.difference, dim=-1).float(),
        prompts=prompts,
        pairs=min(len(follows), len(fails)),
        settings=settings,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
